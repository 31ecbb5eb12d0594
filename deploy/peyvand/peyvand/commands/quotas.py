"""`peyvand quota`: a round's quotas from a file (`province,name_fa,quota`, all rows or none), and as a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import typer

from peyvand.commands.output import GROUP, Csv, Json, Round, Url, print_result, signed_in_client, spinner
from peyvand.endpoints import CommandError

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient, ApiError


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="The seats of each province in a round.", **GROUP)
    group.command("import")(import_command)
    group.command("show")(show_command)
    app.add_typer(group, name="quota")


def import_command(file: Csv, round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Set quotas from `province,name_fa,quota`; a row whose code and name disagree refuses the whole file."""
    with spinner(f"sending {file.name}", as_json):
        result = import_quotas(signed_in_client(url, "ministry_admin"), file, round_id)
    print_result(result, as_json, lambda counts: f"the quotas of round {round_id} are set: {_summary(counts)}")


def show_command(round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Show quota = available + held + admitted, and the waiting, by province."""
    from peyvand.terminal.rendering import quota_table

    print_result(quotas(signed_in_client(url, "ministry_admin"), round_id), as_json, quota_table)


def import_quotas(client: "ApiClient", file: Path, round_id: str) -> Any:
    """Set the quotas in this file; return the response. Raise CommandError with the refused rows.

    Each call has a new idempotency key: a file may be given again after another one has changed its quotas.
    """
    from peyvand.api_client import ApiError

    path = f"/registration/v1/rounds/{round_id}/quotas/import"
    try:
        return client.post(path, read_file(file), "text/csv", key=uuid4().hex).json()
    except ApiError as e:
        raise with_refused_rows(e) from e


def quotas(client: "ApiClient", round_id: str) -> list[dict[str, Any]]:
    """Return quota, available, held, admitted and waiting of each province. Raise CommandError."""
    return list(client.get(f"/registration/v1/rounds/{round_id}/quotas")["items"])


def read_file(file: Path) -> bytes:
    """Return the file's bytes. Raise CommandError."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise CommandError(f"{file} cannot be read: {e.strerror}", "give the path of a CSV file") from e


def with_refused_rows(error: "ApiError") -> CommandError:
    """Return the error with each row that its problem names on a line of its own."""
    rows = error.problem.get("errors") or error.problem.get("refused") or ()
    lines = [_row(each) for each in rows if isinstance(each, dict)]
    if not lines:
        return error
    return CommandError(
        "\n".join([error.message, *lines]), "nothing was stored: correct these rows and give the file again"
    )


def _row(row: dict[str, Any]) -> str:
    position = f"row {row['row']}, " if "row" in row else ""
    return f"  {position}{row.get('field') or '-'}: {row.get('detail') or row.get('code')}"


def _summary(counts: Any) -> str:
    if not isinstance(counts, Mapping):
        return "done"
    return ", ".join(
        f"{len(value) if isinstance(value, list) else value} {name.replace('_', ' ')}"
        for name, value in counts.items()
        if isinstance(value, int | list)
    )
