"""Lead enterprises: who joins, and who there is."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec.structs import replace

from base.clock import Clock
from base.ids import uuid7
from contracts.commands import Refused
from contracts.subjects import lead_subject
from kernel.commands import CommandMetadata, execute
from kernel.record import Private
from kernel.store import Store
from market.api import views
from market.domain.lead import Enlist
from market.store import Questions
from programme.reference import province as known_province
from programme.text import display, loose_key
from security.auth import Principal
from web.app import Page, Paging, allow, idempotent, paged

READERS = ("manager", "labour_expert", "screener", "lead", "council", "ministry_admin", "analyst", "auditor")


def router(store: Store, questions: Questions, clock: Clock) -> APIRouter:
    """The routes of lead enterprises."""
    api = APIRouter(prefix="/v1", tags=["leads"])

    @api.post("/leads", status_code=201)
    async def enlist(
        body: views.NewLead,
        principal: Annotated[Principal, allow("ministry_admin", "manager")],
        ask: Annotated[CommandMetadata, idempotent()],
        response: Response,
    ) -> views.Lead:
        """A lead enterprise joins a province; a name joins a province once."""
        where = known_province(body.province)
        if principal.province and principal.province != where.code:
            raise Refused("scope_other", "province")
        name = display(body.name)
        if len(name) < 2:
            raise Refused("missing_field", "name")
        # A company's public name is content: it stays here, beside the record, and no event tells it.
        private = Private(indexed={"lead_name": f"{where.code}/{loose_key(name)}"}, content={"name": name})
        command = Enlist(tuple(body.services), tuple(body.fields), where.code)
        done = await execute(store, lead_subject(uuid7()), command, clock, replace(ask, private=private, new=True))
        enlisted = views.lead(done.record)
        response.headers["Location"] = f"/market/v1/leads/{enlisted.id}"
        return enlisted

    @api.get("/leads")
    async def leads(
        principal: Annotated[Principal, allow(*READERS)],
        paging: Annotated[Paging, paged()],
        province: Annotated[str, Query(max_length=8, description="Of one province; all where it is empty.")] = "",
    ) -> Page[views.Lead]:
        """Lead enterprises, in the order in which they joined."""
        where = known_province(province).code if province else ""
        found = await questions.leads(where, paging.limit + 1, views.behind(paging.after))
        return paging.page([views.lead(each) for each in found], after=lambda lead: (lead_subject(lead.id),))

    @api.get("/leads/{id}")
    async def lead(id: str, principal: Annotated[Principal, allow(*READERS)]) -> views.Lead:
        """One lead enterprise."""
        found = await questions.lead(lead_subject(id))
        if found is None:
            raise Refused("not_found")
        return views.lead(found)

    return api
