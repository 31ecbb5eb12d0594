"""Who reads a backlog: the bare script, or one or two of the real workers."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path

from contracts.topics import topics_consumed_by
from peyvand.local_cluster.processes import free_ports
from tests.bench.log_backlog import Backlog
from tests.bench.meter import Meter
from tests.bench.role_processes import Running, role, script
from tests.support.tokens import Issuer

BARE, ONE, TWO = "bare script", "one worker", "two workers"


@asynccontextmanager
async def reading(
    what: str, service: str, bare: str, log: Backlog, folder: Path, issuer: Issuer, database: str
) -> AsyncIterator[tuple[float, Meter]]:
    """The moment at which the first of them is ready, and a meter of all; `bare` is what the script does instead.

    Afterwards they are ended, and their database is dropped.
    """
    with ExitStack() as stack:
        readers: list[Running] = []
        if what == BARE:
            port = free_ports({"bare": None})["bare"]
            arguments = (bare, log.servers.kafka, log.servers.mongo, database, str(port), *topics_consumed_by(service))
            readers.append(stack.enter_context(script("bare", *arguments, log=folder / "bare.log", port=port)))
        else:
            await import_module(f"{service}.main").prepare(log.client[database])
            for n in range(1 if what == ONE else 2):
                worker = role(service, "worker", log.servers, folder, issuer, database, n)
                readers.append(stack.enter_context(worker))
        meter = Meter(
            {f"reader {n + 1}": each.pid for n, each in enumerate(readers)}
            | {"mongod": log.servers.pids["mongod"]}
            | {"kafka": log.servers.pids["kafka"]}
        )
        yield readers[0].wait(), meter
    await log.client.drop_database(database)
