"""`peyvand bench`: run the benchmarks of this clone one after the other, each in a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markdown import Markdown

from peyvand.endpoints import CommandError
from peyvand.local_cluster.workspace import ROOT, current_workspace
from peyvand.performance_report import BENCHES, PAGE, Measured, machine, page, section, stamp


def bench(names: Collection[str], *, quick: bool, write: bool) -> int:
    """Run these benchmarks, or all but the long ones; show the results; write the page if asked. Raise CommandError."""
    if unknown := sorted(set(names) - set(BENCHES)):
        raise CommandError(f"there is no benchmark {', '.join(unknown)}", f"there are {', '.join(BENCHES)}")
    if not (ROOT / "tests" / "bench").is_dir():
        raise CommandError("the benchmarks are not installed", "run them from a clone of the repository")
    console, found, failed = Console(), dict[str, Measured](), []
    for name in [each for each in BENCHES if each in names or not (names or BENCHES[each].long)]:
        console.rule(BENCHES[name].title, align="left")
        load, began = os.getloadavg()[0], time.monotonic()
        measured = _run(name, quick)
        if measured is None:
            failed.append(name)
            continue
        found[name] = stamp(measured, quick=quick, load=load, seconds=time.monotonic() - began)
        console.print(Markdown("\n".join(section(BENCHES[name], found[name])[2:])))
        if write:  # after each benchmark: a later one may be interrupted
            before = PAGE.read_text("utf-8") if PAGE.exists() else ""
            PAGE.write_text(page({name: found[name]}, machine(current_workspace()), before), "utf-8")
    if write:
        console.print(f"written: {PAGE}")
    if failed:
        raise CommandError(f"these benchmarks failed: {', '.join(failed)}", "their output is above")
    return 0


def _run(name: str, quick: bool) -> Measured | None:
    """Run a benchmark; return its results, None if it failed."""
    with tempfile.TemporaryDirectory(prefix="peyvand-bench-") as folder:
        to = Path(folder) / "measured.json"
        command = [sys.executable, "-m", "tests.bench", name, str(to), *(["--quick"] if quick else [])]
        environment = {**os.environ, "PEYVAND_HOME": str(current_workspace().installation)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C reaches the benchmark as well: it ends what it started
            process.wait(30)
            raise
        return msgspec.json.decode(to.read_bytes(), type=Measured) if code == 0 else None
