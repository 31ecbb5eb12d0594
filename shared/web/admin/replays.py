"""The operators' API for a log that lost events. Part of every service's API, under `/v1/replays`."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from contracts.commands import Refused
from contracts.topics import topics_consumed_by
from kernel.store import Store as StorePort
from kernel.stores.mongodb import MongoStore
from recovery.replay_requests import ReplayRequests
from security.auth import Principal
from web.app import Body
from web.authorization import allow
from web.dependencies import Store

cursor_resets = APIRouter(prefix="/v1/replays", tags=["operators"])
republications = APIRouter(prefix="/v1/replays", tags=["operators"])  # of services that emit events


class CursorReset(Body):
    """Consume a topic again from where its log begins."""

    topic: str = Field(max_length=100, examples=["peyvand.registration"])
    reason: str = Field(min_length=3, max_length=500, description="Why; recorded with the operator.")
    dry_run: bool = Field(default=False, description="Only return the present cursors.")


class Cursors(BaseModel):
    """The cursors of a topic by partition before the reset; the workers set them within seconds."""

    dry_run: bool
    cursors: dict[int, int]


class Republication(Body):
    """Publish everything again that the service has ever published."""

    reason: str = Field(min_length=3, max_length=500, description="Why; recorded with the operator.")
    dry_run: bool = Field(default=False, description="Only return how much it would be.")


class Republished(BaseModel):
    """What the workers publish again within the next minutes."""

    dry_run: bool
    records: int
    events: int


def _requests(store: StorePort) -> ReplayRequests:
    assert isinstance(store, MongoStore)
    return ReplayRequests(store)


@cursor_resets.post("/cursor-resets")
async def reset_cursors(body: CursorReset, principal: Annotated[Principal, allow("replay")], store: Store) -> Cursors:
    """Consume a topic again from where its log begins: after it was truncated or recreated."""
    topics = topics_consumed_by(store.service)
    if body.topic not in topics:
        raise Refused("topic_not_consumed", "topic", topics=", ".join(topics))
    cursors = await _requests(store).reset_cursors(body.topic, principal.actor, body.reason, dry_run=body.dry_run)
    return Cursors(dry_run=body.dry_run, cursors=cursors)


@republications.post("/republications")
async def republish(body: Republication, principal: Annotated[Principal, allow("replay")], store: Store) -> Republished:
    """Publish everything again that this service has ever published; consumers recognise what they have handled."""
    records, events = await _requests(store).republish(principal.actor, body.reason, dry_run=body.dry_run)
    return Republished(dry_run=body.dry_run, records=records, events=events)
