"""The operators' API for the dead letters of a service: only the service itself writes its store.

Part of every service's API, under `/v1/dead-letters`.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from contracts.envelope import encode
from kernel.record import Fault
from kernel.service import Runtime
from recovery.dead_letter import Group, Kind, Letter, LetterOutcome, OutcomeCode, group
from recovery.dead_letters import ONE_OPERATOR_LIMIT, DeadLetters
from security.auth import Principal
from web.app import Body
from web.authorization import allow
from web.dependencies import runtime
from web.pagination import Page, Paging, paged

BATCH_LIMIT = 200  # letters in one request

router = APIRouter(prefix="/v1/dead-letters", tags=["operators"])


class Letters(BaseModel):
    """The letters with one fingerprint."""

    fingerprint: str = Field(description="The same for all letters with the same cause: reason, fault, type of event.")
    kind: Kind
    reason: str = Field(description="Why they are parked, or undecodable.")
    source: str = Field(description="The service that emitted them; of undecodable bytes the topic.")
    type: str = Field(description="The type of event; empty if unknown.")
    fault: str = Field(description="Of the oldest of them.")
    where: str = Field(description="The place in the code.")
    letters: int
    behind: int = Field(description="Parked events that follow them, in order.")
    since: datetime
    example: str = Field(description="The id of the oldest.")


class DeadLetter(BaseModel):
    """An event that blocks those behind it, or bytes that hold no event."""

    id: str
    kind: Kind
    fingerprint: str
    reason: str
    source: str
    subject: str
    sequence: int
    type: str
    fault: str
    where: str
    since: datetime
    behind: int
    next: list[str] = Field(description="Ids of the first of those behind; each is a dead letter when its turn comes.")
    position: str = Field(description="Where the log holds it, topic/partition@offset; empty if it is missing.")
    bytes: int = Field(description="Length; 0 if the event is missing.")
    event: dict[str, Any] | None = Field(
        description="The event, if this version can decode it and it is valid: other content of the bytes is not shown."
    )


class Retry(Body):
    """Which letters to retry, in this order."""

    letters: list[str] = Field(min_length=1, max_length=BATCH_LIMIT, description="Ids.")
    reason: str = Field(default="", max_length=500, description="What was fixed.")
    dry_run: bool = Field(default=False, description="Only return what would become of them.")


class Discard(Body):
    """Which letters to discard for good."""

    letters: list[str] = Field(min_length=1, max_length=BATCH_LIMIT, description="Ids.")
    reason: str = Field(min_length=3, max_length=500, description="Why; recorded with the operator.")
    dry_run: bool = Field(default=False, description="Only return what would become of the events behind them.")


class LetterResult(BaseModel):
    """What became of one letter, or would."""

    id: str
    outcome: OutcomeCode
    drained: int = Field(description="Events handled.")
    fault: str = Field(description="The fault at which it stopped again.")


class LetterResults(BaseModel):
    """What became of each letter."""

    dry_run: bool
    outcomes: list[LetterResult]


async def _dead_letters(running: Annotated[Runtime[Any], Depends(runtime)]) -> DeadLetters:
    return DeadLetters(running.store, running.clock, running.projection)


Letterbox = Annotated[DeadLetters, Depends(_dead_letters)]


@router.get("")
async def dead_letter_groups(
    principal: Annotated[Principal, allow("dead_letters", "R")], dead_letters: Letterbox
) -> list[Letters]:
    """Return the dead letters by fingerprint, the largest group first."""
    return [_letters(each) for each in group(await dead_letters.letters())]


@router.get("/letters")
async def list_dead_letters(
    principal: Annotated[Principal, allow("dead_letters", "R")],
    dead_letters: Letterbox,
    paging: Annotated[Paging, paged()],
    fingerprint: Annotated[str, Query(max_length=40)] = "",
    subject: Annotated[str, Query(max_length=200)] = "",
) -> Page[DeadLetter]:
    """Return single dead letters, the oldest first."""
    found = await dead_letters.letters(subject, fingerprint)
    if after := paging.after_key(str, str):
        found = [each for each in found if (each.since.isoformat(), each.id) > after]
    return paging.page(
        [_dead_letter(each) for each in await dead_letters.whole(found[: paging.limit + 1])],
        after=lambda each: (each.since.isoformat(), each.id),
    )


@router.post("/retry")
async def retry_dead_letters(
    body: Retry, principal: Annotated[Principal, allow("dead_letters")], dead_letters: Letterbox
) -> LetterResults:
    """Retry letters, and in order the events behind them; an id that is no dead letter any more is `gone`."""
    done = await dead_letters.act("retry", body.letters, principal.actor, body.reason, dry_run=body.dry_run)
    return LetterResults(dry_run=body.dry_run, outcomes=[_outcome(each) for each in done])


@router.post("/discard", description=f"Above {ONE_OPERATOR_LIMIT:,} letters of one fingerprint needs two persons.")
async def discard_dead_letters(
    body: Discard, principal: Annotated[Principal, allow("dead_letters")], dead_letters: Letterbox
) -> LetterResults:
    """Discard letters for good, recorded with reason and operator, and handle the events behind them."""
    done = await dead_letters.act("discard", body.letters, principal.actor, body.reason, dry_run=body.dry_run)
    return LetterResults(dry_run=body.dry_run, outcomes=[_outcome(each) for each in done])


def _text(fault: Fault) -> str:
    return f"{fault.error}: {fault.message}" if fault.error else ""


def _letters(each: Group) -> Letters:
    values = {**msgspec.structs.asdict(each), "fault": _text(each.fault), "where": each.fault.where}
    return Letters(**values)


def _dead_letter(each: Letter) -> DeadLetter:
    values = {name: value for name, value in msgspec.structs.asdict(each).items() if name != "raw"}
    values |= {"fault": _text(each.fault), "where": each.fault.where, "position": str(each.position or "")}
    event = msgspec.json.decode(encode(each.envelope)) if each.envelope else None
    return DeadLetter(**values, bytes=each.length or len(each.raw or b""), event=event)


def _outcome(each: LetterOutcome) -> LetterResult:
    return LetterResult(id=each.id, outcome=each.outcome, drained=each.drained, fault=_text(each.fault))
