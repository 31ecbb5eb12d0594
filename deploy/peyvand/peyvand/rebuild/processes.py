"""The processes of a rebuild: as many as cores, each builds one partition after the other."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from pymongo import AsyncMongoClient

from base.clock import system_clock
from base.garbage import BATCHES, collect_rarely
from base.kafka_access import KafkaAccess
from contracts.events import PRODUCERS
from contracts.topics import topics_consumed_by
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import TopicIds
from kernel.leases import MongoLeases
from kernel.record import Discarded
from kernel.service import Runtime
from kernel.store import EventId
from kernel.stores.mongodb import connect, translate_errors
from peyvand.local_cluster.processes import PR_SET_PDEATHSIG
from recovery.generations import Pointer
from recovery.rebuild import Rebuild, read_discards
from reporting.service import service

CLIENT = "peyvand-rebuild"
Client = AsyncMongoClient[dict[str, Any]]
Report = Callable[[int, int], None]  # partitions done, records of the log in the last one


class RebuildTarget(msgspec.Struct, frozen=True):
    """Where a rebuild reads, and the database beside which it builds the generation of this version of the code."""

    kafka: KafkaAccess
    mongo: str
    home: str = service.name  # the database that names the generation that is served
    topics: tuple[str, ...] = ()  # those that the service consumes if not given
    owners: tuple[str, ...] = tuple(PRODUCERS)  # databases of the producers

    @property
    def database(self) -> str:
        """Return the database of the generation."""
        return service.database_of(self.home)


class AlreadyBuilt(Exception):
    """The generation of this version of the code is built."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild did: the generation, records of the log that it read, and partitions that it built now."""

    generation: str
    events: int
    partitions: int


async def rebuild(target: RebuildTarget, processes: int, report: Report) -> Rebuilt:
    """Build all partitions that are not built yet, go on to the end of the log, and let the API serve the generation.

    It has then passed the cursors of the one that was served. Raise AlreadyBuilt, Inconsistent, CircuitOpen, Fenced,
    Transient.
    """
    async with opened(target, target.database, {}) as building:
        client, name = building.store.client, target.database
        pointer = Pointer(client[target.home])
        known = await pointer.reserve()
        if name in known.built:
            raise AlreadyBuilt(name)
        await _drop_leftovers(client, name)
        await service.create_indexes(building.store.database)
        done = list[int]()
        while True:  # once more after the last partition: operators may have discarded something meanwhile
            building.discards = await read_discards(client[known.served]) if known.served else {}
            done += (read := await _build_unfinished(target, building, processes, report))
            ids = TopicIds(target.kafka, CLIENT)
            try:
                await building.catch_up(ids)
            finally:
                await asyncio.to_thread(ids.close)
            if not read:
                break
        await pointer.serve(name)
    return Rebuilt(name, sum(done), len(done))


async def _build_unfinished(target: RebuildTarget, building: Rebuild, processes: int, report: Report) -> list[int]:
    """Build what is not built; return how many records of the log each partition has."""
    numbers, done = await building.unfinished(), list[int]()
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(os.getpid(),)
    ) as pool:
        jobs = [loop.run_in_executor(pool, build, target, building.discards, number) for number in numbers]
        try:
            for job in asyncio.as_completed(jobs):
                done.append(await job)
                report(len(done), done[-1])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return done


async def _drop_leftovers(client: Client, name: str) -> None:
    """Drop a database without marks of a rebuild: late writes to a generation that was dropped. Raise Transient."""
    async with translate_errors():
        if await client[name].rebuild.find_one({}) is None:
            await client.drop_database(name)


def build(target: RebuildTarget, discards: Mapping[EventId, Discarded], number: int) -> int:
    """Build one partition in a process of the pool."""

    async def built() -> int:
        async with opened(target, target.database, discards) as building:
            return await building.partition(number)

    return asyncio.run(built())


@asynccontextmanager
async def opened(target: RebuildTarget, database: str, discards: Mapping[EventId, Discarded]) -> AsyncIterator[Rebuild]:
    """Connect to Kafka and MongoDB, to build this database."""
    client, reader = connect(target.mongo), LogReader(target.kafka, CLIENT)
    store = service.mongo_store(client[database])
    leases, clock = MongoLeases(store.database), system_clock()
    try:
        async with service.opened(Runtime[Any](settings=None, store=store, leases=leases, clock=clock)) as runtime:
            assert runtime.projection is not None
            yield Rebuild(
                store=store,
                projection=runtime.projection,
                topics=target.topics or topics_consumed_by(service.name),
                reader=reader,
                clock=clock,
                discards=discards,
                owners={source: client[name] for source, name in zip(PRODUCERS, target.owners, strict=True)},
            )
    finally:
        await reader.stop()
        await client.close()


def _begin(parent: int) -> None:
    """Let a process of the pool end with the command, however that ends: the next run builds the same partition."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_rarely(BATCHES)
