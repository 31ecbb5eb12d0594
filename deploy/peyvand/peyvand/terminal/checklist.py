"""What a person sees while the country starts and runs: ticks and seconds on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Checklist:
    """Lines that stay, and below them, on a terminal, what is being waited for."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.waiting: dict[str, float] = {}
        self.status: Status | None = None

    def tick(self, what: str, seconds: float | None = None, note: str = "") -> None:
        """Something is done."""
        self._line("✓", "green", what, f"{seconds:5.1f} s" if seconds is not None else "", note)

    def cross(self, what: str, note: str = "") -> None:
        """Something failed."""
        self._line("✗", "red", what, "", note)

    def note(self, what: str) -> None:
        """Something happened that somebody may want to know."""
        self._line("·", "yellow", what, "", "")

    def plain(self, text: str = "") -> None:
        """A line as it is."""
        self.console.print(Text(text))

    @contextmanager
    def step(self, what: str, note: str = "") -> Iterator[None]:
        """A tick and the seconds when it is done."""
        self.waiting[what] = began = time.monotonic()
        self._show()
        try:
            yield
            self.tick(what, time.monotonic() - began, note)
        finally:
            del self.waiting[what]
            self._show()

    def _line(self, sign: str, style: str, what: str, seconds: str, note: str) -> None:
        line = Text.assemble("  ", (sign, style), f" {what:<24}", (f"{seconds:>8}", "dim"), "  ", (note, "dim"))
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
