"""A service is a declaration. `python -m run screening api|worker` runs it.

    service = Service(name="screening", rules={"applicant": applicant}, routers=("screening.api.cases:router",))

The module of a declaration imports neither a web framework nor a Kafka client: routers and static files are named as
uvicorn names applications, and imported by the role that needs them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import Clock
from base.settings import Settings
from kernel.leases import Leases, MongoLeases
from kernel.leases import declared_indexes as lease_indexes
from kernel.query import Index
from kernel.record import Record
from kernel.rules import Rules
from kernel.store import Projection, Store
from kernel.stores.mongodb import MongoStore, connect
from kernel.stores.mongodb.indexes import Declared, create_indexes, missing_indexes
from observability.health import ReadinessReason

PeriodicJob = Callable[[frozenset[int]], Awaitable[int]]  # for these partitions; returns how much was done
RestoredRecord = Callable[[Record, Record], Record]  # what becomes of a record to which a restore gave events back
Database = AsyncDatabase[dict[str, Any]]
S = TypeVar("S", bound=Settings)

__all__ = ["Database", "PeriodicJob", "RestoredRecord", "Runtime", "Service"]


class Runtime(msgspec.Struct, Generic[S], kw_only=True):
    """What a running service works with; `resources` is what the service opens itself."""

    settings: S
    store: Store
    leases: Leases
    clock: Clock
    resources: Any = None
    projection: Projection | None = None
    databases: Callable[[str], Database] | None = None  # by suffix; None over memory

    def database(self, suffix: str) -> Database:
        """Return another database of the service: `registration` and `keys` make `registration_keys`."""
        assert self.databases is not None, "a service over memory has no database"
        return self.databases(suffix)


class Service(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a service is made of. A field that is left out means that the service has none."""

    name: str
    title: str
    description: str
    rules: Mapping[str, Rules]  # by kind of subject
    settings: type[S]
    unique: tuple[str, ...] = ()  # fields of `indexed` whose values no two records share
    indexes: tuple[Index, ...] = ()
    prefix: str = ""  # of its paths behind the one address
    routers: tuple[str, ...] = ()  # "module:attribute" of an APIRouter
    mounts: tuple[str, ...] = ()  # "module:attribute" of a web.assets.Mount
    sign_in: bool = False  # officers use its pages
    longest_linger: float = 0.0  # seconds for which events gather when many arrive; 0: as for few
    resources: Callable[[Runtime[S]], AbstractAsyncContextManager[Any]] | None = None  # opened by both roles
    ready: Callable[[Runtime[S]], Awaitable[list[ReadinessReason]]] | None = None  # why the API is not
    jobs: Callable[[Runtime[S]], Sequence[PeriodicJob]] | None = None  # of the worker
    projection: Callable[[Runtime[S]], Projection] | None = None
    generation: Callable[[], str] | None = None  # digest of what the projection follows from; see database_of
    restored: Callable[[Runtime[S]], RestoredRecord] | None = None
    after_restore: Callable[[Runtime[S]], Awaitable[None]] | None = None  # before it is served; repeatable

    def database_of(self, name: str) -> str:
        """Return the database that this version of the code writes: for a projection one of its generation alone.

        Otherwise contributions that were added under other rules would be subtracted under these.
        """
        return f"{name}_{self.generation()}" if self.generation else name

    def mongo_store(self, database: Database) -> MongoStore:
        """Return the service's records in this database."""
        return MongoStore(database, self.name, self.rules, self.unique, self.indexes)

    async def create_indexes(self, database: Database) -> None:
        """Create every index of the service; creating them again changes nothing."""
        await create_indexes(database, self._declared_indexes(database))

    async def missing_indexes(self, database: Database) -> list[str]:
        """Return the indexes (collection.name) without which the service may not be served. Raise Transient."""
        return await missing_indexes(database, self._declared_indexes(database))

    def _declared_indexes(self, database: Database) -> Declared:
        return {**self.mongo_store(database).declared_indexes(), "leases": lease_indexes()}

    @asynccontextmanager
    async def running(self, settings: S) -> AsyncIterator[Runtime[S]]:
        """Open what both roles work with, over MongoDB."""
        client = connect(settings.mongo.get_secret_value())
        try:
            async with self.over(client[self.database_of(settings.database)], settings) as runtime:
                yield runtime
        finally:
            await client.close()

    @asynccontextmanager
    async def over(self, database: Database, settings: S) -> AsyncIterator[Runtime[S]]:
        """Open what both roles work with, over this database."""
        runtime = Runtime(
            settings=settings,
            store=self.mongo_store(database),
            leases=MongoLeases(database),
            clock=settings.programme_clock(),
            databases=lambda suffix: database.client[f"{settings.database}_{suffix}"],
        )
        async with self.opened(runtime):
            yield runtime

    @asynccontextmanager
    async def opened(self, runtime: Runtime[S]) -> AsyncIterator[Runtime[S]]:
        """Open the service's own resources, unless the runtime has them already."""
        if self.resources is None or runtime.resources is not None:
            yield self.projecting(runtime)
            return
        async with self.resources(runtime) as runtime.resources:
            yield self.projecting(runtime)

    def projecting(self, runtime: Runtime[S]) -> Runtime[S]:
        """Set the projection of a runtime whose resources are open."""
        runtime.projection = self.projection(runtime) if self.projection else None
        return runtime
