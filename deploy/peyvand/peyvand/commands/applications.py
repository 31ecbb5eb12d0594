"""`peyvand applications import`: register the rows of a file, or check them with all rules of the platform (--dry-run).

`peyvand tracking-code`: replace a tracking code that an applicant has lost.
`peyvand applications erase`: show whom it concerns (--dry-run), or erase an applicant after a confirmation.
`peyvand applications unidentified` and `identify`: applicants whose identity was lost with a store.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Collection
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import typer

from base.backoff import backoff
from contracts.codes import ERASURE_REASONS, WITHDRAWAL_REASONS
from peyvand.commands.output import (
    GROUP,
    Csv,
    DryRun,
    Json,
    Round,
    Spreadsheet,
    Url,
    print_result,
    signed_in_client,
    spinner,
)
from peyvand.commands.quotas import read_file, with_refused_rows
from peyvand.endpoints import CommandError

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient

COLUMNS = (
    "national_id",
    "birth_date",
    "first_name",
    "last_name",
    "sex",
    "mobile",
    "province",
    "county",
    "field",
    "work_mode",
    "consent",
)
MODES = ("whole", "rows")
XLSX, ZIPPED = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04"
ALIASES = {"consent_version": "consent"}
TIMEOUT = 600.0  # seconds for a whole province's file
ATTEMPTS = 6  # the same file under the same key is never registered twice
BACKOFF, BACKOFF_LIMIT = 1.0, 30.0  # seconds between attempts


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("tracking-code")(reissue_command)
    group = typer.Typer(help="Applicants, one by one or from a file.", **GROUP)
    group.command("import")(import_command)
    group.command("withdraw")(withdraw_command)
    group.command("erase")(erase_command)
    group.command("unidentified")(unidentified_command)
    group.command("identify")(identify_command)
    app.add_typer(group, name="applications")


def import_command(
    file: Spreadsheet,
    round_id: Round,
    mode: Annotated[str, typer.Option(help="whole: any refused row refuses the file. rows: only itself.")] = "whole",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and store nothing.")] = False,
    refused: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the refused rows here, each with what to correct.")
    ] = None,
    province: Annotated[str, typer.Option(help="Import as the manager of this province.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Register the applicants of a file, CSV or XLSX, in the order of its rows.

    Giving the file again registers no one twice.
    """
    from peyvand.terminal.rendering import import_lines

    if mode not in MODES:
        raise CommandError(f"there is no mode {mode}", f"one of {', '.join(MODES)}")
    client = signed_in_client(url, "manager" if province else "ministry_admin", province=province)
    with spinner(f"{'checking' if dry_run else 'registering'} the rows of {file.name}", as_json) as show:
        if refused:
            refused.write_bytes(refused_rows(client, file, round_id))
            show(f"the refused rows are in {refused}")
        result = send_file(client, file, round_id, show, mode=mode, dry_run=dry_run)
    print_result(result, as_json, import_lines)
    return 1 if result.get("refused") or result.get("already_registered") else 0


def reissue_command(
    round_id: Round,
    province: Annotated[str, typer.Option(help="The province of the desk, such as IR-20.")],
    national_id: Annotated[
        str, typer.Option(prompt="National ID, from the card", help="Asked for if not given: a shell keeps what is.")
    ],
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Issue another tracking code to an applicant at the desk who has lost theirs; the former one ends at once."""
    client = signed_in_client(url, "registrar", province=province)
    path = f"/registration/v1/rounds/{round_id}/tracking-codes"
    body = msgspec.json.encode({"national_id": national_id})
    result = client.post(path, body, "application/json", key=uuid4().hex).json()
    print_result(
        result, as_json, lambda new: f"the new tracking code of applicant {new['id']} is {new['tracking_code']}"
    )


def withdraw_command(
    applicant: Annotated[str, typer.Argument(help="The id of the applicant, as `peyvand tracking-code` prints it.")],
    reason: Annotated[str, typer.Option(help=f"{', '.join(WITHDRAWAL_REASONS)}.")],
    province: Annotated[str, typer.Option(help="The province of the desk, such as IR-20.")],
    form: Annotated[str, typer.Option(help="The number of the form that the applicant signed, such as 20-1404-173.")],
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Withdraw an applicant at their own request, at the desk; they may register again while the round takes them."""
    _check_reason(reason, WITHDRAWAL_REASONS)
    client = signed_in_client(url, "registrar", province=province)
    path = f"/registration/v1/applications/{quote(applicant, safe='')}/withdrawal"
    result = client.post(
        path, json.dumps({"reason": reason, "form_number": form}).encode(), "application/json", key=uuid4().hex
    ).json()
    print_result(result, as_json, lambda _: f"applicant {applicant} has withdrawn")


def _check_reason(reason: str, known: Collection[str]) -> None:
    """Raise CommandError for a reason that the list does not have."""
    if reason not in known:
        raise CommandError(f"there is no reason {reason}", f"one of {', '.join(known)}")


def erase_command(
    applicant: Annotated[str, typer.Argument(help="The id of the applicant.")],
    reason: Annotated[str, typer.Option(help="request, retention or court.")],
    form: Annotated[str, typer.Option(help="The number of the form that the applicant signed; for a request.")] = "",
    province: Annotated[str, typer.Option(help="Erase as the manager of this province.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for a confirmation.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Erase an applicant for good: the seat is released, the key destroyed, and the person cannot register again."""
    _check_reason(reason, ERASURE_REASONS)
    if reason == "request" and not form and not dry_run:
        raise CommandError("the number of the signed form is missing", "give it as --form 20-1404-173")
    client = signed_in_client(url, "manager" if province else "ministry_admin", province=province)
    result = _erase(client, applicant, reason, form, dry_run=True)
    if not dry_run:
        if not yes and result["status"] != "erased":
            _confirm(result)
        result = _erase(client, applicant, reason, form, dry_run=False)
    print_result(result, as_json, _erasure_line)


def unidentified_command(
    round_id: Round,
    province: Annotated[str, typer.Option(help="Only those of this province.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """List the applicants whom only the log had after a restore; they get no seat until they are identified again."""
    client = signed_in_client(url, "manager" if province else "ministry_admin", province=province)
    found = client.get(f"/registration/v1/rounds/{round_id}/applications?unidentified=true")["items"]
    print_result(
        found, as_json, lambda rows: "\n".join(map(_unidentified_line, rows)) or "every applicant is identified"
    )


def identify_command(
    applicant: Annotated[str, typer.Argument(help="The id of the applicant.")],
    file: Csv,
    province: Annotated[str, typer.Option(help="The province of the desk, such as IR-20.")],
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Identify an applicant at the desk again; the file is one for an import, with the one row of their application."""
    from base.spreadsheet import rows_of

    try:
        header, *rows = [cells for _, cells in rows_of(read_file(file))]
    except (UnicodeDecodeError, csv.Error, ValueError) as e:
        raise CommandError(f"{file} is no table: {e}", "save it as CSV UTF-8, fields separated by commas") from e
    names = [ALIASES.get(name, name) for name in header]
    if sorted(names) != sorted(COLUMNS) or len(rows) != 1:
        raise CommandError(f"{file} is not one row", f"the header is {','.join(COLUMNS)}; give one row below it")
    answers: dict[str, Any] = dict(zip(names, [*rows[0], *[""] * len(names)], strict=False))
    answers["consent"] = {"version": answers["consent"], "given": True}
    client = signed_in_client(url, "registrar", province=province)
    path = f"/registration/v1/applications/{quote(applicant, safe='')}/identity"
    result = client.post(path, json.dumps(answers).encode(), "application/json").json()
    print_result(result, as_json, lambda found: f"{found['id']} is identified; status {found['status']}")


def _unidentified_line(found: dict[str, Any]) -> str:
    where = f"{found['province']}/{found['county']}"
    return f"{found['id']}  {where}  {found['field']}  {found['registered_at']}  {found['status']}"


def _erase(client: "ApiClient", applicant: str, reason: str, form: str, *, dry_run: bool) -> dict[str, Any]:
    body = json.dumps({"reason": reason, "form_number": form, "dry_run": dry_run}).encode()
    path = f"/registration/v1/applications/{quote(applicant, safe='')}/erasure"
    result: dict[str, Any] = client.post(path, body, "application/json").json()
    return result


def _confirm(found: dict[str, Any]) -> None:
    """Ask for the end of the id. Raise CommandError if anything else is given."""
    end = found["id"][-6:]
    text = f"{_erasure_line(found)}\nThis cannot be undone. Type {end}, the end of the id, to erase"
    if typer.prompt(text, default="", show_default=False, err=True) != end:
        raise CommandError("nothing was erased", "type the end of the id, or give --yes")


def _erasure_line(found: dict[str, Any]) -> str:
    where = f"{found['id']} (round {found['round']}, {found['province']})"
    if found["dry_run"]:
        return f"{where}: would be erased; now {found['status']}"
    return f"{where}: erased at {found['erased_at']}; the key is destroyed within seconds, else an alert fires"


def send_file(
    client: "ApiClient",
    file: Path,
    round_id: str,
    show: Callable[[str], None] = lambda _: None,
    *,
    mode: str = "whole",
    dry_run: bool = False,
) -> Any:
    """Register or check the file's rows, repeating the request if its response is lost; return the response.

    Raise CommandError with the refused rows.
    """
    from peyvand.api_client import OUTCOME_UNKNOWN, ApiError

    content = read_file(file)
    key = hashlib.sha256(f"{round_id}\0".encode() + content).hexdigest()  # the same file is the same request
    path = f"/registration/v1/rounds/{round_id}/applications/import"
    query = {"mode": mode, "dry_run": str(dry_run).lower()}
    for attempt in range(ATTEMPTS):
        try:
            return client.post(path, content, _media_type(content), key=key, timeout=TIMEOUT, **query).json()
        except ApiError as e:
            if e.status not in {*OUTCOME_UNKNOWN, 503} or attempt == ATTEMPTS - 1:
                raise with_refused_rows(e) from e
            show(f"{e.message}; trying again ({attempt + 1} of {ATTEMPTS - 1})")
            sleep(backoff(attempt, BACKOFF, BACKOFF_LIMIT))
    raise AssertionError("the last attempt returns or raises")


def refused_rows(client: "ApiClient", file: Path, round_id: str) -> bytes:
    """Return the refused rows of a file, in its format, each with what to correct. Raise CommandError."""
    content = read_file(file)
    path = f"/registration/v1/rounds/{round_id}/applications/import/refused"
    return client.post(path, content, _media_type(content), timeout=TIMEOUT).body


def _media_type(content: bytes) -> str:
    return XLSX if content.startswith(ZIPPED) else "text/csv"
