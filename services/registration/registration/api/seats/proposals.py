"""Quotas by two persons: propose quotas or a move of seats, sign, decline, withdraw. Nothing else changes a quota."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from base.spreadsheet import rows_of
from contracts.codes import PROPOSAL_REASONS, PROPOSAL_REFUSALS
from contracts.commands import Refused
from contracts.subjects import UUID, proposal_subject
from kernel.commands import CommandMetadata
from kernel.record import Record
from kernel.store import Store as StorePort
from programme import reference, text
from registration import queries
from registration.api.csv_import import RowsInvalid, read_rows
from registration.api.rounds import RoundId, require_round
from registration.domain import ledger
from registration.domain.proposal import Decline, State, Withdraw, control_number
from registration.quota_changes import Proposals, QuotasRefused
from security.auth import Principal
from security.scopes import is_visible
from web.app import Body, raw
from web.authorization import allow
from web.dependencies import Clock, Store
from web.idempotency import idempotent
from web.pagination import Page
from web.problems import Invalid

COLUMNS = {name: name for name in ("province", "name_fa", "quota")}
QUOTA_FILE = 1 << 20  # bytes

QuotaProposer = Annotated[Principal, allow("set_quota")]
MoveProposer = Annotated[Principal, allow("move_seats")]
ProposalReader = Annotated[Principal, allow("set_quota", "R")]
Signer = Annotated[Principal, allow("sign_proposal")]
Metadata = Annotated[CommandMetadata, idempotent()]
ProposalName = Annotated[str, Path(alias="id", max_length=64, examples=["0199fb3c-1d20-7a44-b0c5-7e8f9a0b1c2d"])]
Reason = Field(max_length=40, examples=["demand"], json_schema_extra={"enum": list(PROPOSAL_REASONS)})

router = APIRouter(prefix="/v1/rounds/{round_id}", tags=["rounds"])


class ProvinceQuota(Body):
    """The quota that a province is to have."""

    province: str = Field(max_length=8, examples=["IR-20"])
    quota: int = Field(ge=0, le=ledger.QUOTA_LIMIT, examples=[1300])


class QuotaProposal(Body):
    """Quotas of provinces, and why."""

    quotas: list[ProvinceQuota] = Field(min_length=1, max_length=31)
    reason: str = Reason


class MoveProposal(Body):
    """Free seats that are to move from one province to another, and why."""

    source: str = Field(max_length=8, examples=["IR-06"])
    target: str = Field(max_length=8, examples=["IR-20"])
    seats: int = Field(ge=1, le=ledger.QUOTA_LIMIT, examples=[60])
    reason: str = Reason


class Signature(Body):
    """The control number of what is signed, as the proposal shows it."""

    control: str = Field(max_length=20, examples=["841-207-336"])


class Refusal(Body):
    """Why it is not signed."""

    reason: str = Field(max_length=40, examples=["not_needed"], json_schema_extra={"enum": list(PROPOSAL_REFUSALS)})


class Actor(BaseModel):
    """A role, and the pseudonym of who acted in it."""

    role: str = Field(examples=["ministry_admin"])
    officer: str


class QuotaChange(BaseModel):
    """The quota of a province before and after."""

    province: str
    before: int
    after: int


class Proposal(BaseModel):
    """A proposal, and what became of it."""

    id: str
    round: str
    action: str = Field(examples=["move_seats"])
    reason: str
    changes: list[QuotaChange]
    control: str = Field(examples=["841207336"], description="Digits of the digest of exactly what takes effect.")
    status: str = Field(examples=["open"], description="open, signed, declined, withdrawn or expired.")
    proposed_by: Actor
    made: datetime
    expires: datetime
    closed: datetime | None
    closed_by: Actor | None
    refusal: str = Field(description="Why it was declined; otherwise empty.")


@router.get("/proposals")
async def proposals(round_id: RoundId, principal: ProposalReader, store: Store) -> Page[Proposal]:
    """Return the proposals that concern the caller's scope, the latest first."""
    await require_round(store, round_id)
    return Page(items=[proposal_of(each) for each in await read_proposals(store, round_id, principal)], next=None)


@router.get("/proposals/{id}")
async def proposal(round_id: RoundId, id_: ProposalName, principal: ProposalReader, store: Store) -> Proposal:
    """Return one proposal that concerns the caller's scope."""
    return proposal_of(await find_proposal(store, round_id, id_, principal))


@router.post("/proposals/quotas", status_code=201)
async def propose_quotas(
    round_id: RoundId, body: QuotaProposal, principal: QuotaProposer, store: Store, clock: Clock, metadata: Metadata
) -> Proposal:
    """Propose quotas; they take effect when a second person has signed. Officers of a province propose its own."""
    quotas: dict[str, int] = {}
    for n, each in enumerate(body.quotas):
        code = reference.province(each.province, f"quotas.{n}.province").code
        if code in quotas:
            raise Refused("named_twice", field=f"quotas.{n}.province", row=1 + list(quotas).index(code))
        quotas[code] = each.quota
    return proposal_of(await quotas_proposed(round_id, quotas, body.reason, principal, store, clock, metadata))


@router.post("/quotas/import", status_code=201, response_model=Proposal, max_body_size=QUOTA_FILE)
async def import_quotas(
    round_id: RoundId,
    request: Request,
    body: Annotated[bytes, raw("text/csv")],
    principal: Signer,
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> Proposal | Response:
    """Propose the quotas in a file of `province,name_fa,quota`, all or none; code and name of a province must agree."""
    try:
        rows = quota_rows(body)
        round_ = (await require_round(store, round_id)).state
        quotas = {province: quota for province, (_, quota) in rows.items()}
        record = await Proposals(store, clock).set_quotas(round_, quotas, "notification", metadata)
    except RowsInvalid as invalid:
        return invalid.response(request)
    except QuotasRefused as e:
        return RowsInvalid([(rows[province][0], refused) for province, refused in e.refused.items()]).response(request)
    return proposal_of(record)


@router.post("/proposals/moves", status_code=201)
async def propose_move(
    round_id: RoundId, body: MoveProposal, principal: MoveProposer, store: Store, clock: Clock, metadata: Metadata
) -> Proposal:
    """Propose to move free seats from one province to another, which takes effect for both at once."""
    return proposal_of(await move_proposed(round_id, body, store, clock, metadata))


@router.post("/proposals/{id}/signature")
async def sign(
    round_id: RoundId,
    id_: ProposalName,
    body: Signature,
    principal: Signer,
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> Proposal:
    """Sign a proposal of someone else: its quotas change at once, all or none, unless one has changed meanwhile."""
    record = await find_proposal(store, round_id, id_, principal)
    return proposal_of(await Proposals(store, clock).sign(record.subject, control_typed(body.control), metadata))


@router.post("/proposals/{id}/refusal")
async def decline(
    round_id: RoundId,
    id_: ProposalName,
    body: Refusal,
    principal: Signer,
    store: Store,
    clock: Clock,
    metadata: Metadata,
) -> Proposal:
    """Decline a proposal of someone else; this closes it."""
    record = await find_proposal(store, round_id, id_, principal)
    command = Decline(principal.actor, body.reason)
    return proposal_of(await Proposals(store, clock).close(record.subject, command, metadata))


@router.post("/proposals/{id}/withdrawal")
async def withdraw_proposal(
    round_id: RoundId, id_: ProposalName, principal: QuotaProposer, store: Store, clock: Clock, metadata: Metadata
) -> Proposal:
    """Withdraw one's own proposal."""
    record = await find_proposal(store, round_id, id_, principal)
    return proposal_of(await Proposals(store, clock).close(record.subject, Withdraw(principal.actor), metadata))


async def quotas_proposed(
    round_id: str,
    quotas: Mapping[str, int],
    reason: str,
    principal: Principal,
    store: StorePort,
    clock: Clock,
    metadata: CommandMetadata,
) -> Record:
    """Propose quotas of the caller's scope. Raise Refused: scope_other, Invalid."""
    round_ = (await require_round(store, round_id)).state
    if any(not is_visible(province, principal) for province in quotas):
        raise Refused("scope_other", field="province")
    try:
        return await Proposals(store, clock).set_quotas(round_, quotas, reason, metadata)
    except QuotasRefused as e:
        raise Invalid(list(e.refused.values())) from e


async def move_proposed(
    round_id: str, body: MoveProposal, store: StorePort, clock: Clock, metadata: CommandMetadata
) -> Record:
    """Propose a move. Raise Refused, Invalid."""
    round_ = (await require_round(store, round_id)).state
    source, target = reference.province(body.source, "source").code, reference.province(body.target, "target").code
    try:
        return await Proposals(store, clock).move_seats(round_, source, target, body.seats, body.reason, metadata)
    except QuotasRefused as e:
        raise Invalid(list(e.refused.values())) from e


async def read_proposals(store: StorePort, round_id: str, principal: Principal) -> list[Record]:
    """Return the proposals of a round that concern the caller's scope, the latest first. Raise Transient."""
    found = await store.find(queries.proposals(round_id))
    return [each for each in reversed(found) if _concerns(each.state, principal)]


async def find_proposal(store: StorePort, round_id: str, proposal_id: str, principal: Principal) -> Record:
    """Return a proposal. Raise Refused: not_found, also for one that concerns other provinces only."""
    if not _is_id(proposal_id):
        raise Refused("not_found")
    subject = proposal_subject(round_id, proposal_id)
    record = (await store.read([subject]))[subject]
    if not record.version or not _concerns(record.state, principal):
        raise Refused("not_found")
    return record


def proposal_of(record: Record) -> Proposal:
    """Return the response for a proposal."""
    state: State = record.state
    assert state.made and state.expires, "a proposal that was made"
    return Proposal(
        id=record.subject.rpartition("/")[2],
        round=state.round,
        action=state.action,
        reason=state.reason,
        changes=[QuotaChange(province=c.province, before=c.before, after=c.after) for c in state.changes],
        control=control_number(state),
        status=state.status,
        proposed_by=_actor(state.proposer),
        made=state.made,
        expires=state.expires,
        closed=state.closed,
        closed_by=_actor(state.closed_by) if state.closed_by else None,
        refusal=state.refusal,
    )


def control_typed(typed: str) -> str:
    """Return a control number as it is compared: digits of any family, without separators."""
    return "".join(each for each in text.digits(typed) if each.isascii() and each.isdigit())


def quota_rows(body: bytes) -> dict[str, tuple[int, int]]:
    """Return row and quota by province. Raise Refused, RowsInvalid with every invalid row."""
    found: dict[str, tuple[int, int]] = {}
    errors: list[tuple[int, Refused]] = []
    for row, cells in read_rows(rows_of(body), COLUMNS, len(reference.provinces())):
        try:
            province = reference.province_named(cells.get("province", ""), cells.get("name_fa", "")).code
            if province in found:
                raise Refused("named_twice", field="province", row=found[province][0])
            found[province] = row, quota_typed(cells.get("quota", ""))
        except Refused as refused:
            errors.append((row, refused))
    if errors:
        raise RowsInvalid(errors)
    return found


def quota_typed(typed: str, field: str = "quota") -> int:
    """Return a number of seats in digits of any family. Raise Refused: quota_invalid."""
    digits = text.digits(typed).strip()
    if not digits.isascii() or not digits.isdigit() or int(digits) > ledger.QUOTA_LIMIT:
        raise Refused("quota_invalid", field=field, limit=ledger.QUOTA_LIMIT)
    return int(digits)


def _concerns(state: State, principal: Principal) -> bool:
    return any(is_visible(each.province, principal) for each in state.changes)


def _is_id(typed: str) -> bool:
    return re.fullmatch(UUID, typed) is not None


def _actor(actor: str) -> Actor:
    role, _, officer = actor.partition(":")
    return Actor(role=role, officer=officer)
