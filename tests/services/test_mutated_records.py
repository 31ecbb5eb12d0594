"""No record on a topic can end a worker, or change what valid events have stated.

20,000 mutated records a topic among valid events, on the real workers of two services. For a longer run set
PEYVAND_MUTATED_RECORDS to the number of records a topic.
"""

import asyncio
import os
from collections.abc import Mapping
from datetime import date
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaProducer
from prometheus_client import REGISTRY

import registration.service
import reporting.service
from contracts.envelope import decode, encode
from contracts.examples import APPLICANT, story
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.kafka.relay import Relay, connect_producer
from kernel.record import Message, Record
from kernel.roles.worker import Worker
from kernel.service import Service
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore
from reporting.domain import RULES
from reporting.tallies import Tallies, tallies_of
from tests.support.mutated_records import Mutator
from tests.support.servers import Servers
from tests.support.small_services import noon
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server

RECORDS = int(os.environ.get("PEYVAND_MUTATED_RECORDS", "20000"))  # a topic
PEOPLE = 150
SOURCES = ("registration", "screening", "market")
SERVICES: Mapping[str, Service[Any]] = {
    "reporting": reporting.service.service,
    "registration": registration.service.service,
}


def valid_events() -> list[bytes]:
    """Return the whole story, about many applicants; round, ledger and lead enterprise occur once."""
    steps = [(envelope.subject, encode(envelope)) for envelope in story()]
    found = [raw for subject, raw in steps if ":" in subject]
    for n in range(PEOPLE):
        person = str(UUID(int=(7 << 76) | (1 << 63) | n))
        found += [raw.replace(APPLICANT.encode(), person.encode()) for subject, raw in steps if ":" not in subject]
    return found


class Topics:
    """The topics of a system, and the workers of real services on them."""

    def __init__(self, system: SmallSystem) -> None:
        self.system = system
        self.names = {source: f"{system.name}.{source}" for source in SOURCES}
        self.sent = dict.fromkeys(SOURCES, 0)

    def store(self, service: str) -> MongoStore:
        return SERVICES[service].mongo_store(self.system.client[f"{self.system.name}_{service}"])

    async def worker(self, service: str) -> Worker:
        """Return a worker that publishes to a topic without consumers."""
        store = self.store(service)
        await store.create_indexes()
        kafka, sink = self.system.servers.kafka, f"{self.system.name}.sink.{service}"
        await asyncio.to_thread(self.system.create_topics, sink)
        self.system.consumes[service] = [self.names[each.rpartition(".")[2]] for each in topics_consumed_by(service)]
        relay = Relay(store, connect_producer(kafka, service), sink)
        projection = tallies_of(store).move if service == "reporting" else None
        return Worker(service, self.system.consumes[service], kafka, store, relay, noon, projection=projection)

    def send(self, events: list[bytes]) -> None:
        """Send to each topic its valid events, in order, with mutated records among them."""
        producer = KafkaProducer(**self.system.servers.kafka.options(), linger_ms=20, batch_size=256 << 10)
        for seed, source in enumerate(SOURCES):
            own = [raw for raw in events if decode(raw).source == source]
            known = sorted({decode(raw).subject for raw in own})
            mutants = Mutator(seed, source, own[:60], known).records(RECORDS)
            every = max(1, RECORDS // len(own))
            for n, raw in enumerate(own):
                subject = decode(raw).subject
                producer.send(self.names[source], raw, subject.encode(), partition=partition_of(subject))
                last = n == len(own) - 1
                for mutant in islice(mutants, RECORDS if last else every):
                    producer.send(self.names[source], mutant.value, mutant.key, mutant.headers, mutant.partition)
            self.sent[source] = len(own) + RECORDS
        producer.flush(120)
        producer.close()


@pytest.fixture
async def topics(servers: Servers) -> Any:
    system = SmallSystem(servers)
    found = Topics(system)
    await asyncio.to_thread(system.create_topics, *found.names.values())
    yield found
    await system.close()


def counted(service: str) -> dict[str, float]:
    """Return what became of the records that a service consumed."""
    found: dict[str, float] = dict.fromkeys(("handled", "parked", "repeated", "undecodable"), 0.0)
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.labels.get("service") == service:
                if sample.name == "peyvand_events_consumed_total":
                    found[sample.labels["outcome"]] += sample.value
                elif sample.name == "peyvand_undecodable_total":
                    found["undecodable"] += sample.value
    return found


async def expected_figures(events: list[bytes]) -> tuple[Mapping[str, Record], Any]:
    """Return the states and the tallies that valid events alone lead to."""
    store = MemoryStore("reporting", RULES)
    tallies = tallies_of(store)
    await process(store, [Message(decode(raw), raw) for raw in events], {}, noon, tallies.move)
    return store.records, await figures(tallies)


async def figures(tallies: Tallies) -> dict[tuple[str, int, str], int]:
    """Return what is not 0 in the tallies of the round of the valid events, by document, day and indicator."""
    return {
        (id_, day, indicator): n
        for id_, days in (await tallies.read({}, date(2026, 1, 1))).documents.items()
        for day, indicators in days.items()
        for indicator, n in indicators.items()
        if n and id_.startswith("1404/")
    }


@pytest.mark.timeout(600 + RECORDS / 50)
async def test_mutated_records_end_no_worker_and_change_no_figure(topics: Topics) -> None:
    events = valid_events()
    before = {service: counted(service) for service in SERVICES}
    await asyncio.to_thread(topics.send, events)
    workers = [topics.system.start(await topics.worker(service)) for service in SERVICES]
    for service in SERVICES:
        received = sum(topics.sent[name.rpartition(".")[2]] for name in topics.system.consumes[service])

        def outcomes(service: str = service) -> dict[str, float]:
            return {name: n - before[service][name] for name, n in counted(service).items()}

        async def settled(service: str = service, received: int = received) -> bool:
            ready = await topics.store(service).parked.ready(range(PARTITIONS), 1)
            return sum(outcomes(service).values()) >= received and not ready

        await topics.system.until(settled, 60 + RECORDS / 100)
        print(service, received, outcomes())
        assert sum(outcomes().values()) == received, "handled + parked + undecodable = received"
        assert min(outcomes()["parked"], outcomes()["undecodable"]) > RECORDS / 100
    assert all(not topics.system.running[worker][1].done() for worker in workers), "a worker has ended"
    records, tallies = await expected_figures(events)
    found = await topics.store("reporting").read(list(records))
    for subject, expected in records.items():
        assert found[subject].inbox == expected.inbox, subject
        assert found[subject].state == expected.state, subject
    assert tallies and await figures(tallies_of(topics.store("reporting"))) == tallies
