"""Rounds, opened by the ministry, and the seats of provinces: open for everyone to read."""

from typing import Annotated

from fastapi import APIRouter, Path

from contracts.commands import Refused
from contracts.subjects import ROUND, round_subject
from kernel.commands import CommandMetadata, execute
from kernel.record import Record
from kernel.store import Store as StorePort
from programme import reference
from programme.policies import versions
from registration import queries, schemas
from registration.api.dependencies import Registrations
from registration.domain import round as rounds
from security.auth import Principal
from web.authorization import allow, public
from web.dependencies import Clock, Store
from web.idempotency import idempotent
from web.pagination import Etag, Page, etagged

RoundId = Annotated[str, Path(pattern=f"^{ROUND}$", examples=["1404"])]
RoundOpener = Annotated[Principal, allow("open_round")]
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


async def require_round(store: StorePort, round_id: str) -> Record:
    """Return a round. Raise Refused: round_unknown."""
    record = (await store.read([round_subject(round_id)]))[round_subject(round_id)]
    if not record.version:
        raise Refused("round_unknown")
    return record
