"""The bare alternatives: a script each with aiokafka, msgspec and MongoDB, without any code of the platform.

`python -m tests.bench.support.bare_scripts tallies|responses KAFKA MONGO DATABASE PORT TOPIC...`

The script is ready when it serves on PORT.
"""

import asyncio
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pymongo import AsyncMongoClient, UpdateOne

from base.kafka_access import KafkaAccess

BATCH = 5_000
PARTITIONS = 32
RESPONSES = "bench.responses"
STAGES = {
    "registered.v1": "registered",
    "identity_checked.v1": "verified",
    "admitted.v1": "admitted",
    "withdrawn.v1": "withdrawn",
    "decided.v1": "screened",
    "identified.v1": "identified",
    "readied.v1": "ready",
    "connected.v1": "connected",
}


class Event(msgspec.Struct):
    """The fields that the scripts read."""

    type: str
    source: str
    subject: str
    sequence: int
    time: datetime
    data: dict[str, Any]
    province: str = ""


decode = msgspec.json.Decoder(Event).decode
_encode = msgspec.json.Encoder().encode


class Reader:
    """Read the topics from the start in batches."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def batch(self) -> tuple[list[Event], dict[str, int]]:
        """Return the next events, and the next offset of each partition after them."""
        fetched = await self.consumer.getmany(timeout_ms=200, max_records=BATCH)
        offsets = {f"{tp.topic}/{tp.partition}": records[-1].offset + 1 for tp, records in fetched.items()}
        return [decode(r.value) for records in fetched.values() for r in records], offsets


async def tallies(reader: Reader, client: Any, database: Any) -> None:
    """Keep a state per applicant and tallies by province and stage; exactly once: one transaction with the cursors."""
    while True:
        events, offsets = await reader.batch()
        if not events:
            continue
        by_subject = defaultdict(list)
        for event in events:
            by_subject[event.subject].append(event)

        async def write(session: Any, by_subject: Any = by_subject, offsets: Any = offsets) -> None:
            known = {
                d["_id"]: d async for d in database.applicants.find({"_id": {"$in": list(by_subject)}}, session=session)
            }
            moves_by_province: dict[str, Counter[str]] = defaultdict(Counter)
            writes = []
            for subject, own_events in by_subject.items():
                d = known.get(subject) or {"seen": {}, "stages": {}, "province": ""}
                for e in own_events:
                    if e.sequence <= d["seen"].get(e.source, 0):
                        continue
                    d["seen"][e.source] = e.sequence
                    d["province"] = e.province or d["province"]
                    stage = STAGES.get(".".join(e.type.split(".")[-2:]))
                    if stage and stage not in d["stages"]:
                        d["stages"][stage] = e.time
                        moves_by_province[d["province"]][stage] += 1
                document = {"seen": d["seen"], "stages": d["stages"], "province": d["province"]}
                writes.append(UpdateOne({"_id": subject}, {"$set": document}, upsert=True))
            await database.applicants.bulk_write(writes, ordered=False, session=session)
            if moves_by_province:
                counted = [
                    UpdateOne({"_id": p}, {"$inc": dict(by)}, upsert=True) for p, by in moves_by_province.items()
                ]
                await database.tallies.bulk_write(counted, ordered=False, session=session)
            await _move_cursors(database, offsets, session)

        async with client.start_session() as session:
            await session.with_transaction(write)


async def responses(reader: Reader, kafka: KafkaAccess, database: Any) -> None:
    """Keep a state per applicant and respond to each event; at least once: store, then send, then move the cursors."""
    async with AIOKafkaProducer(**kafka.options(), acks="all", enable_idempotence=True, linger_ms=2) as producer:
        while True:
            events, offsets = await reader.batch()
            if not events:
                continue
            states: dict[str, dict[str, Any]] = {}
            events_out = []
            for e in events:
                state = states.setdefault(e.subject, {"province": e.province})
                state[e.type.split(".")[-2]] = e.time
                events_out.append((e.subject.encode(), _encode({**msgspec.structs.asdict(e), "source": "screening"})))
            await database.applicants.bulk_write(
                [UpdateOne({"_id": s}, {"$set": state}, upsert=True) for s, state in states.items()], ordered=False
            )
            for future in [await producer.send(RESPONSES, value=raw, key=key) for key, raw in events_out]:
                await future
            await _move_cursors(database, offsets)


async def _move_cursors(database: Any, offsets: dict[str, int], session: Any = None) -> None:
    moves = [
        UpdateOne({"_id": partition}, {"$set": {"next": offset}}, upsert=True) for partition, offset in offsets.items()
    ]
    await database.cursors.bulk_write(moves, ordered=False, session=session)


async def main(arguments: Sequence[str]) -> None:
    """Run one of the scripts until it is ended."""
    script, access, mongo, name, port, *topics = arguments
    kafka = msgspec.json.decode(access, type=KafkaAccess)

    async def ready(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with (
        AsyncMongoClient[dict[str, Any]](mongo, w="majority", journal=True) as client,
        AIOKafkaConsumer(**kafka.options(), enable_auto_commit=False, auto_offset_reset="earliest") as consumer,
    ):
        tps = [TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)]
        consumer.assign(tps)
        await _move_cursors(client[name], {f"{tp.topic}/{tp.partition}": 0 for tp in tps})
        await asyncio.start_server(ready, "127.0.0.1", int(port))
        reader, database = Reader(consumer), client[name]
        await (tallies(reader, client, database) if script == "tallies" else responses(reader, kafka, database))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
