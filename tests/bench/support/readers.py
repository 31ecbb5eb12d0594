"""The readers of a backlog: the bare script, or one or two real workers."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path

import msgspec

from contracts.topics import topics_consumed_by
from peyvand.local_cluster.processes import free_ports
from tests.bench.support.log_backlog import Backlog
from tests.bench.support.meter import Meter
from tests.bench.support.role_processes import Running, role, script
from tests.support.tokens import Issuer

BARE, ONE, TWO = "bare script", "one worker", "two workers"


@asynccontextmanager
async def reading(
    reader: str, service: str, bare: str, log: Backlog, folder: Path, issuer: Issuer, database: str
) -> AsyncIterator[tuple[float, Meter, str]]:
    """Start readers; yield when the first is ready (monotonic time), a meter of all, and the database that they write.

    `bare` is the work of the script. Afterwards the readers are ended and their database is dropped.
    """
    with ExitStack() as stack:
        readers: list[Running] = []
        if reader == BARE:
            port = free_ports({"bare": None})["bare"]
            access = msgspec.json.encode(log.servers.kafka).decode()
            arguments = (bare, access, log.servers.mongo, database, str(port), *topics_consumed_by(service))
            readers.append(stack.enter_context(script("bare_scripts", *arguments, log=folder / "bare.log", port=port)))
        else:
            declaration, home = import_module(f"{service}.service").service, database
            database = declaration.database_of(home)
            await declaration.create_indexes(log.client[database])
            for n in range(1 if reader == ONE else 2):
                worker = role(service, "worker", log.servers, folder, issuer, home, n)
                readers.append(stack.enter_context(worker))
        meter = Meter(
            {f"reader {n + 1}": each.pid for n, each in enumerate(readers)}
            | {"mongod": log.servers.pids["mongod"]}
            | {"kafka": log.servers.pids["kafka"]}
        )
        yield readers[0].wait(), meter, database
    await log.client.drop_database(database)
