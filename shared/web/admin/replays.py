"""Orders about a log that lost something, over HTTP: mounted in every service's API under `/v1/log`."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from contracts.commands import Refused
from contracts.events import PRODUCERS
from contracts.topics import topics_consumed_by
from recovery.replay import Orders
from security.auth import Principal
from web.app import Body, allow


class Reread(Body):
    """That a topic is read again from where its log begins."""

    topic: str = Field(max_length=100, examples=["peyvand.registration"])
    reason: str = Field(min_length=3, max_length=500, description="Why; it stays on record with who said it.")
    dry_run: bool = Field(default=False, description="Only say what would be read again.")


class Cursors(BaseModel):
    """Where the cursors of a topic stand, by partition; the service's workers set them within seconds."""

    dry_run: bool
    cursors: dict[int, int]


class Republication(Body):
    """That a service says again what it ever said."""

    reason: str = Field(min_length=3, max_length=500, description="Why; it stays on record with who said it.")
    dry_run: bool = Field(default=False, description="Only say how much it would be.")


class Repeated(BaseModel):
    """What is said again, by the service's workers, within the next minutes."""

    dry_run: bool
    records: int
    events: int


def router(store: Any) -> APIRouter:
    """The routes; of a service that says nothing without republication."""
    api = APIRouter(prefix="/v1/log", tags=["operators"])

    @api.post("/rereading")
    async def reread(body: Reread, principal: Annotated[Principal, allow("operator")]) -> Cursors:
        """Reads a topic again from where its log begins: after it was truncated, or made anew."""
        if body.topic not in topics_consumed_by(store.service):
            raise Refused("topic_unheard", "topic", topics=", ".join(topics_consumed_by(store.service)))
        stand = await Orders(store).reread(body.topic, principal.actor, body.reason, dry_run=body.dry_run)
        return Cursors(dry_run=body.dry_run, cursors=stand)

    if store.service in PRODUCERS:

        @api.post("/republication")
        async def republish(body: Republication, principal: Annotated[Principal, allow("operator")]) -> Repeated:
            """Says everything again that this service ever said; whoever has heard it knows it for a repeat."""
            records, events = await Orders(store).republish(principal.actor, body.reason, dry_run=body.dry_run)
            return Repeated(dry_run=body.dry_run, records=records, events=events)

    return api
