"""Rounds and quotas: opened and notified by the ministry, open for everybody to read."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from contracts.commands import Refused
from contracts.subjects import ledger_subject, round_subject
from kernel.commands import CommandMetadata, execute
from kernel.record import Record
from programme import reference, text
from programme.policies import versions
from registration.api import views
from registration.api.tables import RowsInvalid, rows
from registration.domain import ledger
from registration.domain import round as rules
from registration.domain.ledger import SetQuota
from registration.store.office import Office
from registration.store.questions import Questions
from registration.store.quotas import QuotasRefused, set_quotas
from security.auth import Principal
from web.app import Etag, Page, allow, etagged, idempotent, public, raw

COLUMNS = ("province", "name_fa", "quota")
RoundId = Annotated[str, Path(pattern=r"^[0-9A-Za-z-]{1,20}$", examples=["1404"])]


def router(office: Office, questions: Questions) -> APIRouter:
    """The routes under /registration/v1/rounds."""
    api = APIRouter(prefix="/v1/rounds", tags=["rounds"])
    store, clock = office.store, office.clock

    async def known(round_id: str) -> Record:
        record = (await store.read([round_subject(round_id)]))[round_subject(round_id)]
        if not record.version:
            raise Refused("round_unknown")
        return record

    @api.get("")
    async def rounds_list(principal: Annotated[Principal, public()]) -> Page[views.Round]:
        """Every round, by name."""
        return Page(items=[views.round_of(each) for each in await questions.rounds()], next=None)

    @api.get("/{round_id}")
    async def round_one(
        round_id: RoundId, principal: Annotated[Principal, public()], etag: Annotated[Etag, etagged()]
    ) -> views.Round:
        """One round: its job fields and its windows."""
        record = await known(round_id)
        etag.match(record.version)
        return views.round_of(record)

    @api.put("/{round_id}")
    async def open_round(
        round_id: RoundId,
        body: views.RoundTerms,
        principal: Annotated[Principal, allow("ministry_admin")],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Round:
        """Opens a round, or amends one; provinces that are not named have the round's window."""
        if body.policy not in versions():
            raise Refused("policy_unknown", field="policy", known=versions())
        for n, field in enumerate(body.fields):
            reference.job_field(field, f"fields.{n}")
        for n, each in enumerate(body.windows):
            reference.province(each.province, f"windows.{n}.province")
        command = rules.OpenRound(
            round=round_id,
            policy=body.policy,
            fields=tuple(dict.fromkeys(body.fields)),
            window=rules.Window(body.opens, body.closes),
            windows={each.province: rules.Window(each.opens, each.closes) for each in body.windows},
        )
        done = await execute(store, round_subject(round_id), command, clock, ask)
        office.amended(round_id)
        return views.round_of(done.record)

    @api.get("/{round_id}/quotas")
    async def quotas(round_id: RoundId, principal: Annotated[Principal, public()]) -> Page[views.Seats]:
        """The seats of each province that somebody set a quota for or waits in."""
        await known(round_id)
        waiting = await questions.waiting(round_id)
        found = [views.seats_of(r.state, waiting.get(r.subject, 0)) for r in await questions.ledgers(round_id)]
        return Page(items=found, next=None)

    @api.post("/{round_id}/quotas/import", response_model=views.QuotasSet, max_body_size=1 << 20)
    async def import_quotas(
        round_id: RoundId,
        request: Request,
        body: Annotated[bytes, raw("text/csv")],
        principal: Annotated[Principal, allow("ministry_admin")],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.QuotasSet | Response:
        """Sets the quotas in a file of `province,name_fa,quota`, all or nothing; code and name must agree."""
        policy = (await known(round_id)).state.policy
        try:
            quotas = _quotas(body)
            commands = {
                ledger_subject(round_id, p): SetQuota(round=round_id, province=p, policy=policy, quota=quota)
                for p, (_, quota) in quotas.items()
            }
            changed = await set_quotas(store, commands, clock, ask)
        except RowsInvalid as invalid:
            return invalid.response(request)
        except QuotasRefused as refused:
            faults = refused.refused.items()
            told = [(quotas[commands[subject].province][0], why) for subject, why in faults]
            return RowsInvalid(told).response(request)
        return views.QuotasSet(rows=len(quotas), changed=changed)

    @api.put("/{round_id}/quotas/{province}")
    async def set_quota(
        round_id: RoundId,
        province: Annotated[str, Path(max_length=8, examples=["IR-20"])],
        body: views.QuotaTerms,
        principal: Annotated[Principal, allow("ministry_admin")],
        ask: Annotated[CommandMetadata, idempotent()],
    ) -> views.Seats:
        """Sets one province's quota; never below the seats that are held."""
        policy = (await known(round_id)).state.policy
        code = reference.province(province).code
        command = SetQuota(round=round_id, province=code, policy=policy, quota=body.quota)
        done = await execute(store, ledger_subject(round_id, code), command, clock, ask)
        waiting = await questions.waiting(round_id)
        return views.seats_of(done.record.state, waiting.get(done.record.subject, 0))

    return api


def _quotas(body: bytes) -> dict[str, tuple[int, int]]:
    """Line and quota by province. Raises Refused, RowsInvalid with every row whose code and name disagree."""
    found: dict[str, tuple[int, int]] = {}
    faults: list[tuple[int, Refused]] = []
    for n, row in rows(body, COLUMNS, {}, len(reference.provinces())):
        try:
            province = reference.province_named(row.get("province", ""), row.get("name_fa", "")).code
            if province in found:
                raise Refused("named_twice", field="province", row=found[province][0])
            typed = text.digits(row.get("quota", "")).strip()
            if not typed.isascii() or not typed.isdigit() or int(typed) > ledger.QUOTA_LIMIT:
                raise Refused("quota_invalid", field="quota", limit=ledger.QUOTA_LIMIT)
            found[province] = n, int(typed)
        except Refused as refused:
            faults.append((n, refused))
    if faults:
        raise RowsInvalid(faults)
    return found
