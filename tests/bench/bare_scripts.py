"""The bare alternatives: aiokafka, msgspec and MongoDB with nothing of ours; a script each, as one would write it.

`python -m tests.bench.bare_scripts tallies|answers KAFKA MONGO DATABASE PORT TOPIC...`; it is ready when PORT answers.
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

BATCH = 5_000
PARTITIONS = 32
ANSWERS = "bench.answers"
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
    """What the scripts look at."""

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
    """Reads the topics from the start in batches, whatever comes."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def batch(self) -> tuple[list[Event], dict[str, int]]:
        """The next events, and where each partition stands after them."""
        got = await self.consumer.getmany(timeout_ms=200, max_records=BATCH)
        at = {f"{tp.topic}/{tp.partition}": records[-1].offset + 1 for tp, records in got.items()}
        return [decode(r.value) for records in got.values() for r in records], at


async def tallies(reader: Reader, client: Any, database: Any) -> None:
    """A state per applicant and province x stage tallies; exactly once: the cursors move in the same transaction."""
    while True:
        events, at = await reader.batch()
        if not events:
            continue
        by_subject = defaultdict(list)
        for event in events:
            by_subject[event.subject].append(event)

        async def together(session: Any, by_subject: Any = by_subject, at: Any = at) -> None:
            known = {
                d["_id"]: d async for d in database.applicants.find({"_id": {"$in": list(by_subject)}}, session=session)
            }
            moved: dict[str, Counter[str]] = defaultdict(Counter)
            writes = []
            for subject, told in by_subject.items():
                d = known.get(subject) or {"seen": {}, "stages": {}, "province": ""}
                for e in told:
                    if e.sequence <= d["seen"].get(e.source, 0):
                        continue
                    d["seen"][e.source] = e.sequence
                    d["province"] = e.province or d["province"]
                    stage = STAGES.get(".".join(e.type.split(".")[-2:]))
                    if stage and stage not in d["stages"]:
                        d["stages"][stage] = e.time
                        moved[d["province"]][stage] += 1
                kept = {"seen": d["seen"], "stages": d["stages"], "province": d["province"]}
                writes.append(UpdateOne({"_id": subject}, {"$set": kept}, upsert=True))
            await database.applicants.bulk_write(writes, ordered=False, session=session)
            if moved:
                counted = [UpdateOne({"_id": p}, {"$inc": dict(by)}, upsert=True) for p, by in moved.items()]
                await database.tallies.bulk_write(counted, ordered=False, session=session)
            await _stand(database, at, session)

        async with client.start_session() as session:
            await session.with_transaction(together)


async def answers(reader: Reader, kafka: str, database: Any) -> None:
    """A state per applicant and an answer to each event; at least once: stored, then sent, then the cursors."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True, linger_ms=2) as to:
        while True:
            events, at = await reader.batch()
            if not events:
                continue
            states: dict[str, dict[str, Any]] = {}
            said = []
            for e in events:
                state = states.setdefault(e.subject, {"province": e.province})
                state[e.type.split(".")[-2]] = e.time
                said.append((e.subject.encode(), _encode({**msgspec.structs.asdict(e), "source": "screening"})))
            await database.applicants.bulk_write(
                [UpdateOne({"_id": s}, {"$set": state}, upsert=True) for s, state in states.items()], ordered=False
            )
            for future in [await to.send(ANSWERS, value=raw, key=key) for key, raw in said]:
                await future
            await _stand(database, at)


async def _stand(database: Any, at: dict[str, int], session: Any = None) -> None:
    moves = [UpdateOne({"_id": place}, {"$set": {"next": offset}}, upsert=True) for place, offset in at.items()]
    await database.cursors.bulk_write(moves, ordered=False, session=session)


async def main(arguments: Sequence[str]) -> None:
    """Runs one of the scripts until it is ended."""
    what, kafka, mongo, name, port, *topics = arguments

    async def ready(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with (
        AsyncMongoClient[dict[str, Any]](mongo, w="majority", journal=True) as client,
        AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest") as consumer,
    ):
        tps = [TopicPartition(topic, n) for topic in topics for n in range(PARTITIONS)]
        consumer.assign(tps)
        await _stand(client[name], {f"{tp.topic}/{tp.partition}": 0 for tp in tps})
        await asyncio.start_server(ready, "127.0.0.1", int(port))
        reader, database = Reader(consumer), client[name]
        await (tallies(reader, client, database) if what == "tallies" else answers(reader, kafka, database))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
