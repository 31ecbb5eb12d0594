"""A process that ends before or after the n-th time that it waits for something: the database, Kafka, the log."""

import inspect
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from kernel.roles.worker import Worker
from kernel.stores.mongodb import MongoStore
from tests.support.small_workers import SmallSystem

COLLECTIONS = ("records", "positions", "undecodable", "topics")  # of a store; parked ones have a store of their own


class CrashPoint(NamedTuple):
    """Where a process ends: before or after it waits for `what` for the n-th time."""

    what: str
    after: bool
    nth: int

    def __str__(self) -> str:
        return f"{self.what} {'after' if self.after else 'before'} {self.nth}"

    @staticmethod
    def parse(text: str) -> "CrashPoint":
        """Return the point that `str` has written."""
        what, when, nth = text.split()
        return CrashPoint(what, when == "after", int(nth))


def kill_this_process() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(9)


class CrashingProcess:
    """Counts what one process waits for, and ends it at its crash point, if it has one."""

    def __init__(self, point: CrashPoint | None = None, crash: Callable[[], None] = kill_this_process) -> None:
        self.point, self.crash = point, crash
        self.passed: Counter[tuple[str, bool]] = Counter()

    def pass_point(self, what: str, after: bool) -> None:
        """Count a point; crash if it is the one."""
        self.passed[what, after] += 1
        if self.point == (what, after, self.passed[what, after]):
            self.crash()

    def wrap(self, what: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return the same function with a crash point before and after it."""

        async def wrapped(*args: Any, **options: Any) -> Any:
            self.pass_point(what, after=False)
            result = await call(*args, **options)
            self.pass_point(what, after=True)
            return result

        return wrapped

    def store(self, store: MongoStore) -> MongoStore:
        """Add crash points to each command of a store to the database, and to the commit of a transaction."""
        attributes: Any = vars(store)
        for name in COLLECTIONS:
            attributes[name] = _Collection(self, name, attributes[name])
        store.parked.collection = _Collection(self, "parked", store.parked.collection)  # type: ignore[assignment]
        attributes["client"] = _Sessions(self, attributes["client"])
        counters: Any = store.counters
        counters.counters = _Collection(self, "counters", counters.counters)
        counters.records, counters.client = attributes["records"], attributes["client"]
        return store

    def worker(self, small_system: SmallSystem, service: str) -> Worker:
        """Return a worker of a service with crash points in its store, log, projection, relay and replays."""
        options: dict[str, Any] = {"store": self.store(small_system.store(service))}
        if service == "reporting":
            options["projection"] = self.wrap("tallies", small_system.tallies().move)
        worker = small_system.worker(service, **options)
        replay: Any = worker.loops["replay"]
        replay.replays = _Collection(self, "replays", replay.replays)
        for name in ("begins", "ends", "seek", "read_chunk"):
            vars(worker.reader)[name] = self.wrap(f"log.{name}", getattr(worker.reader, name))
        worker.consumer.topic_ids = self.wrap("log.topics", worker.topic_ids.read)
        connect = worker.relay.connect
        worker.relay.connect = lambda: _Producer(self, connect())
        return worker


class _Collection:
    """A collection with crash points around each command."""

    def __init__(self, process: CrashingProcess, name: str, collection: Any) -> None:
        self._process, self._label, self._collection = process, name, collection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        return self._process.wrap(f"{self._label}.{name}", found) if inspect.iscoroutinefunction(found) else found

    def find(self, *args: Any, **options: Any) -> Any:
        """Return a cursor with crash points before its first document and after its last one."""
        return _Cursor(self._process, f"{self._label}.find", self._collection.find(*args, **options))


class _Cursor:
    """A cursor of `find`."""

    def __init__(self, process: CrashingProcess, label: str, cursor: Any) -> None:
        self.process, self.label, self.cursor = process, label, cursor

    async def __aiter__(self) -> AsyncIterator[Any]:
        self.process.pass_point(self.label, after=False)
        async for document in self.cursor:
            yield document
        self.process.pass_point(self.label, after=True)

    async def to_list(self) -> list[Any]:
        """Return all documents."""
        return [document async for document in self]


class _Sessions:
    """A client with crash points around the commit of its transactions."""

    def __init__(self, process: CrashingProcess, client: Any) -> None:
        self.process, self.client = process, client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def start_session(self, **options: Any) -> Any:
        """Return a session."""
        session = self.client.start_session(**options)
        vars(session)["commit_transaction"] = self.process.wrap("commit", session.commit_transaction)
        return session


class _Producer:
    """Kafka's producer with crash points around each message and each wait for an acknowledgement."""

    def __init__(self, process: CrashingProcess, producer: Any) -> None:
        self.process, self.producer = process, producer

    def send(self, *args: Any, **message: Any) -> Any:
        """Return a future of the acknowledgement."""
        self.process.pass_point("kafka.send", after=False)
        sent = self.producer.send(*args, **message)
        self.process.pass_point("kafka.send", after=True)
        return _Acknowledgement(self.process, sent)

    def close(self, **options: Any) -> None:
        """Close the producer."""
        self.producer.close(**options)


class _Acknowledgement:
    """The acknowledgement of one message."""

    def __init__(self, process: CrashingProcess, sent: Any) -> None:
        self.process, self.sent = process, sent

    @property
    def is_done(self) -> bool:
        """Return whether it has come, or never will."""
        return bool(self.sent.is_done)

    def get(self, *args: Any) -> Any:
        """Wait for it."""
        self.process.pass_point("kafka.acknowledged", after=False)
        found = self.sent.get(*args)
        self.process.pass_point("kafka.acknowledged", after=True)
        return found
