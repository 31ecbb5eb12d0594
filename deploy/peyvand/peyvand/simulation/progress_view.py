"""The progress of a simulated round: a live table of the provinces on a large terminal, else one line a step."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from programme.reference import provinces

BAR = 24  # characters
STAGES = ("registered", "screened", "admitted", "identified", "connected")
SHADES = " ░▒▓█"  # the more stages reached, the darker


class ProgressView:
    """Shows a live table if the terminal is large enough, else a line for every step."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal and console.height > 36 else None

    def __enter__(self) -> "ProgressView":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, title: str, rows: Sequence[Mapping[str, Any]], totals: Mapping[str, int], pace: str) -> None:
        """Show a step: rows in the order of their ranks, each with its counts by stage, and the national totals."""
        line = f"{title}  " + "  ".join(f"{name} {totals.get(name, 0):,}" for name in STAGES) + f"  {pace}"
        if not self.live:
            leaders = " ".join(f"{row['rank']}.{name_of(row['province'])}" for row in rows[:3] if row["rank"])
            self.console.print(f"{line}  {leaders}", highlight=False, soft_wrap=True)
            return
        table = Table(title=line, title_justify="left", box=None, padding=(0, 1))
        for head, justify in (
            ("", "right"),
            ("province", "left"),
            ("registered to connected", "left"),
            ("index", "right"),
        ):
            table.add_column(head, justify=justify)  # type: ignore[arg-type]
        for row in rows:
            table.add_row(str(row["rank"] or "–"), name_of(row["province"]), bar(row["counts"]), row["index"] or "–")
        self.live.update(table, refresh=True)


def bar(counts: Mapping[str, int]) -> str:
    """Return how far a province's registered applicants have come, as shares of a bar."""
    registered = counts.get("registered", 0)
    if not registered:
        return ""
    widths = [min(BAR, round(BAR * counts.get(stage, 0) / registered)) for stage in STAGES]
    return "".join(SHADES[max(0, sum(n > at for n in widths) - 1)] for at in range(BAR))


def name_of(code: str) -> str:
    """Return a province's English name: terminals render mixed directions badly."""
    return provinces()[code].name_en
