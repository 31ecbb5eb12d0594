"""`peyvand round` opens a round; `peyvand quota` proposes quotas from a file, signs a proposal, and shows the seats."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import typer

from peyvand.commands.output import GROUP, Csv, Json, Round, Url, number_of, print_result, signed_in_client, spinner
from peyvand.endpoints import CommandError

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient, ApiError

REFUSED_FILE = "nothing was stored: correct these rows and give the file again"


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="The seats of each province in a round.", **GROUP)
    group.command("import")(import_command)
    group.command("sign")(sign_command)
    group.command("show")(show_command)
    app.add_typer(group, name="quota")
    group = typer.Typer(help="The rounds of the programme.", **GROUP)
    group.command("open")(open_command)
    group.command("list")(list_command)
    app.add_typer(group, name="round")


def open_command(
    round_id: Annotated[str, typer.Argument(help="The round, such as 1404.")],
    opens: Annotated[str, typer.Option(help="First moment, with its zone: 2025-09-27T08:00+03:30.")],
    closes: Annotated[str, typer.Option(help="Last moment, likewise.")],
    fields: Annotated[str, typer.Option(help="Job fields, such as JF001,JF002; all if not given.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Open a round in every province, or amend one: its window and job fields become exactly these."""
    from peyvand.api_client import ApiError
    from programme.reference import job_fields

    client = signed_in_client(url, "ministry_admin")
    chosen = [each.strip() for each in fields.split(",") if each.strip()] or sorted(job_fields())
    terms = {"fields": chosen, "opens": opens, "closes": closes}
    try:
        result = client.put(f"/registration/v1/rounds/{quote(round_id, safe='')}", terms, key=uuid4().hex)
    except ApiError as e:
        raise with_refused_rows(e, "nothing was stored: correct these values") from e
    print_result(
        result, as_json, lambda opened: f"{_round(opened)}\nnext: `peyvand quota import FILE --round {round_id}`"
    )


def list_command(as_json: Json = False, url: Url = "") -> None:
    """List the rounds with their windows."""
    rounds = signed_in_client(url, "ministry_admin").get("/registration/v1/rounds")["items"]
    print_result(rounds, as_json, lambda found: "\n".join(map(_round, found)) or "there is no round")


def import_command(file: Csv, round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Propose quotas from `province,name_fa,quota`; a row whose code and name disagree refuses the whole file."""
    with spinner(f"sending {file.name}", as_json):
        result = import_quotas(signed_in_client(url, "ministry_admin"), file, round_id)
    print_result(
        result,
        as_json,
        lambda made: (
            f"proposed for {len(made['changes'])} provinces, control number {made['control']}; nothing has "
            f"changed yet\nnext: a second person runs "
            f"`peyvand quota sign {made['id']} {made['control']} --round {made['round']}`"
        ),
    )


def sign_command(
    proposal: Annotated[str, typer.Argument(help="Id of the proposal.")],
    control: Annotated[str, typer.Argument(help="Its control number, such as 841-207-336.")],
    round_id: Round,
    person: Annotated[str, typer.Option("--as", help="Development only: who signs.")] = "ministry_admin-second",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Sign a proposal that someone else has made; its quotas change at once, all or none."""
    client = signed_in_client(url, "ministry_admin", sub=person)
    result = sign(client, round_id, proposal, control)
    print_result(
        result, as_json, lambda done: f"signed: {number_of(len(done['changes']), 'quota')} of {done['round']} changed"
    )


def show_command(round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Show quota = available + held + admitted, and the waiting, by province."""
    from peyvand.terminal.rendering import quota_table

    print_result(quotas(signed_in_client(url, "ministry_admin"), round_id), as_json, quota_table)


def import_quotas(client: "ApiClient", file: Path, round_id: str) -> Any:
    """Propose the quotas in this file; return the proposal. Raise CommandError with the refused rows.

    Each call has a new idempotency key: a file may be given again after another one has changed its quotas.
    """
    from peyvand.api_client import ApiError

    path = f"/registration/v1/rounds/{round_id}/quotas/import"
    try:
        return client.post(path, read_file(file), "text/csv", key=uuid4().hex).json()
    except ApiError as e:
        raise with_refused_rows(e) from e


def sign(client: "ApiClient", round_id: str, proposal: str, control: str) -> Any:
    """Sign a proposal; return it. Raise CommandError."""
    path = f"/registration/v1/rounds/{quote(round_id, safe='')}/proposals/{quote(proposal, safe='')}/signature"
    body = msgspec.json.encode({"control": control})
    return client.post(path, body, "application/json", key=uuid4().hex).json()


def quotas(client: "ApiClient", round_id: str) -> list[dict[str, Any]]:
    """Return quota, available, held, admitted and waiting of each province. Raise CommandError."""
    return list(client.get(f"/registration/v1/rounds/{round_id}/quotas")["items"])


def read_file(file: Path) -> bytes:
    """Return the file's bytes. Raise CommandError."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise CommandError(f"{file} cannot be read: {e.strerror}", "give the path of a CSV file") from e


def with_refused_rows(error: "ApiError", hint: str = REFUSED_FILE) -> CommandError:
    """Return the error with each row or field that its problem names on a line of its own."""
    rows = error.problem.get("errors") or error.problem.get("refused") or ()
    lines = [_row(each) for each in rows if isinstance(each, dict)]
    if not lines:
        return error
    return CommandError("\n".join([error.message, *lines]), hint)


def _round(opened: Mapping[str, Any]) -> str:
    fields, apart = len(opened["fields"]), len(opened["windows"])
    provinces = f", {apart} provinces with a window of their own" if apart else ""
    return f"round {opened['id']}: {opened['opens']} to {opened['closes']}, {fields} job fields{provinces}"


def _row(row: dict[str, Any]) -> str:
    position = f"row {row['row']}, " if "row" in row else ""
    return f"  {position}{row.get('field') or '-'}: {row.get('detail') or row.get('code')}"
