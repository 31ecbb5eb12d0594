"""CPU seconds and peak resident memory of processes, as the operating system counts them; and statistics."""

import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
FULL = 0.95  # of all cores: above this, uneven load queues


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far, user and system, all threads; 0 if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_memory(pid: int) -> int:
    """Return the peak resident memory in bytes since the `Meter` was made."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")), 0)


class Meter:
    """CPU seconds and peak memory of some processes between two moments."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.pids = dict(pids)
        for pid in self.pids.values():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak
        self.before = {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def read(self) -> "Costs":
        """Return the costs since then."""
        return Costs(
            {name: cpu_seconds(pid) - self.before[name] for name, pid in self.pids.items()},
            {name: peak_memory(pid) for name, pid in self.pids.items()},
        )


class Costs:
    """CPU seconds and peak memory in bytes, by process."""

    def __init__(self, cpu: Mapping[str, float], memory: Mapping[str, int]) -> None:
        self.cpu, self.memory = dict(cpu), dict(memory)

    def of(self, *names: str) -> float:
        """Return the CPU seconds of the processes whose names begin so; of all if none is named."""
        return sum(seconds for name, seconds in self.cpu.items() if not names or name.startswith(names))

    def rows(self, run: str, units: int) -> list[list[str]]:
        """Return rows of the page's table of processes."""
        return [
            [run, name, f"{seconds:.1f}", micros(seconds / max(units, 1)), mebibytes(self.memory[name])]
            for name, seconds in self.cpu.items()
        ]


def budget(costs: Costs, units: int, aim: float, unit: str) -> str:
    """Describe what limits: the CPU per unit that the cores allow at the target rate, and the CPU that it takes."""
    cores = os.cpu_count() or 1
    takes = ", ".join(f"{name} {micros(seconds / units)}" for name, seconds in costs.cpu.items() if seconds)
    allowance = (
        f"At {aim:,.0f}/s {cores} cores allow {micros(cores / aim)} {unit}, and all processes together take "
        f"{micros(costs.of() / units)} ({takes}): "
    )
    if costs.of() / units > FULL * cores / aim:
        return f"{allowance}the limit is the processor."
    name, seconds = max(costs.cpu.items(), key=lambda each: each[1])
    return f"{allowance}there is CPU left, but {name} alone takes {seconds / units * aim:.0%} of one core at that rate."


def together(costs: Sequence[Costs]) -> Costs:
    """Return the medians of several rounds."""
    names = costs[0].cpu
    return Costs(
        {name: statistics.median(each.cpu[name] for each in costs) for name in names},
        {name: max(each.memory[name] for each in costs) for name in names},
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share lies; nan if there are no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def millis(seconds: float) -> str:
    """Format seconds as `12.3 ms`."""
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


def micros(seconds: float) -> str:
    """Format seconds as `12.3 us`, or as milliseconds from 1 ms."""
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def mebibytes(size: float) -> str:
    """Format bytes as `123 MiB`."""
    return f"{size / (1 << 20):,.0f} MiB"


def rates(values: Sequence[float]) -> str:
    """Format the figures of each round, in order."""
    return ", ".join(f"{value:,.0f}" for value in values)
