"""`peyvand bench`: runs the benchmarks of this clone, one after the other, each in a process of its own."""

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

from peyvand.endpoints import Trouble
from peyvand.local_cluster.workspace import ROOT, here
from peyvand.performance_report import BENCHES, PAGE, Measured, machine, page, section, stamp


def bench(names: Collection[str], *, quick: bool, write: bool) -> int:
    """Runs these benchmarks, or all; shows what each found, and writes the page where told to. Raises Trouble."""
    if unknown := sorted(set(names) - set(BENCHES)):
        raise Trouble(f"there is no benchmark {', '.join(unknown)}", f"there are {', '.join(BENCHES)}")
    if not (ROOT / "tests" / "bench").is_dir():
        raise Trouble("the benchmarks are not installed", "run them from a clone of the repository")
    console, found, failed = Console(), dict[str, Measured](), []
    for name in [each for each in BENCHES if not names or each in names]:
        console.rule(BENCHES[name].title, align="left")
        load, began = os.getloadavg()[0], time.monotonic()
        measured = _run(name, quick)
        if measured is None:
            failed.append(name)
            continue
        found[name] = stamp(measured, quick=quick, load=load, seconds=time.monotonic() - began)
        console.print(Markdown("\n".join(section(BENCHES[name], found[name])[2:])))
        if write:  # after each: what comes later may be interrupted
            before = PAGE.read_text("utf-8") if PAGE.exists() else ""
            PAGE.write_text(page({name: found[name]}, machine(here()), before), "utf-8")
    if write:
        console.print(f"written: {PAGE}")
    if failed:
        raise Trouble(f"these did not come to an end: {', '.join(failed)}", "what they said stands above")
    return 0


def _run(name: str, quick: bool) -> Measured | None:
    """What a benchmark found; None where it failed."""
    with tempfile.TemporaryDirectory(prefix="peyvand-bench-") as folder:
        to = Path(folder) / "measured.json"
        command = [sys.executable, "-m", "tests.bench", name, str(to), *(["--quick"] if quick else [])]
        environment = {**os.environ, "PEYVAND_HOME": str(here().parts)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        process = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            code = process.wait()
        except BaseException:  # Ctrl-C reaches it as well: it ends what it started
            process.wait(30)
            raise
        return msgspec.json.decode(to.read_bytes(), type=Measured) if code == 0 else None
