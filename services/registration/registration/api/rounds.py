"""Rounds and quotas: set by the ministry, open for everyone to read."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from base.spreadsheet import rows_of
from contracts.commands import Refused
from contracts.subjects import ROUND, ledger_subject, round_subject
from kernel.commands import CommandMetadata, execute
from kernel.record import Record
from kernel.store import Store as StorePort
from programme import reference, text
from programme.policies import versions
from registration import queries, schemas
from registration.api.csv_import import RowsInvalid, read_rows
from registration.api.dependencies import Registrations
from registration.domain import ledger
from registration.domain import round as rounds
from registration.domain.ledger import SetQuota
from registration.registrations import QuotasRefused
from security.auth import Principal
from web.app import raw
from web.authorization import allow, public
from web.dependencies import Clock, Store
from web.idempotency import idempotent, metadata_for
from web.pagination import Etag, Page, etagged

COLUMNS = {name: name for name in ("province", "name_fa", "quota")}
QUOTA_FILE = 1 << 20  # bytes

RoundId = Annotated[str, Path(pattern=f"^{ROUND}$", examples=["1404"])]
RoundOpener = Annotated[Principal, allow("open_round")]
QuotaSetter = Annotated[Principal, allow("set_quota")]
Anyone = Annotated[Principal, public()]
Metadata = Annotated[CommandMetadata, idempotent()]

router = APIRouter(prefix="/v1/rounds", tags=["rounds"])


@router.get("")
async def rounds_list(principal: Anyone, store: Store) -> Page[schemas.Round]:
    """Return every round, by name."""
    return Page(items=[schemas.round_of(each) for each in await store.find(queries.rounds())], next=None)


@router.get("/{round_id}")
async def round_one(
    round_id: RoundId, principal: Anyone, store: Store, etag: Annotated[Etag, etagged()]
) -> schemas.Round:
    """Return one round with its job fields and windows."""
    record = await require_round(store, round_id)
    etag.match(record.version)
    return schemas.round_of(record)


@router.put("/{round_id}")
async def open_round(
    round_id: RoundId,
    body: schemas.RoundTerms,
    principal: RoundOpener,
    store: Store,
    clock: Clock,
    registrations: Registrations,
    metadata: Metadata,
) -> schemas.Round:
    """Open a round, or amend one; provinces that are not named have the window of the round."""
    if body.policy not in versions():
        raise Refused("policy_unknown", field="policy", known=versions())
    for n, field in enumerate(body.fields):
        reference.job_field(field, f"fields.{n}")
    for n, each in enumerate(body.windows):
        reference.province(each.province, f"windows.{n}.province")
    for n, code in enumerate(body.simulated.whole if body.simulated else ()):
        reference.province(code, f"simulated.whole.{n}")
    command = rounds.OpenRound(
        round=round_id,
        policy=body.policy,
        fields=tuple(dict.fromkeys(body.fields)),
        window=rounds.Window(body.opens, body.closes),
        windows={each.province: rounds.Window(each.opens, each.closes) for each in body.windows},
        simulation=rounds.Simulation(body.simulated.per_mille, tuple(body.simulated.whole)) if body.simulated else None,
    )
    done = await execute(store, round_subject(round_id), command, clock, metadata)
    registrations.invalidate(round_id)
    return schemas.round_of(done.record)


@router.get("/{round_id}/quotas")
async def quotas(round_id: RoundId, principal: Anyone, store: Store) -> Page[schemas.ProvinceSeats]:
    """Return the seats of each province that has a quota or a waiting list."""
    await require_round(store, round_id)
    waiting = await queries.waiting_by_province(store, round_id)
    ledgers = await store.find(queries.ledgers(round_id))
    return Page(
        items=[schemas.province_seats_of(each.state, waiting.get(each.state.province, 0)) for each in ledgers],
        next=None,
    )


@router.post("/{round_id}/quotas/import", response_model=schemas.QuotasSet, max_body_size=QUOTA_FILE)
async def import_quotas(
    round_id: RoundId,
    request: Request,
    body: Annotated[bytes, raw("text/csv")],
    principal: QuotaSetter,
    store: Store,
    registrations: Registrations,
    metadata: Metadata,
) -> schemas.QuotasSet | Response:
    """Set the quotas in a file of `province,name_fa,quota`, all or none; code and name of a province must agree."""
    policy = (await require_round(store, round_id)).state.policy
    try:
        rows = _quotas(body)
        commands = {
            ledger_subject(round_id, province): SetQuota(round=round_id, province=province, policy=policy, quota=quota)
            for province, (_, quota) in rows.items()
        }
        await registrations.set_quotas(commands, {subject: metadata_for(subject, metadata) for subject in commands})
    except RowsInvalid as invalid:
        return invalid.response(request)
    except QuotasRefused as e:
        errors = [(rows[commands[subject].province][0], refused) for subject, refused in e.refused.items()]
        return RowsInvalid(errors).response(request)
    return schemas.QuotasSet(rows=len(rows))


@router.put("/{round_id}/quotas/{province}")
async def set_quota(
    round_id: RoundId,
    province: Annotated[str, Path(max_length=8, examples=["IR-20"])],
    body: schemas.QuotaTerms,
    principal: QuotaSetter,
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> schemas.Seats:
    """Set the quota of one province; it cannot be below the seats that are held."""
    policy = (await require_round(store, round_id)).state.policy
    code = reference.province(province).code
    command = SetQuota(round=round_id, province=code, policy=policy, quota=body.quota)
    done = await execute(store, ledger_subject(round_id, code), command, clock, metadata)
    return schemas.seats_of(done.record.state)


async def require_round(store: StorePort, round_id: str) -> Record:
    """Return a round. Raise Refused: round_unknown."""
    record = (await store.read([round_subject(round_id)]))[round_subject(round_id)]
    if not record.version:
        raise Refused("round_unknown")
    return record


def _quotas(body: bytes) -> dict[str, tuple[int, int]]:
    """Return row and quota by province. Raise Refused, RowsInvalid with every invalid row."""
    found: dict[str, tuple[int, int]] = {}
    errors: list[tuple[int, Refused]] = []
    for row, cells in read_rows(rows_of(body), COLUMNS, len(reference.provinces())):
        try:
            province = reference.province_named(cells.get("province", ""), cells.get("name_fa", "")).code
            if province in found:
                raise Refused("named_twice", field="province", row=found[province][0])
            typed = text.digits(cells.get("quota", "")).strip()
            if not typed.isascii() or not typed.isdigit() or int(typed) > ledger.QUOTA_LIMIT:
                raise Refused("quota_invalid", field="quota", limit=ledger.QUOTA_LIMIT)
            found[province] = row, int(typed)
        except Refused as refused:
            errors.append((row, refused))
    if errors:
        raise RowsInvalid(errors)
    return found
