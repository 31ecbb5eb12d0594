"""Options and output that the verbs share: JSON or tables on standard output, a spinner on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from peyvand.api_client import ApiClient

Json = Annotated[bool, typer.Option("--json", help="One JSON document (of a tail: one a line) instead of text.")]
Url = Annotated[str, typer.Option("--url", help="The platform's public address, if not the one of this clone.")]
Round = Annotated[str, typer.Option("--round", help="The round, such as 1404.")]
Csv = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file, UTF-8.")]
Spreadsheet = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file, UTF-8, or an XLSX workbook.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")]

GROUP: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False}
UNLIMITED = 10_000  # characters of a line outside a terminal: one row of a table is one line there
WRAPPED, GAP = 24, 2  # characters of the narrowest column that wraps, and between two columns


def print_result(value: Any, as_json: bool, render: Callable[[Any], Any]) -> None:
    """Print a value as JSON, or as the text or tables that `render` makes of it."""
    if as_json:
        print(to_json(value))
        return
    rendered = render(value)
    if isinstance(rendered, str):
        print(rendered)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)
    width = console.width
    for each in rendered:
        console.width = max(width, _narrowest(each, console)) if isinstance(each, Table) else width
        console.print(each, crop=False)  # a row that is too long continues on the terminal's next line


def _narrowest(table: "Table", console: "Console") -> int:
    """Return the width at which only columns that wrap are narrower than their cells: ids must stay whole."""
    unlimited = console.options.update(width=UNLIMITED)
    widths = [
        max(console.measure(cell, options=unlimited).maximum for cell in (column.header, *column.cells))
        if column.no_wrap
        else WRAPPED
        for column in table.columns
    ]
    return sum(widths) + GAP * len(widths)


def number_of(n: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `2,000 events`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def to_json(value: Any) -> str:
    """Return a value as one line of JSON."""
    import msgspec

    return msgspec.json.encode(value).decode()


@contextmanager
def spinner(text: str, hidden: bool) -> Iterator[Callable[[str], None]]:
    """Show a spinner during long work; yield a function that changes its text."""
    if hidden or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text)
        yield lambda changed: progress.update(task, description=changed)


def signed_in_client(url: str, *roles: str, province: str = "", sub: str = "") -> "ApiClient":
    """Return a client of the public API that is signed in with these roles. Raise CommandError."""
    from peyvand.api_client import ApiClient, sign_in
    from peyvand.endpoints import find_endpoints

    public_url = find_endpoints(url).public_url
    return ApiClient(public_url, sign_in(public_url, *roles, province=province, sub=sub))
