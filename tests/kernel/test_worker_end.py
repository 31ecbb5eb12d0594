"""A worker that ends, ends: nothing that hangs keeps its process, and what it does not own is no longer its concern."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

import kernel.roles.worker as module
from base.kafka_access import KafkaAccess
from kernel.kafka.relay import Relay
from kernel.roles.worker import Worker
from kernel.stores.memory import MemoryStore
from run import backlog
from run.backlog import Backlog, BacklogLoop
from tests.support.small_services import ReportingRules, noon

TOPICS = ("peyvand.registration", "peyvand.screening")
HANGING_THREAD = """
import asyncio, contextlib, threading
import run.worker as module

async def serve(worker, settings):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

class Service:
    settings = None

    @contextlib.asynccontextmanager
    async def running(self, settings):
        yield None

module.EXIT_TIMEOUT, module.serve_worker = 0.2, serve
module.worker_of, module.load = lambda *_: None, lambda _: None
module.run_worker(Service())
"""


def worker() -> Worker:
    """Return a worker that has connected to nothing."""
    rules: Any = {"applicant": ReportingRules}
    store: Any = MemoryStore("reporting", rules)
    relay = Relay(store, lambda: pytest.fail("nothing is to be published"), "")
    return Worker("reporting", TOPICS, KafkaAccess("127.0.0.1:1"), store, relay, noon)


async def test_a_client_that_cannot_be_closed_keeps_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.1)
    ending, stop = worker(), asyncio.Event()
    monkeypatch.setattr(ending.reader, "stop", asyncio.Event().wait)
    stop.set()
    await asyncio.wait_for(ending.run(stop), 60)


def test_a_thread_that_hangs_keeps_no_process_that_was_asked_to_end() -> None:
    """SIGTERM during a request that Kafka never answers."""
    ended = subprocess.run([sys.executable, "-c", HANGING_THREAD], capture_output=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (1, b"")


async def test_the_assigned_partitions_are_counted_once_however_many_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The alert compares them with 32: half of the workers of a service may not pass for all of them."""

    async def nothing(*_: Any) -> Backlog:
        return Backlog()

    monkeypatch.setattr(backlog, "read_backlog", nothing)
    half = worker()
    half.consumer.owned = frozenset(TopicPartition(topic, n) for topic in TOPICS for n in range(16))
    half.consumer.cursors = dict.fromkeys(half.consumer.owned, 0)
    await BacklogLoop(half)()
    assert REGISTRY.get_sample_value("peyvand_partitions_assigned", {"service": "reporting"}) == 16


async def test_a_cursor_that_becomes_unsure_while_others_are_read_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = worker().consumer
    first, second = TopicPartition(TOPICS[0], 0), TopicPartition(TOPICS[0], 1)
    consumer.cursors, consumer.unsure = {first: 5, second: 5}, {first}
    read = consumer.store.cursors

    async def meanwhile(tps: Any) -> Any:
        consumer.unsure.add(second)  # the sweep has found that it was reset
        return await read(tps)

    async def ids(_: Any) -> Any:
        return {}

    monkeypatch.setattr(consumer.store, "cursors", meanwhile)
    monkeypatch.setattr(consumer.store, "topic_ids", ids, raising=False)
    await consumer._read_cursors()
    assert consumer.unsure == {second} and consumer.cursors == {first: 0, second: 5}
