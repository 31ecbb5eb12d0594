"""`peyvand ranking`: the tables of the public API on the terminal and as files; nothing is computed here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peyvand.commands.output import GROUP, Json, Url, print_result
from peyvand.endpoints import CommandError, find_endpoints

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient

TABLES = ("composite", "1", "2", "3")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="The ranking of the provinces.", **GROUP)
    group.command("show")(show_command)
    group.command("export")(export_command)
    app.add_typer(group, name="ranking")


def show_command(
    table: Annotated[str, typer.Option(help="composite, or a stage: 1, 2, 3.")] = "composite",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Show one of the four tables, with numerators, denominators, as-of and event count."""
    from peyvand.terminal.rendering import ranking_table

    print_result(fetch_table(_client(url), table), as_json, ranking_table)


def export_command(
    to: Annotated[Path, typer.Option(help="The folder for the files.")] = Path("."),
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Write the four tables as CSV files."""
    files = export(_client(url), to)
    print_result([str(each) for each in files], as_json, "\n".join)


def fetch_table(client: "ApiClient", name: str) -> dict[str, Any]:
    """Return one of the four tables. Raise CommandError."""
    if name not in TABLES:
        raise CommandError(f"there is no table {name!r}", f"one of {', '.join(TABLES)}")
    table: dict[str, Any] = client.get("/v1/ranking", table=name)
    return table


def export(client: "ApiClient", folder: Path) -> list[Path]:
    """Write the four tables as CSV, each atomically; return the files. Raise CommandError."""
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            content = client.fetch("/v1/ranking.csv", table=name).body
            path = folder / f"ranking-{name}.csv"
            new = path.with_suffix(".csv.new")
            new.write_bytes(content)
            new.replace(path)
            files.append(path)
    except OSError as e:
        raise CommandError(f"{folder} cannot be written: {e.strerror}", "name another folder with --to") from e
    return files


def _client(url: str) -> "ApiClient":
    from peyvand.api_client import ApiClient

    return ApiClient(find_endpoints(url).public_url)
