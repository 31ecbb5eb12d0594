"""Options and output that the verbs share: JSON or tables on standard output, a spinner on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient

Json = Annotated[bool, typer.Option("--json", help="One JSON document (of a tail: one a line) instead of text.")]
Url = Annotated[str, typer.Option("--url", help="The platform's public address, if not the one of this clone.")]
Round = Annotated[str, typer.Option("--round", help="The round, such as 1404.")]
Csv = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file, UTF-8.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")]

GROUP: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False}
WIDTH = 160  # characters of a line if no terminal has a width


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

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for each in rendered:
        console.print(each)


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
