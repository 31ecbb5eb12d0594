"""The log itself, from any offset, in long strides (aiokafka `assign`: no group, never a reset)."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

STRIDE = 50_000  # events of one partition in one transaction, when catching up


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
        """Stands at these offsets and reads these partitions only."""
        client = await self._started()
        client.assign(list(at))
        for tp, offset in at.items():
            client.seek(tp, offset)

    async def stride(
        self, ends: Mapping[TopicPartition, int], most: int = STRIDE
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        """The next records, and where the reader stands after them (behind control records too)."""
        client = await self._started()
        records: list[Any] = []
        while True:
            got = [
                r
                for each in (await client.getmany(timeout_ms=1_000, max_records=most - len(records))).values()
                for r in each
            ]
            records += got
            at = {tp: await client.position(tp) for tp in ends}
            if not got or len(records) >= most or all(at[tp] >= end for tp, end in ends.items()):
                return records, at

    async def one(self, tp: TopicPartition, offset: int) -> Any:
        """The record at one offset, or None where the log has it no more."""
        await self.seek({tp: offset})
        records, _ = await self.stride({tp: offset + 1}, most=1)
        return next((r for r in records if r.offset == offset), None)

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
                    max_partition_fetch_bytes=16 << 20,
                )
                try:
                    await client.start()
                except BaseException:
                    await client.stop()  # else its sockets and tasks outlive it
                    raise
                self.client = client
        return self.client
