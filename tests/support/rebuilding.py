"""A log with everything that a rebuild must get right, and the projection that a worker makes of it event by event."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from base.clock import system_clock
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import RoundOpened
from contracts.subjects import PARTITIONS, partition_of, round_subject
from kernel.batch import drain, process
from kernel.kafka.relay import TopicIds
from kernel.record import Message
from kernel.store import Source
from kernel.stores.mongodb import connect
from peyvand.rebuild.processes import RebuildTarget, opened
from peyvand.verify import recount
from programme.policies import CURRENT
from recovery.generations import COLLECTION, Pointer
from recovery.parked_events import discard_one
from registration.domain.applicant import Erase
from tests.bench.support.event_stream import START, Person, Story
from tests.support.servers import Servers

SOURCES = ("registration", "screening", "market")
SCRIPT = """
import asyncio, sys, msgspec
from peyvand.rebuild.processes import RebuildTarget, rebuild

if __name__ == "__main__":
    target = msgspec.json.decode(sys.argv[1], type=RebuildTarget)
    print(msgspec.json.encode(asyncio.run(rebuild(target, 2, lambda *_: None))).decode())
"""


def opened_round() -> bytes:
    """Return the event that opened the round."""
    opened = RoundOpened(fields=("JF001",), opens=START, closes=START + timedelta(days=300))
    context = Context(round="1404", policy=CURRENT)
    return encode(
        Envelope(
            source="registration", subject=round_subject("1404"), sequence=1, time=START, event=opened, context=context
        )
    )


class Log:
    """Stories of applicants on topics of their own, mixed, with repeats; and what the owners have."""

    def __init__(self, servers: Servers, people: int, seed: int = 1404) -> None:
        random = Random(seed)
        self.servers, self.name = servers, servers.database()
        persons = [
            Person(f"0199{random.getrandbits(32):08x}"[:8] + f"-0000-7000-8000-{n:012x}", random) for n in range(people)
        ]
        self.stories: dict[str, Story] = {}
        for n, person in enumerate(persons):
            person.full_story()
            if n % 7 == 0:
                person.execute("registration", Erase("request"), after=timedelta(hours=1))
            self.stories[person.subject] = person.story
        self.stories[round_subject("1404")] = {"registration": [opened_round()], "screening": [], "market": []}
        registered = [s for s, story in self.stories.items() if len(story["registration"]) > 2]
        self.invalid, self.lost = registered[1], registered[2]
        raws = self.stories[self.invalid]["registration"]
        self.forged = raws[1].replace(b'"data":{', b'"data":{"application":0,')
        self.random = random

    @property
    def target(self) -> RebuildTarget:
        """Return what a rebuild of the projection reads and writes."""
        owners = tuple(f"{self.name}_{source}" for source in SOURCES)
        topics = tuple(f"{self.name}.{source}" for source in SOURCES)
        kafka, mongo = self.servers.kafka, self.servers.mongo
        return RebuildTarget(kafka, mongo, self.name, topics, owners)

    @property
    def live(self) -> str:
        """Return the database of the generation that is served: another version of the code made it."""
        return f"{self.name}_live"

    def logs(self, source: str) -> list[bytes]:
        """Return the events of a source in an order that keeps that of each applicant; some come twice."""
        order = [s for s, story in self.stories.items() for _ in story[source]]
        self.random.shuffle(order)
        queues = {s: list(story[source]) for s, story in self.stories.items()}
        found = list[bytes]()
        for subject in order:
            raw = queues[subject].pop(0)
            if source == "registration" and decode(raw).sequence == 2:
                if subject == self.lost:
                    continue
                raw = self.forged if subject == self.invalid else raw
            found += [raw, raw] if self.random.random() < 0.05 else [raw]
        return found

    async def publish(self) -> None:
        """Write the topics."""
        async with AIOKafkaProducer(**self.servers.kafka.options(), acks="all", enable_idempotence=True) as producer:
            for topic, source in zip(self.target.topics, SOURCES, strict=True):
                for raw in [*self.logs(source), b"nonsense"]:
                    subject = decode(raw).subject if raw != b"nonsense" else "x"
                    await producer.send(topic, raw, key=subject.encode(), partition=partition_of(subject))

    async def consume(self) -> None:
        """Make the live projection as a worker does; then discard what is invalid, and insert what was lost."""
        ids = TopicIds(self.servers.kafka, "test")
        async with opened(self.target, self.live, {}) as building:
            await Pointer(building.store.client[self.name]).claim(self.live)
            await building.catch_up(ids)
            store, clock, projection = building.store, system_clock(), building.projection
            source = (self.invalid, "registration")
            for _ in range(2):  # the forgery, then the event whose place it took, and which never comes
                assert await discard_one(store, source, 2, "a forgery", "of-1", clock, projection)
            raw = self.stories[self.lost]["registration"][1]
            await process(store, [Message(decode(raw), raw)], {}, clock, projection)
            while await drain(store, range(PARTITIONS), clock, projection):
                pass
        await asyncio.to_thread(ids.close)

    async def publish_after_a_gap(self) -> tuple[Source, int]:
        """Publish and consume an event whose predecessor is missing; return its source, and the number of that one."""
        subject = list(self.stories)[-2]  # the last applicant
        raws = self.stories[subject]["registration"]
        event = msgspec.structs.replace(decode(raws[-1]), sequence=len(raws) + 2, previous="")
        async with AIOKafkaProducer(**self.servers.kafka.options()) as producer:
            key, partition = subject.encode(), partition_of(subject)
            await producer.send_and_wait(self.target.topics[0], encode(event), key=key, partition=partition)
        ids = TopicIds(self.servers.kafka, "test")
        async with opened(self.target, self.live, {}) as building:
            await building.catch_up(ids)
            assert await building.store.parked.heads(["early"])
        await asyncio.to_thread(ids.close)
        return (subject, "registration"), len(raws) + 1

    async def discard(self, source: Source, sequence: int) -> None:
        """Discard an event in the live records, and handle what is parked behind it."""
        async with opened(self.target, self.live, {}) as live:
            clock = system_clock()
            assert await discard_one(live.store, source, sequence, "a test", "of-1", clock, live.projection)
            while await drain(live.store, range(PARTITIONS), clock, live.projection):
                pass

    async def served(self) -> str:
        """Return the generation that is served."""
        client = connect(self.servers.mongo)
        served = (await Pointer(client[self.name]).read()).served
        await client.close()
        return served

    async def undo(self) -> None:
        """Go back to the generation before, as if a quarter of the partitions of the new one were not finished."""
        client = connect(self.servers.mongo)
        await client[self.name][COLLECTION].update_one({}, {"$set": {"served": self.live, "built": [self.live]}})
        await client[self.target.database].rebuild.update_many({"_id": {"$lt": 8}}, {"$set": {"done": False}})
        await client.close()

    async def owners(self) -> None:
        """Store the event that the log has lost where its owner has it."""
        client = connect(self.servers.mongo)
        story = self.stories[self.lost]["registration"]
        await client[self.target.owners[0]].records.insert_one({"_id": self.lost, "events": story})
        await client.close()

    def recounted(self, calendar: recount.Calendar, today: Any) -> Mapping[str, recount.Count]:
        """Return the figures of the independent recount, without the event that was discarded."""
        discarded = self.stories[self.invalid]["registration"][1]
        events = {
            subject: [json.loads(raw) for source in SOURCES for raw in story[source] if raw != discarded]
            for subject, story in self.stories.items()
        }
        return recount.count(events, calendar, today, "1404")


@asynccontextmanager
async def rebuilding(servers: Servers, people: int) -> AsyncIterator[Log]:
    """Make a log and its live projection; drop all databases at the end."""
    log = Log(servers, people)
    await servers.topics(*log.target.topics)
    await log.publish()
    await log.owners()
    await log.consume()
    yield log
    client = connect(servers.mongo)
    for name in await client.list_database_names():
        if name.startswith(log.name):
            await client.drop_database(name)
    await client.close()


async def content(servers: Servers, database: str) -> dict[str, Any]:
    """Return what a projection consists of; versions, times of writing and zero sums apart."""
    client = connect(servers.mongo)
    db = client[database]
    fields = ("kind", "partition", "state", "indexed", "inbox", "rules_version", "last_sequence")
    found: dict[str, Any] = {
        "records": {d["_id"]: {name: d[name] for name in fields} async for d in db.records.find()},
        "discarded": {
            d["_id"]: [(e["source"], e["sequence"], e["reason"], e["who"]) for e in d["discarded"]]
            async for d in db.records.find({"discarded": {"$exists": True}})
        },
        "tallies": {d["_id"]: _without_zeros(d["days"]) async for d in db.tallies.find()},
        "events": {d["_id"]: d["events"] async for d in db.partition_progress.find()},
        "parked": [
            (d["_id"], d["reason"], d.get("head"), d.get("behind")) async for d in db.parked.find(sort=[("_id", 1)])
        ],
        "undecodable": sorted([(d["_id"], d["code"]) async for d in db.undecodable.find()]),
        "cursors": {d["_id"]: d["next"] async for d in db.cursors.find()},
    }
    await client.close()
    return found


def _without_zeros(days: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    kept = {day: {indicator: n for indicator, n in by.items() if n} for day, by in days.items()}
    return {day: by for day, by in kept.items() if by}


async def start_rebuild(target: RebuildTarget) -> asyncio.subprocess.Process:
    """Start a rebuild in a process of its own."""
    arguments = (sys.executable, "-c", SCRIPT, msgspec.json.encode(target).decode())
    return await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.DEVNULL)
