"""`peyvand import applications`: check a file row by row (--dry-run), or register all its rows or none.

`peyvand tracking-code`: replace a tracking code that an applicant has lost.
`peyvand applications erase`: show whom it concerns (--dry-run), or erase an applicant after a confirmation.
`peyvand applications unidentified` and `identify`: applicants whose identity was lost with a store.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Collection
from datetime import date
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import typer

from base.backoff import backoff
from contracts.codes import ERASURE_REASONS, WITHDRAWAL_REASONS
from peyvand.commands.output import GROUP, Csv, DryRun, Json, Round, Url, print_result, signed_in_client, spinner
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
ALIASES = {"consent_version": "consent"}
TIMEOUT = 600.0  # seconds for a whole province's file
ATTEMPTS = 6  # the same file under the same key is never registered twice
BACKOFF, BACKOFF_LIMIT = 1.0, 30.0  # seconds between attempts


class RowFault(msgspec.Struct, frozen=True):
    """A fault of one row. The value is left out: it may be personal data."""

    row: int  # as in a spreadsheet: the header is row 1
    field: str
    code: str
    detail: str
    detail_fa: str


class FileCheck(msgspec.Struct, frozen=True):
    """The result of checking a file alone; only the platform knows who is registered already."""

    rows: int
    faults: tuple[RowFault, ...]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="Import files, all rows or none.", **GROUP)
    group.command("applications")(import_command)
    app.add_typer(group, name="import")
    app.command("tracking-code")(reissue_command)
    group = typer.Typer(help="Applicants, one by one.", **GROUP)
    group.command("withdraw")(withdraw_command)
    group.command("erase")(erase_command)
    group.command("unidentified")(unidentified_command)
    group.command("identify")(identify_command)
    app.add_typer(group, name="applications")


def import_command(
    file: Csv,
    round_id: Round,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rows here and send nothing.")] = False,
    province: Annotated[str, typer.Option(help="Import as the manager of this province.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Register the applicants of a file: every row valid, else none. Giving the file again registers no one twice."""
    from peyvand.terminal.rendering import file_check_lines, import_lines

    if dry_run:
        checked = check_file(read_file(file), _today())
        print_result(checked, as_json, file_check_lines)
        return 1 if checked.faults else 0
    client = signed_in_client(url, "manager" if province else "ministry_admin", province=province)
    with spinner(f"registering the rows of {file.name}", as_json) as show:
        result = register_file(client, file, round_id, show)
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
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Withdraw an applicant at their own request, at the desk; they may register again while the round takes them."""
    _check_reason(reason, WITHDRAWAL_REASONS)
    client = signed_in_client(url, "registrar", province=province)
    path = f"/registration/v1/applications/{quote(applicant, safe='')}/withdrawal"
    result = client.post(path, json.dumps({"reason": reason}).encode(), "application/json", key=uuid4().hex).json()
    print_result(result, as_json, lambda _: f"applicant {applicant} has withdrawn")


def _check_reason(reason: str, known: Collection[str]) -> None:
    """Raise CommandError for a reason that the list does not have."""
    if reason not in known:
        raise CommandError(f"there is no reason {reason}", f"one of {', '.join(known)}")


def erase_command(
    applicant: Annotated[str, typer.Argument(help="The id of the applicant.")],
    reason: Annotated[str, typer.Option(help="request, retention or court.")],
    province: Annotated[str, typer.Option(help="Erase as the manager of this province.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for a confirmation.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Erase an applicant for good: the seat is released, the key destroyed, and the person cannot register again."""
    _check_reason(reason, ERASURE_REASONS)
    client = signed_in_client(url, "manager" if province else "ministry_admin", province=province)
    result = _erase(client, applicant, reason, dry_run=True)
    if not dry_run:
        if not yes and result["status"] != "erased":
            _confirm(result)
        result = _erase(client, applicant, reason, dry_run=False)
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

    content = read_file(file)
    checked, (header, *rows) = check_file(content, _today()), [cells for _, cells in rows_of(content)]
    if checked.faults or len(rows) != 1:
        raise CommandError(
            f"{file} is not one valid row", "`peyvand import applications --dry-run` shows what is wrong"
        )
    answers: dict[str, Any] = dict(zip([ALIASES.get(name, name) for name in header], rows[0], strict=False))
    answers["consent"] = {"version": answers["consent"], "given": True}
    client = signed_in_client(url, "registrar", province=province)
    path = f"/registration/v1/applications/{quote(applicant, safe='')}/identity"
    result = client.post(path, json.dumps(answers).encode(), "application/json").json()
    print_result(result, as_json, lambda found: f"{found['id']} is identified; status {found['status']}")


def _unidentified_line(found: dict[str, Any]) -> str:
    where = f"{found['province']}/{found['county']}"
    return f"{found['id']}  {where}  {found['field']}  {found['registered_at']}  {found['status']}"


def _erase(client: "ApiClient", applicant: str, reason: str, *, dry_run: bool) -> dict[str, Any]:
    body = json.dumps({"reason": reason, "dry_run": dry_run}).encode()
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


def check_file(content: bytes, today: date) -> FileCheck:
    """Check every row as of this day; send nothing. Raise CommandError if the file is no such table."""
    from base.spreadsheet import rows_of

    try:
        lines = rows_of(content)
        header = [ALIASES.get(name, name) for name in next(lines, (1, list[str]()))[1]]
        if sorted(header) != sorted(COLUMNS):
            wrong = sorted(set(COLUMNS).symmetric_difference(header)) or ["a column that occurs twice"]
            raise CommandError(
                f"missing or unexpected columns: {', '.join(wrong)}", f"the header is {','.join(COLUMNS)}"
            )
        rows, faults, seen = 0, list[RowFault](), dict[str, int]()
        for number, cells in lines:
            rows += 1
            faults += _faults(number, dict(zip(header, cells, strict=False)), seen, today)
    except UnicodeDecodeError as e:
        raise CommandError("the file is not UTF-8", "save it as CSV UTF-8") from e
    except csv.Error as e:
        raise CommandError(f"the file is no CSV: {e}", "save it as CSV UTF-8, fields separated by commas") from e
    return FileCheck(rows, tuple(faults))


def register_file(client: "ApiClient", file: Path, round_id: str, show: Callable[[str], None] = lambda _: None) -> Any:
    """Register the file's rows, repeating the request if its response is lost; return the response.

    Raise CommandError with the refused rows.
    """
    from peyvand.api_client import OUTCOME_UNKNOWN, ApiError

    content = read_file(file)
    key = hashlib.sha256(f"{round_id}\0".encode() + content).hexdigest()  # the same file is the same request
    path = f"/registration/v1/rounds/{round_id}/applications/import"
    for attempt in range(ATTEMPTS):
        try:
            return client.post(path, content, "text/csv", key=key, timeout=TIMEOUT).json()
        except ApiError as e:
            if e.status not in {*OUTCOME_UNKNOWN, 503} or attempt == ATTEMPTS - 1:
                raise with_refused_rows(e) from e
            show(f"{e.message}; trying again ({attempt + 1} of {ATTEMPTS - 1})")
            sleep(backoff(attempt, BACKOFF, BACKOFF_LIMIT))
    raise AssertionError("the last attempt returns or raises")


def _faults(number: int, row: dict[str, str], seen: dict[str, int], today: date) -> list[RowFault]:
    from contracts.commands import Refused
    from programme import messages

    faults = []
    for name in COLUMNS:
        try:
            text = row.get(name, "").strip()
            if not text:
                raise Refused("consent_missing" if name == "consent" else "missing_field", field=name)
            value = _parse(name, text, row, today)
            if name == "national_id" and seen.setdefault(str(value), number) != number:
                raise Refused("named_twice", field=name, row=seen[str(value)])
        except Refused as e:
            detail_fa, detail = (messages.message_text(e.code, lang, **e.details) for lang in ("fa", "en"))
            faults.append(RowFault(number, e.field or name, e.code, detail, detail_fa))
    return faults


def _parse(name: str, text: str, row: dict[str, Any], today: date) -> object:
    from contracts import codes
    from contracts.commands import Refused
    from programme import calendar, numbers, policies, reference

    match name:
        case "national_id":
            return numbers.national_id(text)
        case "mobile":
            return numbers.mobile(text)
        case "birth_date":
            if (born := calendar.parse_date(text, name)) > today:
                raise Refused("birth_date_future", field=name)
            if calendar.age_on(born, today) < (least := policies.policy(policies.CURRENT).minimum_age):
                raise Refused("underage", field=name, minimum=least)
            return born
        case "province":
            return reference.province(text)
        case "county":
            return reference.county_in(text, str(row.get("province") or "").strip())
        case "field":
            return reference.job_field(text)
        case "sex" if text not in codes.SEXES:
            raise Refused("code_unknown", field=name)
        case "work_mode" if text not in codes.WORK_MODES:
            raise Refused("code_unknown", field=name)
    return text


def _today() -> date:
    from base.clock import file_clock
    from peyvand.local_cluster.workspace import current_workspace
    from programme.calendar import tehran_day

    return tehran_day(file_clock(current_workspace().clock)().at)
