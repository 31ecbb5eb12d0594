"""Tracking codes: follow an application by its code, and replace a code that was lost."""

import math
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request

from base.ids import typed_code
from contracts.commands import Refused
from kernel.commands import CommandMetadata
from kernel.record import Record
from kernel.store import Effects, Snapshot, read_snapshot
from observability.metrics import RATE_LIMITED
from programme.numbers import national_id
from registration import metrics, queries, schemas
from registration.api.dependencies import Guard, Registrations
from registration.api.rounds import RoundId
from registration.domain.application import telephone
from registration.jobs.messages import requested
from registration.registrations import RegistrationService
from security.auth import Principal
from web.authorization import allow, public
from web.idempotency import idempotent
from web.pagination import Etag, etagged
from web.rate_limit import caller_of, limited

LIMIT = "tracking_misses"  # name of the rate limit
MISSES_PER_MINUTE = 300.0  # of all callers of one process
MISSES_WHILE_GUESSED = 1 / 60  # a minute: a caller who missed waits for an hour while that limit is exceeded

router = APIRouter(prefix="/v1", tags=["tracking"])


@router.get("/tracking/{code}", dependencies=[limited("tracking", per_minute=30)])
async def tracking(
    code: Annotated[str, Path(max_length=40, examples=["9H2K4-MZQ7B"])],
    request: Request,
    principal: Annotated[Principal, public()],
    registrations: Registrations,
    etag: Annotated[Etag, etagged()],
) -> schemas.Tracked:
    """Return status and dates of the application with this tracking code, without identity; read only."""
    record = await find_by_code(request, principal, registrations, code)
    etag.match(record.version)
    return schemas.tracked(record, typed_code(code))


@router.post("/rounds/{round_id}/tracking-codes", dependencies=[limited("tracking-codes", per_minute=30, burst=100)])
async def reissue_code(
    round_id: RoundId,
    body: schemas.LostCode,
    request: Request,
    principal: Annotated[Principal, allow("reissue_tracking_code")],
    registrations: Registrations,
    guard: Guard,
    metadata: Annotated[CommandMetadata, idempotent(required=True)],
) -> schemas.Reissued:
    """Issue another tracking code to an applicant who has lost theirs and is at the desk, with their national card.

    The former code is void at once, the event names the officer, and only this answer shows the new code. Who is not
    registered in the officer's scope is not found; these answers count like "already registered".
    """
    async with guard.attempt(request, principal):
        known = await registrations.find_person(round_id, principal.scope, national_id(body.national_id))
        if known is None:
            raise Refused("not_registered", field="national_id")
    record = await registrations.reissue_code(known.subject, metadata)
    return schemas.reissued(record, registrations.codes.code_of(record))


async def find_by_code(
    request: Request, principal: Principal, registrations: RegistrationService, typed: str
) -> Record:
    """Return the applicant with a tracking code; slow down callers who try codes, from however many addresses.

    While the callers together miss more often than the limit, one who has missed is refused, whatever they type; a
    first attempt is always answered. Raise Refused: not_found, too_many_requests.
    """
    buckets, caller = request.app.state.buckets, caller_of(request, principal)
    exceeded = buckets.charge(LIMIT, "", 0, MISSES_PER_MINUTE, MISSES_PER_MINUTE)
    if exceeded and (wait := buckets.charge(LIMIT, caller, 0, MISSES_WHILE_GUESSED, 0)):
        RATE_LIMITED.labels(request.app.state.settings.service, LIMIT).inc()
        raise Refused("too_many_requests", seconds=math.ceil(wait))
    try:
        return await registrations.codes.find(registrations.store, typed)
    except Refused:
        buckets.charge(LIMIT, "", 1, MISSES_PER_MINUTE, MISSES_PER_MINUTE)
        buckets.charge(LIMIT, caller, 1, MISSES_WHILE_GUESSED, 0)
        metrics.TRACKING_MISSES.inc()
        raise


async def send_again(registrations: RegistrationService, national_id: str, mobile: str) -> bool:
    """Have the code of this person, in their latest round, sent to this number (E.164) if it is the one on record.

    The code stays the same: a form that anyone can send must not void the code of someone else.
    Return whether a message is to be sent: not if the person is unknown, the number another one, or the limit of the
    day reached. Who asks must not learn which. Raise Transient.
    """
    store, persons = registrations.store, registrations.persons
    rounds = [each.state.round for each in await store.find(queries.rounds())]
    people = [index for each in rounds for index in persons.indexes_of(each, national_id)]
    subjects = set((await store.find_by_unique("person", people)).values()) if people else set()
    found = (await read_snapshot(store, subjects)).records if subjects else {}
    identities = await persons.open(list(found.values())) if found else {}
    own = [found[subject] for subject, person in identities.items() if telephone(person) == mobile]
    if not own:
        return False
    latest = max(own, key=lambda record: record.state.context.round).subject

    def request(snapshot: Snapshot) -> Effects:
        before = snapshot.record(latest)
        after = requested(before, "lost_code", registrations.clock().at)
        return Effects([] if after is before else [(before, after)])

    return bool((await store.transact([latest], request)).changes)
