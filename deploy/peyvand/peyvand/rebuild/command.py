"""`peyvand rebuild`: build the projection of reporting again, beside the one that is read."""

import json
import os
from typing import Annotated

import typer

from peyvand.commands.output import Json, Url, number_of
from peyvand.endpoints import CommandError, find_endpoints


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("rebuild")(rebuild)


def rebuild(
    processes: Annotated[int, typer.Option(min=1, help="How many; as many as cores if not given.")] = os.cpu_count()
    or 1,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Build the figures again from the log as this version of the code counts them, beside the live ones; serve them.

    It goes on where it was ended.
    """
    import asyncio

    from kernel.errors import CircuitOpen, Fenced
    from kernel.roles.worker import TRANSIENT
    from peyvand.local_cluster.restore_target import restore_target
    from peyvand.rebuild.processes import AlreadyBuilt, RebuildTarget
    from peyvand.rebuild.processes import rebuild as run
    from peyvand.terminal.progress_bars import progress_bars
    from recovery.missing_events import Inconsistent

    kafka = find_endpoints(url).require_kafka()
    with progress_bars(as_json) as progress, restore_target() as mongo:
        target = RebuildTarget(kafka, mongo)
        name = target.database
        try:
            rebuilt = asyncio.run(run(target, processes, lambda _, events: progress("partitions", 1, 32)))
        except AlreadyBuilt as e:
            raise CommandError(f"{name} is built already", f"`peyvand generations use {name}` serves it") from e
        except (CircuitOpen, Inconsistent) as e:
            raise CommandError(f"{name} cannot be built: {e}", "the figures that are served are unchanged") from e
        except Fenced as e:
            raise CommandError(f"something else writes {name}", "end it, drop the database, and start again") from e
        except TRANSIENT as e:
            raise CommandError(f"the rebuild of {name} stopped: {e}", "start it again: it goes on") from e
    if as_json:
        print(json.dumps({"generation": name, "events": rebuilt.events, "partitions": rebuilt.partitions}))
        return
    print(f"{name} has {number_of(rebuilt.events, 'event')} of {rebuilt.partitions} partitions that were built now")
    print("it is served from now; the workers of this version count on")
