"""Progress bars of long work; nothing is shown where standard error is no terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ReportProgress = Callable[[str, int, int], None]  # name of the work, how many more are done, out of how many


@contextmanager
def progress_bars(hidden: bool = False) -> Iterator[ReportProgress]:
    """Yield a function that reports progress and shows one bar per name."""
    if hidden or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True)) as shown:
        tasks = {}

        def report(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=max(total, 1))
            shown.update(tasks[name], advance=done, total=max(total, 1))

        yield report
