"""Files of applicants: checked or registered, as a whole or row by row, and the rows to correct as a file."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from base.ids import shown_code
from base.spreadsheet import csv_of, separator_of
from base.tasks import TimeSlices
from contracts.commands import Refused
from kernel.commands import CommandMetadata, Result, stored_response
from programme.messages import message_text
from registration.api.csv_import import MAX_ERRORS, RowsInvalid, Table, lines_of
from registration.api.dependencies import Guard, Registrations, bounded_intake, check_scope
from registration.api.enumeration_guard import EnumerationGuard
from registration.api.rounds import RoundId
from registration.api.xlsx import XLSX, is_workbook, workbook_of
from registration.domain.application import COLUMNS, FIELD, REASON, Accepted, InvalidApplication
from registration.registrations import RegistrationService, RoundSnapshot, last_registered
from registration.schemas import imports as schemas
from registration.tracking_codes import TrackingCodes
from security.auth import Principal
from web.app import raw
from web.authorization import allow
from web.idempotency import idempotent, metadata_for
from web.rate_limit import limited

CSV = "text/csv"
CHANNEL = "import"  # of intake
IMPORT_FILE = 16 << 20  # bytes
IMPORT_ROWS = 50_000
CHUNK = 100  # rows in one transaction, during which other requests wait
Mode = Literal["whole", "rows"]

router = APIRouter(prefix="/v1", tags=["applications"])


class Checked(msgspec.Struct):
    """A file as far as it can be checked without the people who are registered."""

    rows: int = 0
    accepted: dict[int, Accepted] = {}
    answers: dict[int, bytes] = {}  # of the accepted rows, as JSON, if they are kept
    errors: list[tuple[int, Refused]] = []  # several of one row, if it has them


@router.post(
    "/rounds/{round_id}/applications/import",
    response_model=schemas.Imported,
    max_body_size=IMPORT_FILE,
    dependencies=[limited("import", per_minute=120), bounded_intake()],
)
async def import_applications(
    round_id: RoundId,
    request: Request,
    body: Annotated[bytes, raw(CSV, XLSX)],
    principal: Annotated[Principal, allow("bulk_import")],
    registrations: Registrations,
    guard: Guard,
    metadata: Annotated[CommandMetadata, idempotent(required=True)],
    mode: Annotated[
        Mode, Query(description="`whole`: any refused row refuses the file; `rows`: only itself.")
    ] = "whole",
    dry_run: Annotated[
        bool, Query(description="Check everything as if the file was registered; store nothing.")
    ] = False,
) -> Response:
    """Register the people in a file, CSV or the first sheet of an XLSX, in the order of its rows.

    This order decides about seats among them. Zeros at the start of a number that a spreadsheet has lost are put back.
    Valid rows are stored in chunks, each in one transaction. The same file under the same key continues where it
    stopped, and its answer is that of a file that never stopped. Of people who are already registered only the number
    is reported: in neither mode they are errors. A file with too many of them is stopped: the Retry-After of the 429
    is when to send it again.
    """
    snapshot = await registrations.round_snapshot(round_id)
    checked = await check_file(body, snapshot, principal, registrations, metadata)
    if mode == "whole" and checked.errors:
        return await asyncio.to_thread(RowsInvalid(checked.errors).response, request)
    outcomes: dict[int, Result | Refused] = {}
    attempt = Attempt(request, principal, guard, registrations)
    if dry_run or mode == "whole":
        outcomes = await attempt.rehearse(checked.accepted, metadata, guarded=dry_run)
        refused = refused_of(outcomes)
        if mode == "whole" and refused:
            return await asyncio.to_thread(RowsInvalid(refused).response, request)
    if not dry_run:
        outcomes = await attempt.register(snapshot, checked.accepted, metadata)
    return await asyncio.to_thread(_imported, checked, outcomes, registrations.codes, mode, dry_run)


@router.post(
    "/rounds/{round_id}/applications/import/refused",
    response_class=Response,
    responses={200: {"content": {CSV: {}, XLSX: {}}, "description": "The refused rows, in the format of the file."}},
    max_body_size=IMPORT_FILE,
    dependencies=[limited("import", per_minute=120), bounded_intake()],
)
async def refused_rows(
    round_id: RoundId,
    request: Request,
    body: Annotated[bytes, raw(CSV, XLSX)],
    principal: Annotated[Principal, allow("bulk_import")],
    registrations: Registrations,
    guard: Guard,
) -> Response:
    """Check a file like a dry run and return its refused rows, to be corrected and imported.

    The columns are those of the file, in its order, and a last one with what to do about each; an import ignores that
    one. People who are already registered are left out. Nothing is stored.
    """
    snapshot = await registrations.round_snapshot(round_id)
    metadata = CommandMetadata()
    checked = await check_file(body, snapshot, principal, registrations, metadata)
    attempt = Attempt(request, principal, guard, registrations)
    outcomes = await attempt.rehearse(checked.accepted, metadata, guarded=True)
    errors = sorted([*checked.errors, *refused_of(outcomes)], key=lambda each: each[0])
    media_type, ending = (XLSX, "xlsx") if is_workbook(body) else (CSV, "csv")
    content = await asyncio.to_thread(file_to_correct, body, errors)
    headers = {"Content-Disposition": f'attachment; filename="refused-rows.{ending}"'}
    return Response(content, media_type=media_type, headers=headers)


class Attempt(msgspec.Struct, frozen=True):
    """The import of a file by a principal, in chunks that the enumeration guard counts."""

    request: Request
    principal: Principal
    guard: EnumerationGuard
    registrations: RegistrationService

    async def rehearse(
        self, accepted: Mapping[int, Accepted], metadata: CommandMetadata, *, guarded: bool
    ) -> dict[int, Result | Refused]:
        """Return what would become of each row. Not guarded, nothing of it may disclose who is registered."""
        outcomes: dict[int, Result | Refused] = {}
        for chunk in _chunks(accepted):
            own = {row: metadata_for(str(row), metadata) for row in chunk}
            if guarded:
                async with self.guard.attempt(self.request, self.principal, file=True):
                    done = await self.registrations.rehearse_many(chunk, CHANNEL, own)
                    self._count(chunk, done)
            else:
                done = await self.registrations.rehearse_many(chunk, CHANNEL, own)
            outcomes |= done
        return outcomes

    async def register(
        self, snapshot: RoundSnapshot, accepted: Mapping[int, Accepted], metadata: CommandMetadata
    ) -> dict[int, Result | Refused]:
        """Register the people in the order of the rows."""
        outcomes: dict[int, Result | Refused] = {}
        last: datetime | None = None
        for chunk in _chunks(accepted):
            own = {row: metadata_for(str(row), metadata) for row in chunk}
            async with self.guard.attempt(self.request, self.principal, file=True):
                done = await self.registrations.register_many(snapshot, chunk, CHANNEL, own, last)
                self._count(chunk, done)
                new = (chunk[row] for row, each in done.items() if isinstance(each, Result))
                self.guard.remember(self.request, self.principal, self._indexes(new))
            outcomes |= done
            last = last_registered(done.values(), last)
        return outcomes

    def _count(self, chunk: Mapping[int, Accepted], done: Mapping[int, Result | Refused]) -> None:
        known = (chunk[row] for row, each in done.items() if _is_known(each))
        self.guard.record_file(self.request, self.principal, self._indexes(known))

    def _indexes(self, people: Iterable[Accepted]) -> list[str]:
        return [self.registrations.persons.indexes(each)[0] for each in people]


async def check_file(
    body: bytes,
    snapshot: RoundSnapshot,
    principal: Principal,
    registrations: RegistrationService,
    metadata: CommandMetadata,
    *,
    keep: bool = False,
) -> Checked:
    """Check each row alone, and whether two name one person; `keep` the answers of those that are accepted.

    Raise Refused if the file is no such table.
    """
    table = Table(await asyncio.to_thread(lines_of, body), COLUMNS, IMPORT_ROWS)
    checked = Checked()
    late: dict[int, Refused] = {}  # the round does not take them now; it may have taken them under this key
    first_rows: dict[str, int] = {}  # by national ID
    slices = TimeSlices()
    for row, cells in table:
        await slices()
        checked.rows += 1
        try:
            answers = table.answers(row, cells)
            application = snapshot.accept(answers)
            check_scope(principal, application)
            if (first := first_rows.setdefault(application.identity["national_id"], row)) != row:
                raise Refused("named_twice", field="national_id", row=first)
            checked.accepted[row] = application
            if keep:
                checked.answers[row] = msgspec.json.encode(answers)
            snapshot.check_intake(application)
        except InvalidApplication as invalid:
            checked.errors += [(row, each) for each in invalid.errors]
        except Refused as refused:
            if row in checked.accepted:
                late[row] = refused
            else:
                checked.errors.append((row, refused))
    answered = await registrations.answered({row: metadata_for(str(row), metadata) for row in checked.accepted})
    if answered:  # all rows of a file have its fingerprint: another file under this key is refused before its first row
        await stored_response(registrations.store, metadata_for(str(min(answered)), metadata))
    for row, closed in late.items():
        if row not in answered:
            checked.errors.append((row, closed))
            del checked.accepted[row]
    checked.errors.sort(key=lambda each: each[0])
    return checked


def file_to_correct(body: bytes, errors: Iterable[tuple[int, Refused]]) -> bytes:
    """Return the rows with errors, in the format of the file, with what to do about each of them."""
    advice: dict[int, list[str]] = {}
    for row, each in errors:
        sentence = message_text(each.code, "fa", **each.details)
        label = FIELD[each.field].label.fa if each.field in FIELD else ""
        advice.setdefault(row, []).append(f"{label}: {sentence}" if label else sentence)
    table = Table(lines_of(body), COLUMNS, IMPORT_ROWS)
    rows = [[*table.header, REASON.fa]]
    for row, cells in table:
        if row in advice:
            padding = [""] * (len(table.header) - len(cells))
            rows.append([*cells[: len(table.header)], *padding, " - ".join(advice[row])])
    return workbook_of(rows) if is_workbook(body) else csv_of(rows, separator_of(body))


def _chunks(accepted: Mapping[int, Accepted]) -> Iterator[dict[int, Accepted]]:
    left = iter(accepted.items())
    while chunk := dict(islice(left, CHUNK)):
        yield chunk


def _imported(
    checked: Checked, outcomes: Mapping[int, Result | Refused], codes: TrackingCodes, mode: Mode, dry_run: bool
) -> Response:
    registered = {row: each.record for row, each in outcomes.items() if isinstance(each, Result)}
    refused = sorted([*checked.errors, *refused_of(outcomes)], key=lambda each: each[0])
    rows = {row for row, _ in refused}
    imported = schemas.Imported(
        mode=mode,
        dry_run=dry_run,
        rows=checked.rows,
        registered=len(registered),
        already_registered=checked.rows - len(registered) - len(rows),
        applications=[
            schemas.ImportedRow(row=row, id=each.subject, tracking_code=shown_code(codes.code_of(each)))
            for row, each in (registered.items() if not dry_run else ())
        ],
        refused_rows=len(rows),
        refused=[_refused_row(row, each) for row, each in refused[:MAX_ERRORS]],
    )
    return Response(imported.model_dump_json(), media_type="application/json")


def refused_of(outcomes: Mapping[int, Result | Refused]) -> list[tuple[int, Refused]]:
    """Return row and refusal of those that were refused; who is registered already is not."""
    return [(row, each) for row, each in outcomes.items() if isinstance(each, Refused) and not _is_known(each)]


def _is_known(outcome: Result | Refused) -> bool:
    return isinstance(outcome, Refused) and outcome.code == "already_registered"


def _refused_row(row: int, refused: Refused) -> schemas.RefusedRow:
    return schemas.RefusedRow(
        row=row,
        field=refused.field,
        code=refused.code,
        detail=message_text(refused.code, "en", **refused.details),
        detail_fa=message_text(refused.code, "fa", **refused.details),
    )
