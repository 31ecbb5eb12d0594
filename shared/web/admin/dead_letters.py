"""The operator's door to a service's dead letters: only the service itself writes its store.

Mounted in every service's API under `/v1/dead-letters`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from base.clock import Clock
from contracts.envelope import encode
from kernel.store import Projection, Store
from recovery.dead_letters import ALONE, DeadLetters, Group, Letter, groups
from security.auth import Principal
from web.app import Body, Page, Paging, allow, paged

AT_ONCE = 200  # letters in one request


class Letters(BaseModel):
    """Letters of one fingerprint."""

    fingerprint: str = Field(description="The same for all that are mended the same way: fault, place, type of event.")
    kind: Literal["parked", "unreadable"]
    source: str = Field(description="The service that said it; of the unreadable the topic.")
    type: str = Field(description="The type of event; empty where it cannot be told.")
    fault: str = Field(description="Of the oldest of them.")
    where: str = Field(description="The place in the code.")
    letters: int
    behind: int = Field(description="Events that wait behind them, in order.")
    since: datetime
    example: str = Field(description="The id of the oldest.")


class DeadLetter(BaseModel):
    """One event that waits for a person."""

    id: str
    kind: Literal["parked", "unreadable"]
    fingerprint: str
    source: str
    subject: str
    sequence: int
    type: str
    fault: str
    where: str
    since: datetime
    behind: int
    bytes: int = Field(description="Length; 0 where only its place in the log is kept.")
    event: dict[str, Any] | None = Field(
        description="The event, as far as it is one of ours: what else its bytes may hold is not shown."
    )


class Retry(Body):
    """Which letters to try again, in this order."""

    letters: list[str] = Field(min_length=1, max_length=AT_ONCE, description="Ids.")
    reason: str = Field(default="", max_length=500, description="What was mended.")
    dry_run: bool = Field(default=False, description="Only say what would become of them.")


class Discard(Body):
    """Which letters to give up for good."""

    letters: list[str] = Field(min_length=1, max_length=AT_ONCE, description="Ids.")
    reason: str = Field(min_length=3, max_length=500, description="Why; it stays on record with who said it.")
    dry_run: bool = Field(default=False, description="Only say what would become of what waits behind them.")


class Outcome(BaseModel):
    """What became of one letter, or would."""

    id: str
    outcome: Literal["drained", "faulty", "discarded", "gone"]
    drained: int = Field(description="Events handled.")
    fault: str = Field(description="Where it stopped again, why.")


class Outcomes(BaseModel):
    """What became of each."""

    dry_run: bool
    outcomes: list[Outcome]


def router(store: Store, clock: Clock, projection: Projection | None = None) -> APIRouter:
    """The routes; `projection` is what else moves with this service's records."""
    api = APIRouter(prefix="/v1/dead-letters", tags=["operators"])
    dead = DeadLetters(store, clock, projection)

    @api.get("")
    async def dead_letter_groups(principal: Annotated[Principal, allow("operator", "auditor")]) -> list[Letters]:
        """What waits for a person, by fingerprint, the largest group first."""
        return [_group(each) for each in groups(await dead.all())]

    @api.get("/letters")
    async def dead_letters(
        principal: Annotated[Principal, allow("operator", "auditor")],
        paging: Annotated[Paging, paged()],
        fingerprint: Annotated[str, Query(max_length=40)] = "",
        subject: Annotated[str, Query(max_length=200)] = "",
    ) -> Page[DeadLetter]:
        """The letters themselves, oldest first."""
        found = await dead.all(subject, fingerprint)
        if paging.after:
            found = [each for each in found if _place(each) > (str(paging.after[0]), str(paging.after[-1]))]
        return paging.page(
            [_letter(each) for each in found[: paging.limit + 1]],
            after=lambda each: (each.since.isoformat(), each.id),
        )

    @api.post("/retry")
    async def retry_dead_letters(body: Retry, principal: Annotated[Principal, allow("operator")]) -> Outcomes:
        """Tries letters again, and in order what waits behind them; those that are none any more are `gone`."""
        done = await dead.act("retry", body.letters, principal.actor, body.reason, dry_run=body.dry_run)
        return Outcomes(dry_run=body.dry_run, outcomes=[Outcome(**msgspec.structs.asdict(each)) for each in done])

    @api.post("/discard", description=f"Above {ALONE:,} letters of one fingerprint it takes two persons.")
    async def discard_dead_letters(body: Discard, principal: Annotated[Principal, allow("operator")]) -> Outcomes:
        """Gives letters up for good, on record with reason and name, and tries what waits behind them."""
        done = await dead.act("discard", body.letters, principal.actor, body.reason, dry_run=body.dry_run)
        return Outcomes(dry_run=body.dry_run, outcomes=[Outcome(**msgspec.structs.asdict(each)) for each in done])

    return api


def _place(each: Letter) -> tuple[str, str]:
    return each.since.isoformat(), each.id


def _group(each: Group) -> Letters:
    return Letters(**msgspec.structs.asdict(each))


def _letter(each: Letter) -> DeadLetter:
    told = {name: value for name, value in msgspec.structs.asdict(each).items() if name != "raw"}
    envelope = each.envelope
    event = msgspec.json.decode(encode(envelope)) if envelope is not None else None
    return DeadLetter(**told, bytes=len(each.raw or b""), event=event)
