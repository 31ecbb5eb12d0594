"""Seat ledgers and waiting lists: what a province has, who is next, and how the quota came about."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from contracts.commands import Refused
from contracts.envelope import decode
from contracts.events import QuotaMoved, QuotaSet
from contracts.subjects import ledger_subject
from kernel.query import Query
from kernel.record import Record
from kernel.store import Store as StorePort
from programme import reference
from programme.numbers import case_number
from registration import queries, schemas
from registration.api.rounds import RoundId, require_round
from registration.domain import ledger
from security.auth import Principal
from security.scopes import is_visible
from web.authorization import allow
from web.dependencies import Store
from web.pagination import Page, Paging, paged

ProvinceCode = Annotated[str, Path(max_length=8, examples=["IR-20"])]
LedgerReader = Annotated[Principal, allow("read_seats", "A")]
ListReader = Annotated[Principal, allow("read_seats", "R")]

router = APIRouter(prefix="/v1/rounds/{round_id}/ledgers", tags=["rounds"])


class QuotaChange(BaseModel):
    """One change of a quota."""

    at: datetime
    previous: int
    quota: int
    role: str = Field(examples=["ministry_admin"])
    officer: str = Field(description="Pseudonym of who changed it.")


class Ledger(schemas.ProvinceSeats):
    """The seats of one province, and how its quota came about."""

    changes: list[QuotaChange] = Field(description="The latest first.")


class Waiting(BaseModel):
    """One applicant of a waiting list. Nothing here shows why they come before someone else."""

    id: str
    position: int
    number: str = Field(examples=["20-4812-7306"], description="Number of the case.")
    county: str
    field: str
    registered_at: datetime


class Position(BaseModel):
    """Where one application stands on its waiting list."""

    position: int
    of: int


@router.get("/{province}")
async def ledger_one(round_id: RoundId, province: ProvinceCode, principal: LedgerReader, store: Store) -> Ledger:
    """Return the ledger of a province of the caller's scope; a foreign one is not found."""
    await require_round(store, round_id)
    return await read_ledger(store, round_id, visible_province(province, principal))


@router.get("/{province}/waiting")
async def waiting_list(
    round_id: RoundId,
    province: ProvinceCode,
    principal: ListReader,
    store: Store,
    paging: Annotated[Paging, paged()],
) -> Page[Waiting]:
    """Return the waiting list of a province, in the published order."""
    await require_round(store, round_id)
    subject = ledger_subject(round_id, visible_province(province, principal))
    found = await read_waiting(store, subject, paging.limit + 1, paging.after_id)
    return paging.page(found, after=lambda each: (each.id,))


@router.get("/{province}/waiting/{applicant}")
async def waiting_place(
    round_id: RoundId,
    province: ProvinceCode,
    applicant: Annotated[str, Path(max_length=64)],
    principal: ListReader,
    store: Store,
) -> Position:
    """Return where an application stands on the waiting list of a province; one that does not wait is not found."""
    await require_round(store, round_id)
    subject = ledger_subject(round_id, visible_province(province, principal))
    record = (await store.read([applicant]))[applicant] if ":" not in applicant else None
    if record is None or record.indexed.get("seating") != "waiting" or record.indexed["ledger"] != subject:
        raise Refused("not_found")
    waiting = await queries.waiting_by_province(store, round_id)
    return Position(position=await queries.count_ahead(store, record) + 1, of=waiting.get(province, 0))


def visible_province(code: str, principal: Principal) -> str:
    """Return the code of a province in the caller's scope. Raise Refused: not_found, the same for one without."""
    if code not in reference.provinces() or not is_visible(code, principal):
        raise Refused("not_found")
    return code


async def read_ledger(store: StorePort, round_id: str, province: str) -> Ledger:
    """Return the seats of a province as its ledger counts them, and the changes of its quota. Raise Transient.

    The seats come from one record, so that they always add up.
    """
    subject = ledger_subject(round_id, province)
    record = (await store.read([subject]))[subject]
    waiting = await queries.waiting_by_province(store, round_id)
    seats = schemas.province_seats_of(record.state, waiting.get(province, 0)).model_dump()
    changes = [_change(raw) for raw in (await store.history(subject))[: record.last_sequence]]
    return Ledger(**seats | {"province": province}, changes=[each for each in reversed(changes) if each])


async def read_ledgers(store: StorePort, round_id: str) -> list[schemas.ProvinceSeats]:
    """Return the seats of all provinces, by code; one without a ledger has no seats. Raise Transient."""
    waiting = await queries.waiting_by_province(store, round_id)
    found = {each.state.province: each.state for each in await store.find(queries.ledgers(round_id))}
    return [
        schemas.province_seats_of(found.get(code, ledger.State(province=code)), waiting.get(code, 0))
        for code in reference.provinces()
    ]


async def read_waiting(store: StorePort, ledger_id: str, limit: int, after: str = "") -> list[Waiting]:
    """Return the next applicants on the waiting list of a ledger, behind the applicant `after`.

    Raise Refused: cursor_invalid; Transient.
    """
    found = await store.find(queries.line(ledger_id, "waiting", limit, await _sort_key(store, ledger_id, after)))
    first = await queries.count_ahead(store, found[0]) + 1 if found else 0
    return [_waiting(n, each) for n, each in enumerate(found, first)]


def totals(rows: Sequence[schemas.ProvinceSeats]) -> schemas.ProvinceSeats:
    """Return the sums over provinces; `province` is empty."""
    names = ("quota", "available", "held", "admitted", "waiting")
    return schemas.ProvinceSeats(province="", **{name: sum(getattr(each, name) for each in rows) for name in names})


def urgency(row: schemas.ProvinceSeats) -> tuple[int, int]:
    """Sort provinces without a quota first, then those where people wait, then those with free seats; most first."""
    if not row.quota:
        return 0, -row.waiting
    return (1, -row.waiting) if row.waiting else (2, -row.available)


async def _sort_key(store: StorePort, ledger_id: str, after: str) -> tuple[object, ...] | None:
    """Return the place of an applicant in the published order. The cursor names the applicant and not the place."""
    if not after:
        return None
    record = (await store.read([after]))[after] if ":" not in after else None
    if record is None or not record.indexed.get("registered_at") or not _belongs(record, ledger_id):
        raise Refused("cursor_invalid", "after")
    return Query(order=queries.PUBLISHED_ORDER).sort_key(record.indexed, record.subject)


def _belongs(record: Record, ledger_id: str) -> bool:
    return ledger_subject(record.indexed["round"], record.indexed["province"]) == ledger_id


def _waiting(position: int, record: Record) -> Waiting:
    context = record.state.context
    return Waiting(
        id=record.subject,
        position=position,
        number=case_number(record.subject, context.province),
        county=context.county,
        field=context.field,
        registered_at=record.state.current.registered_at,
    )


def _change(raw: bytes) -> QuotaChange | None:
    envelope = decode(raw)
    match envelope.event:
        case QuotaSet(quota=quota, previous=previous) | QuotaMoved(quota=quota, previous=previous):
            role, _, officer = envelope.actor.partition(":")
            return QuotaChange(at=envelope.time, previous=previous, quota=quota, role=role, officer=officer)
    return None
