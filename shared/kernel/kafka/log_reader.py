"""Reads the log from any offset in large chunks (aiokafka `assign`: no consumer group, never a reset)."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from base.kafka_access import KafkaAccess
from kernel.kafka.unreadable_batches import skip_unreadable_batches

CHUNK = 50_000  # events of one partition in one transaction, when catching up
REQUEST_TIMEOUT = 15_000  # milliseconds, after which a silent connection counts as dead
ANSWER_TIMEOUT = 5.0  # seconds in which a broker answers where its partitions begin and end
FETCH = 1_000  # records decoded while they are still in the processor's cache
EMPTY_FETCHES = 5  # of a second each, although the log has records


class LogReader:
    """One reader: `seek`, then chunk after chunk."""

    def __init__(self, kafka: KafkaAccess, client_id: str) -> None:
        skip_unreadable_batches()
        self.kafka, self.client_id = kafka, client_id
        self.client: Any = None
        self.starting = asyncio.Lock()

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset that the log still has, of each partition whose leader answers. Raise KafkaError."""
        return await self._offsets("beginning_offsets", tps)

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the offset of the next event of each partition whose leader answers. Raise KafkaError."""
        return await self._offsets("end_offsets", tps)

    async def bounds(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset that the log still has and that of the next event, of all these partitions.

        Raise KafkaError, KafkaTimeoutError if one of them does not answer.
        """
        begins, ends = await self.begins(tps), await self.ends(tps)
        if silent := [f"{tp.topic}/{tp.partition}" for tp in tps if tp not in begins or tp not in ends]:
            raise KafkaTimeoutError(f"no broker answers for {', '.join(silent)}")
        return {tp: (begins[tp], ends[tp]) for tp in tps}

    async def _offsets(self, request: str, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Ask each leader for its own partitions: one that does not answer concerns no other.

        Raise KafkaError, KafkaTimeoutError if no broker answers.
        """
        client = await self._started()
        if not tps:
            return {}
        leaders = await self._leaders(tps)

        async def ask(leader: int) -> dict[TopicPartition, int]:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    return dict(await getattr(client, request)(leaders[leader]))
            except (TimeoutError, KafkaTimeoutError):
                # aiokafka gives up before the connection does and keeps it: a half-open one would fail for ever.
                for (node, _), connection in list(client._client._conns.items()):
                    if node == leader:
                        connection.close()
                client._client.force_metadata_update()
                return {}

        answers = await asyncio.gather(*map(ask, leaders))
        if not any(answers) and not await self._update_leaders():
            raise KafkaTimeoutError(f"no broker answers within {ANSWER_TIMEOUT:.0f} s")
        return {tp: offset for answer in answers for tp, offset in answer.items()}

    async def _leaders(self, tps: Collection[TopicPartition]) -> dict[int, list[TopicPartition]]:
        """Return the partitions of each leader, without those that have none."""
        client = self.client._client
        if any(client.cluster.leader_for_partition(tp) in (None, -1) for tp in tps):
            for topic in {tp.topic for tp in tps}:
                client.add_topic(topic)
            await self._update_leaders()
        leaders = defaultdict[int, list[TopicPartition]](list)
        for tp in tps:
            if (leader := client.cluster.leader_for_partition(tp)) not in (None, -1):
                leaders[leader].append(tp)
        return leaders

    async def _update_leaders(self) -> bool:
        """Ask any broker for the leaders; return whether one answers."""
        done, _ = await asyncio.wait([self.client._client.force_metadata_update()], timeout=ANSWER_TIMEOUT)
        return any(update.result() for update in done)

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions only, from these offsets; what is fetched already is kept where it fits."""
        client = await self._started()
        if client.assignment() == offsets.keys() and {tp: await client.position(tp) for tp in offsets} == offsets:
            return
        client.assign(list(offsets))
        for tp, offset in offsets.items():
            client.seek(tp, offset)

    async def read_chunk(
        self,
        ends: Mapping[TopicPartition, int],
        limit: int = CHUNK,
        convert: Callable[[Any], Any] = lambda record: record,
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        """Return the next records, each converted, and the offsets after them (control records included).

        Stop at `ends` or after `limit` records. Raise KafkaError: OffsetOutOfRangeError where the log lacks them,
        KafkaTimeoutError where none come.
        """
        client = await self._started()
        records: list[Any] = []
        start, empty = {tp: await client.position(tp) for tp in ends}, 0
        while empty < EMPTY_FETCHES:
            fetched = await client.getmany(timeout_ms=1_000, max_records=min(FETCH, limit - len(records)))
            records += [convert(record) for found in fetched.values() for record in found]
            offsets = {tp: await client.position(tp) for tp in ends}
            at_end = all(offsets[tp] >= end for tp, end in ends.items())
            if len(records) >= limit or at_end or (not fetched and offsets != start):
                return records, offsets
            empty += not fetched
        raise KafkaTimeoutError(f"no answer from the log within {EMPTY_FETCHES} s")

    async def stop(self) -> None:
        """Close the connection."""
        if self.client is not None:
            await self.client.stop()

    async def _started(self) -> Any:
        async with self.starting:
            if self.client is None:
                client = AIOKafkaConsumer(
                    **self.kafka.options(),
                    client_id=self.client_id,
                    enable_auto_commit=False,
                    auto_offset_reset="none",
                    fetch_max_wait_ms=50,
                    request_timeout_ms=REQUEST_TIMEOUT,
                    max_partition_fetch_bytes=16 << 20,
                    fetch_max_bytes=16 << 20,  # more may take longer than EMPTY_FETCHES on a slow connection
                )
                try:
                    await client.start()
                except BaseException:
                    await client.stop()  # otherwise its sockets and tasks outlive it
                    raise
                self.client = client
        return self.client
