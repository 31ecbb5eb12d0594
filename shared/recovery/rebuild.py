"""Rebuild the records and the projection of a service from the log, in a database beside the one that is read.

A partition has all events about its subjects. It is folded in memory with the functions by which a worker consumes, and
then written once. A partition whose writing was interrupted is deleted and built again, so that a rebuild may be killed
at any time and started again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from aiokafka import TopicPartition

from base.clock import Clock
from contracts.envelope import decode
from contracts.subjects import PARTITIONS, kind_of, partition_of
from kernel.batch import CircuitBreaker, drain, head_of, process
from kernel.errors import Transient
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import TopicIds
from kernel.record import Discarded, Message, Record, Undecodable, discard
from kernel.roles.consumer import Consumer, decode_record
from kernel.service import Database
from kernel.store import Effects, EventId, Projection, Snapshot
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors
from kernel.stores.mongodb.documents import document_of
from recovery.missing_events import Inconsistent

FOLDED = 300_000  # events folded at once, of about 1.5 kB each
WRITTEN = 2_000  # records in one write

Discards = Mapping[EventId, Discarded]


async def read_discards(database: Database) -> dict[EventId, Discarded]:
    """Return what operators have discarded in these records: facts that the log does not have. Raise Transient."""
    found: dict[EventId, Discarded] = {}
    async with translate_errors():
        async for d in database.records.find({"discarded": {"$exists": True}}, {"discarded": 1}):
            found |= {(d["_id"], each["source"], each["sequence"]): Discarded(**each) for each in d["discarded"]}
    return found


class Rebuild(msgspec.Struct, kw_only=True):
    """A rebuild into a store that nothing else writes."""

    store: MongoStore
    projection: Projection
    topics: Sequence[str]
    reader: LogReader
    clock: Clock
    discards: Discards = {}
    owners: Mapping[str, Database] = {}  # by source: they have events that the log has lost

    async def unfinished(self) -> list[int]:
        """Return the partitions that are not built, or of which more was discarded since. Raise Transient."""
        async with translate_errors():
            built = {d["_id"]: d["discards"] async for d in self.store.database.rebuild.find({"done": True})}
        return [number for number in range(PARTITIONS) if built.get(number) != len(self.discards_of(number))]

    def discards_of(self, number: int) -> Discards:
        """Return what was discarded of one partition."""
        return {id_: each for id_, each in self.discards.items() if partition_of(id_[0]) == number}

    async def partition(self, number: int) -> int:
        """Build one partition up to the present end of the log; return how many records of the log it has.

        Raise Inconsistent where the log lacks its beginning, CircuitOpen where the rules fail on many subjects,
        Transient, KafkaError, also where a leader does not answer.
        """
        tps = [TopicPartition(topic, number) for topic in self.topics]
        bounds = await self.reader.bounds(tps)
        if lost := [f"{tp.topic}/{tp.partition}" for tp, (begin, _) in bounds.items() if begin]:
            raise Inconsistent(f"the log lacks the beginning of {', '.join(lost)}")
        ends = {tp: end for tp, (_, end) in bounds.items()}
        memory, breaker = MemoryStore(self.store.service, self.store.rules), CircuitBreaker()
        at: Mapping[Any, int] = dict.fromkeys(tps, 0)
        await self.reader.seek(at)
        while any(at[tp] < end for tp, end in ends.items()):
            records, end_of_chunk = await self.reader.read_chunk(ends, FOLDED, decode_record)
            await memory.add_undecodable([each for each in records if isinstance(each, Undecodable)])
            messages = [each for each in records if isinstance(each, Message) and _id(each) not in self.discards]
            ranges = {tp: (at[tp], end) for tp, end in end_of_chunk.items()}
            await process(memory, messages, ranges, self.clock, breaker=breaker)
            at = end_of_chunk
        while (
            await self._discard(memory, number)
            + await self._fill_gaps(memory)
            + await drain(memory, [number], self.clock, breaker=breaker)
        ):
            pass
        await self._write(number, memory, at)
        return sum(at.values())

    async def catch_up(self, topic_ids: TopicIds) -> None:
        """Handle, as a worker does, what the log has got since the partitions were built.

        Raise Fenced if something else writes the store, Inconsistent if the log does not hold what a cursor needs;
        Transient, KafkaError, also if a partition does not answer.
        """
        tps = frozenset(TopicPartition(topic, n) for topic in self.topics for n in range(PARTITIONS))
        consumer = Consumer(
            *(self.store.service, self.topics, self.store, self.reader, self.clock),
            *(asyncio.Lock(), topic_ids.read, self.projection),
        )
        try:
            await consumer.resume(lambda: tps)
            while await consumer.step([]):
                pass
            if consumer.broken:
                raise Inconsistent("; ".join(sorted(set(consumer.broken.values()))))
            if silent := [f"{tp.topic}/{tp.partition}" for tp in sorted(consumer.unanswered)]:
                raise Transient(f"no broker answers for {', '.join(silent)}")
        finally:
            await consumer.close()

    async def _discard(self, memory: MemoryStore, number: int) -> int:
        """Discard again what is next in its source; return how many."""
        done = 0
        for (subject, source, sequence), each in sorted(self.discards_of(number).items()):
            known = memory.records.get(subject)  # none if the first event about a subject was discarded
            if kind_of(subject) in memory.rules and (known.inbox.get(source, 0) if known else 0) == sequence - 1:
                await memory.transact([subject], partial(_discarded, each, subject), parked=2)
                done += 1
        return done

    async def _fill_gaps(self, memory: MemoryStore) -> int:
        """Handle the owners' events before parked ones, where the log lacks them; return how many."""
        found = list[Message]()
        for head in await memory.parked.heads(["early"]):
            if head.source in self.owners:
                last = memory.records[head.subject].inbox.get(head.source, 0) if head.subject in memory.records else 0
                shown = {"events": {"$slice": [last, head.sequence - last - 1]}, "published": 1}
                async with translate_errors():
                    d = await self.owners[head.source].records.find_one({"_id": head.subject}, shown)
                found += [Message(decode(raw), raw) for raw in (d or {}).get("events", ())]
        missing = [each for each in found if _id(each) not in self.discards]
        return len((await process(memory, missing, {}, self.clock)).changes)

    async def _write(self, number: int, memory: MemoryStore, cursors: Mapping[Any, int]) -> None:
        database = self.store.database
        async with translate_errors():
            begun = await database.rebuild.update_one({"_id": number}, {"$set": {"done": False}}, upsert=True)
            if begun.matched_count:
                await self._delete(number)
            records = list(memory.records.values())
            for start in range(0, len(records), WRITTEN):
                some = records[start : start + WRITTEN]
                documents = [document_of(self.store.rules[kind_of(r.subject)], r) for r in some]
                await database.records.insert_many(documents, ordered=False)
            empty = {kind: Record(subject="", state=rules.State()) for kind, rules in self.store.rules.items()}
            await self.projection([(empty[kind_of(r.subject)], r) for r in records], None)
            parked = [each for events in memory.parked.by_source.values() for each in events.values()]
            heads = {source: events[min(events)] for source, events in memory.parked.by_source.items()}
            await self.store.parked.write(Effects(parked=parked, heads=heads), {}, None)
            await self.store.add_undecodable(list(memory.undecodable.values()))
            positions = [{"_id": f"{tp.topic}/{tp.partition}", "next": next_} for tp, next_ in cursors.items()]
            await self.store.positions.insert_many(positions)
            built = {"done": True, "discards": len(self.discards_of(number))}
            await database.rebuild.update_one({"_id": number}, {"$set": built})

    async def _delete(self, number: int) -> None:
        """Delete what an interrupted rebuild has written of a partition: every document has its number."""
        for name in await self.store.database.list_collection_names():
            if name != "rebuild":
                await self.store.database[name].delete_many({"$or": [{"partition": number}, {"_id": number}]})
        await self.store.positions.delete_many({"_id": {"$in": [f"{topic}/{number}" for topic in self.topics]}})


def _discarded(d: Discarded, subject: str, snapshot: Snapshot) -> Effects:
    before, source = snapshot.record(subject), (subject, d.source)
    after = discard(before, d)
    parked = [each for each in snapshot.parked.get(source, ()) if each.sequence > d.sequence]
    return Effects([(before, after)], (), {source: d.sequence}, head_of({source: after.inbox}, parked[:1]))


def _id(message: Message) -> EventId:
    e = message.envelope
    return e.subject, e.source, e.sequence
