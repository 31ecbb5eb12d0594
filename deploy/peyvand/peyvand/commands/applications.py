"""Applications from a file: checked row by row here for a rehearsal, or sent to be registered, all rows or none."""

import csv
import hashlib
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import sleep
from typing import Any

import msgspec

from contracts import codes
from contracts.commands import Refused
from peyvand.api_client import UNKNOWN, Client, Refusal
from peyvand.commands.quotas import contents, rows_refused
from peyvand.endpoints import Trouble
from programme import calendar, messages, numbers, policies, reference

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
ALSO = {"consent_version": "consent"}
PATIENCE = 600.0  # seconds for a whole province's file
ATTEMPTS = 5  # the same file under the same key is never registered twice


class RowFault(msgspec.Struct, frozen=True):
    """What is wrong with one row; the value itself is not repeated, it may be somebody's."""

    row: int  # as a spreadsheet counts: the header is row 1
    field: str
    code: str
    detail: str
    detail_fa: str


class Rehearsal(msgspec.Struct, frozen=True):
    """What a check of the file alone can tell; who is registered already only the country knows."""

    rows: int
    faults: tuple[RowFault, ...]


def rehearse(content: bytes, today: date) -> Rehearsal:
    """Checks every row as of this day, and sends nothing. Raises Trouble where it is no such table."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = reader.fieldnames or ()
        reader.fieldnames = header = [ALSO.get(name.strip(), name.strip()) for name in header]
        if sorted(header) != sorted(COLUMNS):
            odd = sorted(set(COLUMNS).symmetric_difference(header)) or ["a column that stands twice"]
            raise Trouble(f"missing or too many: {', '.join(odd)}", f"the header is {','.join(COLUMNS)}")
        rows, faults, seen = 0, list[RowFault](), dict[str, int]()
        for n, row in enumerate(reader, start=2):
            rows += 1
            faults += _faults(n, row, seen, today)
    except UnicodeDecodeError as e:
        raise Trouble("the file is not UTF-8", "save it as CSV UTF-8") from e
    except csv.Error as e:
        raise Trouble(f"the file is no CSV: {e}", "save it as CSV UTF-8, fields parted by commas") from e
    return Rehearsal(rows, tuple(faults))


def register(client: Client, file: Path, round_id: str, waiting: Callable[[str], None] = lambda _: None) -> Any:
    """Registers the file's rows, again where the answer was lost; what the country says of them. Raises Trouble."""
    content = contents(file)
    key = hashlib.sha256(f"{round_id}\0".encode() + content).hexdigest()  # the same file is the same request
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return client.post(
                f"/registration/v1/rounds/{round_id}/applications/import",
                content,
                "text/csv",
                key=key,
                patience=PATIENCE,
            ).json()
        except Refusal as e:
            if e.status not in {*UNKNOWN, 503} or attempt == ATTEMPTS:
                raise rows_refused(e) from e
            waiting(f"{e.what}; trying again ({attempt} of {ATTEMPTS - 1})")
            sleep(2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _faults(n: int, row: dict[str, Any], seen: dict[str, int], today: date) -> list[RowFault]:
    found = []
    for name in COLUMNS:
        try:
            said = str(row.get(name) or "").strip()
            if not said:
                raise Refused("consent_missing" if name == "consent" else "missing_field", field=name)
            meaning = _meaning(name, said, row, today)
            if name == "national_id" and seen.setdefault(str(meaning), n) != n:
                raise Refused("named_twice", field=name, row=seen[str(meaning)])
        except Refused as e:
            said_fa, said_en = (messages.message_text(e.code, lang, **e.details) for lang in ("fa", "en"))
            found.append(RowFault(n, e.field or name, e.code, said_en, said_fa))
    return found


def _meaning(name: str, said: str, row: dict[str, Any], today: date) -> object:
    match name:
        case "national_id":
            return numbers.national_id(said)
        case "mobile":
            return numbers.mobile(said)
        case "birth_date":
            if (born := calendar.parse_date(said, name)) > today:
                raise Refused("birth_date_future", field=name)
            if calendar.age_on(born, today) < (least := policies.policy(policies.CURRENT).minimum_age):
                raise Refused("underage", field=name, minimum=least)
            return born
        case "province":
            return reference.province(said)
        case "county":
            return reference.county_in(said, str(row.get("province") or "").strip())
        case "field":
            return reference.job_field(said)
        case "sex" if said not in codes.SEXES:
            raise Refused("code_unknown", field=name)
        case "work_mode" if said not in codes.WORK_MODES:
            raise Refused("code_unknown", field=name)
    return said
