"""The log itself, from any offset, in long strides (aiokafka `assign`: no group, never a reset)."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

STRIDE = 50_000  # events of one partition in one transaction, when catching up
ANSWERS_WITHIN = 15_000  # milliseconds; after them a connection that is silent counts as dead
PIECE = 1_000  # records made something of while the processor still has them at hand
PATIENCE = 5  # seconds without anything, though there is something


def _as_it_is(record: Any) -> Any:
    return record


class LogReader:
    """One reader of the log; seek, then take stride after stride."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self.bootstrap, self.client_id = bootstrap, client_id
        self.client: Any = None
        self.starting = asyncio.Lock()

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset that the log still has."""
        found: dict[TopicPartition, int] = await (await self._started()).beginning_offsets(list(tps)) if tps else {}
        return found

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The offset of the next event to come."""
        found: dict[TopicPartition, int] = await (await self._started()).end_offsets(list(tps)) if tps else {}
        return found

    async def seek(self, at: Mapping[TopicPartition, int]) -> None:
        """Stands at these offsets and reads these partitions only; what was fetched is kept where it stands there."""
        client = await self._started()
        if client.assignment() == at.keys() and {tp: await client.position(tp) for tp in at} == at:
            return
        client.assign(list(at))
        for tp, offset in at.items():
            client.seek(tp, offset)

    async def stride(
        self, ends: Mapping[TopicPartition, int], most: int = STRIDE, each: Callable[[Any], Any] = _as_it_is
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        """The next records, and where the reader stands after them: behind control records too, which have no event.

        `each` makes of a record what is kept. Raises KafkaError: OffsetOutOfRangeError where the log lacks them,
        KafkaTimeoutError where nothing comes.
        """
        client = await self._started()
        records: list[Any] = []
        began, empty = {tp: await client.position(tp) for tp in ends}, 0
        while empty < PATIENCE:
            got = await client.getmany(timeout_ms=1_000, max_records=min(PIECE, most - len(records)))
            records += [each(r) for found in got.values() for r in found]
            at = {tp: await client.position(tp) for tp in ends}
            if len(records) >= most or all(at[tp] >= end for tp, end in ends.items()) or (not got and at != began):
                return records, at
            empty += not got
        raise KafkaTimeoutError(f"{PATIENCE} s without an answer from the log")

    async def pick(self, tp: TopicPartition, offsets: Sequence[int]) -> list[Any]:
        """The records at these offsets of one partition, ascending; without those that the log has no more."""
        wanted, found = set(offsets), []
        while left := [offset for offset in offsets if offset in wanted]:
            await self.seek({tp: left[0]})
            records, at = await self.stride({tp: left[-1] + 1}, most=len(offsets) * 10)
            found += [r for r in records if r.offset in wanted]
            wanted = {offset for offset in wanted if offset >= at[tp]}
        return found

    async def stop(self) -> None:
        """Closes the connection."""
        if self.client is not None:
            await self.client.stop()

    async def _started(self) -> Any:
        async with self.starting:
            if self.client is None:
                client = AIOKafkaConsumer(
                    bootstrap_servers=self.bootstrap,
                    client_id=self.client_id,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    fetch_max_wait_ms=50,
                    request_timeout_ms=ANSWERS_WITHIN,
                    max_partition_fetch_bytes=16 << 20,
                )
                try:
                    await client.start()
                except BaseException:
                    await client.stop()  # else its sockets and tasks outlive it
                    raise
                self.client = client
        return self.client
