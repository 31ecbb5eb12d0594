"""Verbs that start, simulate, prepare and remove a platform."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import Annotated

import typer

from peyvand.commands.output import Json, Url
from peyvand.endpoints import CommandError


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (run, up, simulate, apply, bench, chaos, clean):
        app.command(verb.__name__)(verb)


def run() -> int:
    """Run everything: Kafka, MongoDB, four services, a simulated round, a live ranking. Ctrl-C ends it."""
    from peyvand.local_cluster import supervisor

    return supervisor.run(simulate=True)


def up() -> int:
    """Run everything but the simulation."""
    from peyvand.local_cluster import supervisor

    return supervisor.run(simulate=False)


def simulate(
    scale: Annotated[
        float, typer.Option(min=0.001, max=1, help="Size of the other 30 provinces; Semnan is simulated whole.")
    ] = (1 / 25),
    seed: Annotated[int, typer.Option(help="The same seed gives the same table.")] = 1404,
    provinces: Annotated[str, typer.Option(help="Only these, separated by commas, such as IR-20,IR-23.")] = "",
    trickle: Annotated[
        bool, typer.Option("--trickle/--no-trickle", help="Keep sending live events afterwards.")
    ] = True,
    url: Url = "",
    as_json: Json = False,
) -> int:
    """Simulate a national round through the public APIs, and prove at the end that nothing was lost."""
    from programme.reference import provinces as known

    only = tuple(filter(None, (code.strip() for code in provinces.split(","))))
    if unknown := [code for code in only if code not in known()]:
        raise CommandError(
            f"there is no province {', '.join(unknown)}", "codes are IR-00 to IR-30, separated by commas"
        )
    from peyvand.simulation.command import simulate as run_simulation

    if not as_json:
        return run_simulation(scale, seed, only, url, trickle)
    with redirect_stdout(sys.stderr):
        code = run_simulation(scale, seed, only, url, trickle)
    print(json.dumps({"seed": seed, "scale": scale, "provinces": only, "proved": code == 0}))
    return code


def apply(
    diff: Annotated[bool, typer.Option("--diff", help="Only list the differences; exit code 1 if there are any.")] = (
        False
    ),
    as_json: Json = False,
) -> int:
    """Create or update topics, database users and indexes as the code declares them. Idempotent."""
    from peyvand.commands.apply import apply as apply_all

    if not as_json:
        return apply_all(diff)
    with redirect_stdout(StringIO()) as output:
        code = apply_all(diff)
    *lines, _ = output.getvalue().splitlines() or [""]  # the last one only counts them
    print(json.dumps({"differences" if diff else "done": lines}))
    return code


def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Only these, such as backlog; round, rebuild and queries run only so."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="At small size: two minutes, and rough figures.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/performance.md.")] = False,
) -> int:
    """Measure this clone against the obvious alternatives, on this machine (15 minutes; run nothing else)."""
    from peyvand.commands.bench import bench as measure

    return measure(names or (), quick=quick, write=write)


def chaos(
    seed: Annotated[int, typer.Option(help="The same seed gives the same faults.")] = 7,
    faults: Annotated[int, typer.Option(min=0, help="How many.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="No fault begins after so many.")] = 3_600,
) -> int:
    """Kill, end and freeze the processes of a separate platform under load; verify that nothing is lost or doubled."""
    from peyvand.chaos.run import run_chaos

    return run_chaos(seed, faults, seconds)


def clean(as_json: Json = False) -> int:
    """Remove the run folder (data, logs, secrets); installed parts stay."""
    from peyvand.local_cluster.workspace import WorkspaceLocked, remove_run_folder

    try:
        message = remove_run_folder()
    except WorkspaceLocked as e:
        raise CommandError(str(e), "end it first: Ctrl-C where it runs") from e
    except FileNotFoundError:
        message = "there is no run folder to remove"
    print(json.dumps({"done": message}) if as_json else message)
    return 0
