"""`peyvand rebuild`: build the projection of reporting again, beside the one that is read."""

import json
import os
import re
from typing import Annotated

import typer

from peyvand.commands.output import Json, Url, number_of
from peyvand.endpoints import CommandError, find_endpoints

NAME = "[a-z][a-z0-9_]{0,60}"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("rebuild")(rebuild)


def rebuild(
    database: Annotated[str, typer.Argument(help="A new database, such as reporting_2; or one to be finished.")],
    processes: Annotated[int, typer.Option(min=1, help="How many; as many as cores if not given.")] = os.cpu_count()
    or 1,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Build the figures again from the log, in a new database beside the live one; start it again if it was ended."""
    import asyncio

    from kernel.errors import CircuitOpen, Fenced, Transient
    from peyvand.local_cluster.restore_target import restore_target
    from peyvand.local_cluster.topology import DATABASES
    from peyvand.rebuild.processes import Generation
    from peyvand.rebuild.processes import rebuild as run
    from peyvand.terminal.progress_bars import progress_bars
    from recovery.missing_events import Inconsistent

    if not re.fullmatch(NAME, database) or any(database in (service, *names) for service, names in DATABASES.items()):
        raise CommandError(f"{database} is no name of a new database", "such as reporting_2: no service may use it")
    kafka = find_endpoints(url).require_kafka()
    with progress_bars(as_json) as progress, restore_target() as mongo:
        target = Generation(kafka, mongo, database)
        try:
            rebuilt = asyncio.run(run(target, processes, lambda _, events: progress("partitions", 1, 32)))
        except (CircuitOpen, Inconsistent) as e:
            raise CommandError(f"{database} cannot be built: {e}", "the live database is unchanged") from e
        except Fenced as e:
            raise CommandError(f"something else writes {database}", "end it, drop the database, and start again") from e
        except Transient as e:
            raise CommandError(f"the rebuild of {database} stopped: {e}", "start it again: it goes on") from e
    if as_json:
        print(json.dumps({"database": database, "events": rebuilt.events, "partitions": rebuilt.partitions}))
        return
    print(f"{database} has {number_of(rebuilt.events, 'event')} of {rebuilt.partitions} partitions that were built now")
    print(f"let the processes of reporting use it: PEYVAND_DATABASE={database}; a worker goes on where it ends")
