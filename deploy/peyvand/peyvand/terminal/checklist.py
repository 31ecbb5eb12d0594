"""Progress of starting and running the platform: ticks and seconds on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Checklist:
    """Lines that stay, and below them, on a terminal, the steps under way."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.waiting: dict[str, float] = {}
        self.status: Status | None = None

    def tick(self, step: str, seconds: float | None = None, note: str = "") -> None:
        """Print a step that is done."""
        self._line("✓", "green", step, f"{seconds:5.1f} s" if seconds is not None else "", note)

    def cross(self, step: str, note: str = "") -> None:
        """Print a step that failed."""
        self._line("✗", "red", step, "", note)

    def note(self, text: str) -> None:
        """Print a remark."""
        self._line("·", "yellow", text, "", "")

    def plain(self, text: str = "") -> None:
        """Print a line as it is."""
        self.console.print(Text(text))

    @contextmanager
    def step(self, name: str, note: str = "") -> Iterator[None]:
        """Show a step while it is under way, then tick it with its duration."""
        self.waiting[name] = began = time.monotonic()
        self._show()
        try:
            yield
            self.tick(name, time.monotonic() - began, note)
        finally:
            del self.waiting[name]
            self._show()

    def _line(self, sign: str, style: str, step: str, seconds: str, note: str) -> None:
        line = Text.assemble("  ", (sign, style), f" {step:<24}", (f"{seconds:>8}", "dim"), "  ", (note, "dim"))
        line.rstrip()
        self.console.print(line)

    def _show(self) -> None:
        if not self.console.is_terminal:
            return
        if self.waiting and self.status is None:
            self.status = self.console.status("")
            self.status.start()
        if self.status is None:
            return
        if self.waiting:
            self.status.update(Text("waiting for " + ", ".join(self.waiting), style="dim"))
        else:
            self.status.stop()
            self.status = None
