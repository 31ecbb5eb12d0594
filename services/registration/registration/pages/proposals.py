"""Pages about proposals: what waits for a second person, what exactly would change, and how to propose something."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.ids import uuid7
from contracts.codes import PROPOSAL_ACTIONS, PROPOSAL_REASONS, PROPOSAL_REFUSALS, ROLES
from contracts.commands import Refused
from kernel.store import Store as StorePort
from programme import reference
from programme.calendar import tehran_day
from programme.messages import MESSAGES, STATUSES, message_text
from registration.api.rounds import RoundId
from registration.api.seats.ledgers import read_ledgers
from registration.api.seats.proposals import (
    MoveProposal,
    MoveProposer,
    ProposalName,
    ProposalReader,
    QuotaProposer,
    Signer,
    control_typed,
    find_proposal,
    move_proposed,
    proposal_of,
    quota_typed,
    quotas_proposed,
    read_proposals,
)
from registration.domain.proposal import OPEN, Decline, Withdraw
from registration.pages.seats import RoundName, chosen_round, templates
from registration.quota_changes import Proposals
from security.auth import Principal
from security.permissions import permits
from security.scopes import is_visible
from web.dependencies import Clock, Store, form_of
from web.idempotency import metadata_of
from web.pages import lang_of
from web.problems import Invalid

HOME = "/registration/proposals"
QUOTA_FORM = ("province", "quota", "reason", "key", "round")
MOVE_FORM = ("source", "target", "seats", "reason", "key", "round")

router = APIRouter(prefix="/proposals", include_in_schema=False)


@router.get("")
async def proposals_page(request: Request, officer: ProposalReader, store: Store, round_: RoundName = "") -> Response:
    """Show the proposals that concern the officer's scope: those that wait for a signature first."""
    known, chosen = await chosen_round(store, round_)
    found = [proposal_of(each) for each in await read_proposals(store, chosen.round, officer)] if chosen else []
    return templates.render(
        request,
        "proposals.html",
        officer=officer,
        rounds=known,
        chosen=chosen,
        open=[each for each in found if each.status == OPEN],
        closed=[each for each in found if each.status != OPEN],
        **_labels(),
    )


@router.get("/new")
async def new_page(request: Request, officer: QuotaProposer, store: Store, round_: RoundName = "") -> Response:
    """Ask for the quota of a province, or for seats that are to move."""
    return await _new(request, officer, store, round_)


@router.post("/quota")
async def propose_quota(request: Request, officer: QuotaProposer, store: Store, clock: Clock) -> Response:
    """Propose the quota of one province."""
    typed, metadata = await _typed(request, officer, QUOTA_FORM)
    try:
        code = reference.province(typed["province"]).code
        quotas = {code: quota_typed(typed["quota"])}
        record = await quotas_proposed(typed["round"], quotas, typed["reason"], officer, store, clock, metadata)
    except (Refused, Invalid) as e:
        return await _new(request, officer, store, typed["round"], e, typed)
    return RedirectResponse(f"{HOME}/{typed['round']}/{record.subject.rpartition('/')[2]}", 303)


@router.post("/move")
async def propose_move(request: Request, officer: MoveProposer, store: Store, clock: Clock) -> Response:
    """Propose to move free seats between two provinces."""
    typed, metadata = await _typed(request, officer, MOVE_FORM)
    try:
        seats = quota_typed(typed["seats"], "seats")
        if not seats:
            raise Refused("missing_field", field="seats")
        body = MoveProposal(
            source=typed["source"][:8], target=typed["target"][:8], seats=seats, reason=typed["reason"][:40]
        )
        record = await move_proposed(typed["round"], body, store, clock, metadata)
    except (Refused, Invalid) as e:
        return await _new(request, officer, store, typed["round"], e, typed)
    return RedirectResponse(f"{HOME}/{typed['round']}/{record.subject.rpartition('/')[2]}", 303)


@router.get("/{round_id}/{id}")
async def proposal_page(
    round_id: RoundId, id_: ProposalName, request: Request, officer: ProposalReader, store: Store
) -> Response:
    """Show exactly what would change, and to the second person the button."""
    return await _one(request, officer, store, round_id, id_)


@router.post("/{round_id}/{id}/signature")
async def sign(
    round_id: RoundId, id_: ProposalName, request: Request, officer: Signer, store: Store, clock: Clock
) -> Response:
    """Sign what the page has shown."""
    typed, metadata = await _typed(request, officer, ("control", "key"))
    record = await find_proposal(store, round_id, id_, officer)
    try:
        await Proposals(store, clock).sign(record.subject, control_typed(typed["control"]), metadata)
    except Refused as refused:
        return await _one(request, officer, store, round_id, id_, refused)
    return RedirectResponse(f"{HOME}/{round_id}/{id_}", 303)


@router.post("/{round_id}/{id}/refusal")
async def decline(
    round_id: RoundId, id_: ProposalName, request: Request, officer: Signer, store: Store, clock: Clock
) -> Response:
    """Close the proposal without a signature, for a reason."""
    typed, metadata = await _typed(request, officer, ("reason", "key"))
    record = await find_proposal(store, round_id, id_, officer)
    try:
        command = Decline(officer.actor, typed["reason"])
        await Proposals(store, clock).close(record.subject, command, metadata)
    except Refused as refused:
        return await _one(request, officer, store, round_id, id_, refused)
    return RedirectResponse(f"{HOME}/{round_id}/{id_}", 303)


@router.post("/{round_id}/{id}/withdrawal")
async def withdraw(
    round_id: RoundId, id_: ProposalName, request: Request, officer: QuotaProposer, store: Store, clock: Clock
) -> Response:
    """Withdraw one's own proposal."""
    _, metadata = await _typed(request, officer, ("key",))
    record = await find_proposal(store, round_id, id_, officer)
    try:
        await Proposals(store, clock).close(record.subject, Withdraw(officer.actor), metadata)
    except Refused as refused:
        return await _one(request, officer, store, round_id, id_, refused)
    return RedirectResponse(f"{HOME}/{round_id}/{id_}", 303)


async def _typed(request: Request, officer: Principal, names: Sequence[str]) -> tuple[dict[str, str], Any]:
    """Return the fields of a form, and the metadata of its command. Raise Refused: idempotency_key_invalid."""
    form = await form_of(request)
    typed = {name: str(form.get(name, "")).strip()[:200] for name in names}
    return typed, metadata_of(request, officer, typed.pop("key"), typed)


async def _new(
    request: Request,
    officer: Principal,
    store: StorePort,
    round_id: str,
    error: Refused | Invalid | None = None,
    typed: Mapping[str, str] = {},
) -> Response:
    known, chosen = await chosen_round(store, round_id)
    lang = lang_of(request)
    refusals = list(error.refusals) if isinstance(error, Invalid) else [error] if error else []
    own = [each for each in reference.by_name(reference.provinces().values(), lang) if is_visible(each.code, officer)]
    return templates.render(
        request,
        "proposal_new.html",
        status=STATUSES[MESSAGES[refusals[0].code].kind] if refusals else 200,
        officer=officer,
        rounds=known,
        chosen=chosen,
        own=[each.code for each in own],
        rows=[each for each in await read_ledgers(store, chosen.round) if each.available] if chosen else [],
        typed=typed,
        moving="target" in typed,
        errors=[{"field": e.field or "quota", "message": message_text(e.code, lang, **e.details)} for e in refusals],
        may_move=permits(officer.roles, "move_seats"),
        key=uuid7(),
        **_labels(),
    )


async def _one(
    request: Request,
    officer: Principal,
    store: StorePort,
    round_id: str,
    proposal_id: str,
    error: Refused | None = None,
) -> Response:
    record = await find_proposal(store, round_id, proposal_id, officer)
    shown, lang = proposal_of(record), lang_of(request)
    seats = {each.province: each for each in await read_ledgers(store, round_id)}
    return templates.render(
        request,
        "proposal.html",
        status=STATUSES[MESSAGES[error.code].kind] if error else 200,
        officer=officer,
        shown=shown,
        seats=seats,
        moved=[each for each in shown.changes if shown.status == OPEN and seats[each.province].quota != each.before],
        last_day=tehran_day(shown.expires - timedelta(seconds=1)),
        mine=shown.proposed_by.officer == officer.id,
        may_sign=permits(officer.roles, "sign_proposal"),
        may_withdraw=permits(officer.roles, "set_quota"),
        errors=[{"field": "act", "message": message_text(error.code, lang, **error.details)}] if error else [],
        key=uuid7(),
        **_labels(),
    )


def _labels() -> dict[str, Any]:
    return {
        "roles": ROLES,
        "actions": PROPOSAL_ACTIONS,
        "reasons": PROPOSAL_REASONS,
        "refusals": PROPOSAL_REFUSALS,
    }
