"""Claims on cases: the next case for an officer, and its return to the queue."""

from fastapi import APIRouter

from base.clock import Clock as KernelClock
from contracts.commands import Refused
from kernel.commands import CommandMetadata, execute
from kernel.record import Record
from kernel.store import Store as StorePort
from screening import metrics, queries, schemas
from screening.api.cases import Decider, Metadata
from screening.domain.applicant import OPEN, authors_of
from screening.domain.case import person_of
from screening.domain.claim import ClaimCase, ReleaseCase
from web.dependencies import Clock, Store
from web.openapi import MISSING

IN_HAND = 20  # open cases that one person may have claimed at a time, so that no one takes the whole queue
PAGE = 20  # most urgent cases that are read at once; more than one only where the officer wrote the first ones

router = APIRouter(prefix="/v1/cases", tags=["cases"])


@router.post("/next", openapi_extra={MISSING: "no_case_waits"})
async def claim_next_case(principal: Decider, store: Store, clock: Clock) -> schemas.Case:
    """Claim the most urgent open case that no one has claimed; 20 at most.

    Until `claimed_until`, by the policy in two hours, no other officer is offered it.
    """
    record = await claimed_case(store, clock, principal.scope, principal.actor)
    if record is None:
        raise Refused("no_case_waits")
    return schemas.case(record)


@router.post("/{id}/claim")
async def claim_case(id: str, principal: Decider, store: Store, clock: Clock, metadata: Metadata) -> schemas.Case:
    """Claim this open case; 20 at most. One that the same officer has claimed stays theirs until the same instant."""
    await queries.find_case(store, id, principal.scope)
    return schemas.case(await claim_one(store, clock, id, principal.actor, metadata))


@router.post("/{id}/release")
async def release_case(id: str, principal: Decider, store: Store, clock: Clock, metadata: Metadata) -> schemas.Case:
    """Return a case to the queue; only the officer who claimed it may."""
    await queries.find_case(store, id, principal.scope)
    return schemas.case((await execute(store, id, ReleaseCase(principal.actor), clock, metadata)).record)


async def claimed_case(store: StorePort, clock: KernelClock, scope: str, officer: str) -> Record | None:
    """Claim the next case and count the claim; None if no case is free. Raise Refused: cases_in_hand."""
    result = "limit"
    try:
        record = await claim_next(store, clock, scope, officer)
        result = "claimed" if record else "none"
    finally:
        metrics.CLAIMS.labels(result).inc()
    return record


async def claim_next(store: StorePort, clock: KernelClock, scope: str, officer: str) -> Record | None:
    """Claim and return the most urgent case that is free; skip applicants whom the officer registered.

    Raise Refused: cases_in_hand if the officer has claimed too many, whatever the role and area, and has not decided
    them.
    """
    await _check_in_hand(store, officer, IN_HAND - 1)
    size, tried = PAGE, set[str]()
    while True:
        page = await store.find(queries.queue(scope, OPEN, limit=size))
        for each in page:
            if each.subject in tried or person_of(officer) in authors_of(each.state):
                continue
            if claimed := await _claim(store, clock, each.subject, officer):
                return claimed
            tried.add(each.subject)
        if len(page) < size:
            return None
        size *= 2


async def claim_one(
    store: StorePort, clock: KernelClock, subject: str, officer: str, metadata: CommandMetadata
) -> Record:
    """Claim one case. Raise Refused: cases_in_hand, case_claimed, no_open_case and what else the claim raises."""
    others = await queries.claimed_by(store, officer)
    if subject not in {each.subject for each in others} and len(others) >= IN_HAND:
        raise Refused("cases_in_hand", limit=IN_HAND)
    return (await execute(store, subject, ClaimCase(officer), clock, metadata)).record


async def _claim(store: StorePort, clock: KernelClock, subject: str, officer: str) -> Record | None:
    """Claim a case; None if a colleague was faster. Raise Refused: cases_in_hand."""
    metadata = CommandMetadata(actor=officer)
    try:
        done = await execute(store, subject, ClaimCase(officer), clock, metadata)
    except Refused:
        return None
    if not done.events:  # another request of the same officer has it
        return None
    try:  # again, with this one: of requests at the same time not one too many is answered
        await _check_in_hand(store, officer, IN_HAND)
    except Refused:
        await execute(store, subject, ReleaseCase(officer), clock, metadata)
        raise
    return done.record


async def _check_in_hand(store: StorePort, officer: str, limit: int) -> None:
    """Count the open cases of a person in all areas: one may hold tokens of several."""
    if len(await queries.claimed_by(store, officer)) > limit:
        raise Refused("cases_in_hand", limit=IN_HAND)
