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


class Point(NamedTuple):
    """Where a process ends: before or after the n-th time that it waits for this."""

    what: str
    after: bool
    nth: int

    def __str__(self) -> str:
        return f"{self.what} {'after' if self.after else 'before'} {self.nth}"

    @staticmethod
    def of(text: str) -> "Point":
        """As it was written."""
        what, when, nth = text.split()
        return Point(what, when == "after", int(nth))


def killed() -> None:
    """As `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(9)


class Life:
    """One process: what it has waited for, and where it ends, if anywhere."""

    def __init__(self, point: Point | None = None, end: Callable[[], None] = killed) -> None:
        self.point, self.end = point, end
        self.known: Counter[tuple[str, bool]] = Counter()

    def passes(self, what: str, after: bool) -> None:
        """Ends here, if this is the point."""
        self.known[what, after] += 1
        if self.point == (what, after, self.known[what, after]):
            self.end()

    def mortal(self, what: str, do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The same, which may be the last."""

        async def done(*args: Any, **options: Any) -> Any:
            self.passes(what, after=False)
            result = await do(*args, **options)
            self.passes(what, after=True)
            return result

        return done

    def store(self, store: MongoStore) -> MongoStore:
        """Of which each command to the database is mortal, those of a transaction and its commit as well."""
        servers: Any = vars(store)
        for name in ("records", "positions", "unreadable", "topics"):
            servers[name] = _Collection(self, name, servers[name])
        servers["client"] = _Sessions(self, servers["client"])
        return store

    def worker(self, small_system: SmallSystem, service: str) -> Worker:
        """A worker of a service, all of it mortal."""
        options: dict[str, Any] = {"store": self.store(small_system.store(service))}
        if service == "reporting":
            options["projection"] = self.mortal("tallies", small_system.tallies().move)
        worker = small_system.worker(service, **options)
        for name in ("begins", "ends", "seek", "stride"):
            vars(worker.reader)[name] = self.mortal(f"log.{name}", getattr(worker.reader, name))
        worker.consumer.topic_ids = self.mortal("log.topics", worker.topic_ids.of)
        connect = worker.relay.connect
        worker.relay.connect = lambda: _Producer(self, connect())
        return worker


class _Collection:
    """A collection, each command mortal."""

    def __init__(self, life: Life, name: str, collection: Any) -> None:
        self.life, self.named, self.collection = life, name, collection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.collection, name)
        return self.life.mortal(f"{self.named}.{name}", found) if inspect.iscoroutinefunction(found) else found

    async def find(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """Documents, one after the other."""
        self.life.passes(f"{self.named}.find", after=False)
        async for d in self.collection.find(*args, **options):
            yield d
        self.life.passes(f"{self.named}.find", after=True)


class _Sessions:
    """A client whose transactions may end at their commit."""

    def __init__(self, life: Life, client: Any) -> None:
        self.life, self.client = life, client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def start_session(self) -> Any:
        """A session."""
        session = self.client.start_session()
        vars(session)["commit_transaction"] = self.life.mortal("commit", session.commit_transaction)
        return session


class _Producer:
    """Kafka's producer: each message, and each wait for an acknowledgement, may be the last."""

    def __init__(self, life: Life, producer: Any) -> None:
        self.life, self.producer = life, producer

    def send(self, *args: Any, **message: Any) -> Any:
        """What will be acknowledged."""
        self.life.passes("kafka.send", after=False)
        sent = self.producer.send(*args, **message)
        self.life.passes("kafka.send", after=True)
        return _Acknowledgement(self.life, sent)

    def close(self, **options: Any) -> None:
        """Lets it go."""
        self.producer.close(**options)


class _Acknowledgement:
    """Kafka's answer to one message."""

    def __init__(self, life: Life, sent: Any) -> None:
        self.life, self.sent = life, sent

    def get(self, *args: Any) -> Any:
        """Waits for it."""
        self.life.passes("kafka.acknowledged", after=False)
        found = self.sent.get(*args)
        self.life.passes("kafka.acknowledged", after=True)
        return found
