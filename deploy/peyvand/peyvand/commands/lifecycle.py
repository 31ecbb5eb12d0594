"""The verbs that start, simulate, prepare and clear away the country."""

import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from typing import Annotated

import typer

from peyvand.endpoints import Trouble


def starting(app: typer.Typer) -> None:
    """Adds them to the command."""
    for verb in (run, up, simulate, apply, bench, storm, clean):
        app.command(verb.__name__)(verb)


def run() -> int:
    """The whole country: Kafka, MongoDB, four services, a simulated round, a live ranking; Ctrl-C ends it."""
    from peyvand.local_cluster import supervisor

    return supervisor.run(simulate=True)


def up() -> int:
    """The same with nothing simulated."""
    from peyvand.local_cluster import supervisor

    return supervisor.run(simulate=False)


def simulate(
    scale: Annotated[float, typer.Option(min=0.001, max=1, help="Size of the other 30 provinces; Semnan is whole.")] = (
        1 / 25
    ),
    seed: Annotated[int, typer.Option(help="The same seed gives the same table.")] = 1404,
    provinces: Annotated[str, typer.Option(help="Only these, parted by commas, such as IR-20,IR-23.")] = "",
    trickle: Annotated[bool, typer.Option("--trickle/--no-trickle", help="Keep the country moving afterwards.")] = True,
    url: Annotated[str, typer.Option("--url", help="The country's public address, if not the one of this clone.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document at the end instead of words.")] = False,
) -> int:
    """Simulates a national round through the public APIs, and proves at the end that nothing was lost."""
    from programme.reference import provinces as known

    only = tuple(filter(None, (code.strip() for code in provinces.split(","))))
    if unknown := [code for code in only if code not in known()]:
        raise Trouble(f"there is no province {', '.join(unknown)}", "codes are IR-00 to IR-30, parted by commas")
    from peyvand.simulation.command import simulate as simulated

    if not as_json:
        return simulated(scale, seed, only, url, trickle)
    with redirect_stdout(sys.stderr):  # the words go beside
        code = simulated(scale, seed, only, url, trickle)
    print(json.dumps({"seed": seed, "scale": scale, "provinces": only, "proved": code == 0}))
    return code


def apply(
    diff: Annotated[bool, typer.Option("--diff", help="Only say what differs; 1 where something does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")] = False,
) -> int:
    """Brings a cluster to what the code says: topics, database users, indexes. Doing it again changes nothing."""
    from peyvand.commands.apply import apply as bring

    if not as_json:
        return bring(diff)
    with redirect_stdout(StringIO()) as said:
        code = bring(diff)
    *lines, _ = said.getvalue().splitlines() or [""]  # the last one only counts them
    print(json.dumps({"differences" if diff else "done": lines}))
    return code


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Only these benchmarks, such as backlog fold.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="At small size: two minutes, and rough figures.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/performance.md.")] = False,
) -> int:
    """Measures this clone against the obvious alternatives, on this machine (15 minutes; nothing else should run)."""
    from peyvand.commands.bench import bench as measure

    return measure(names or (), quick=quick, write=write)


def storm(
    seed: Annotated[int, typer.Option(help="The same seed gives the same faults.")] = 7,
    faults: Annotated[int, typer.Option(min=0, help="How many.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="No fault begins after so many.")] = 3_600,
) -> int:
    """Kills, ends and freezes every process of a country of its own under load: nothing is lost, nothing doubled."""
    from peyvand.chaos.run import storm as blow

    return blow(seed, faults, seconds)


def clean(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of words.")] = False,
) -> int:
    """Removes what was run (data, logs, secrets); what is installed stays."""
    from peyvand.local_cluster.workspace import Busy
    from peyvand.local_cluster.workspace import clean as clear

    try:
        done = clear()
    except Busy as e:
        raise Trouble(str(e), "end it first: Ctrl-C where it runs") from e
    except FileNotFoundError:
        done = "nothing was ever run here"
    print(json.dumps({"done": done}) if as_json else done)
    return 0
