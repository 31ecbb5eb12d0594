"""What a caller may see and change in market."""

import msgspec

from contracts.commands import Refused
from kernel.record import Record
from kernel.store import Store
from market import queries
from security.auth import Principal


class AccessScope(msgspec.Struct, frozen=True):
    """An area, and the lead enterprise of the caller: with it the caller sees only what is its own."""

    scope: str
    lead: str = ""


async def access_scope_of(store: Store, principal: Principal) -> AccessScope:
    """Return the scope of an officer; for a lead enterprise the province that it joined. Raise Refused: forbidden."""
    if principal.roles != {"lead"}:
        return AccessScope(principal.scope)
    record = await queries.find_lead(store, principal.lead)
    if record is None:
        raise Refused("forbidden")
    return AccessScope(record.indexed["scope"], principal.lead)


async def find_producer(store: Store, id: str, access: AccessScope) -> Record:
    """Return a producer; one outside the scope is not found. Raise Refused: not_found."""
    record = await queries.find_producer(store, id, access.scope)
    if record is None:
        raise Refused("not_found")
    return record


async def split_id(store: Store, id: str, access: AccessScope, what: str) -> tuple[str, str]:
    """Split the public id of an `offer` or `connection`: `<producer>.o1` -> (producer, `o1`).

    Raise Refused, as the rules do for one that does not exist, if there is no such producer inside the scope.
    """
    subject, _, name = id.rpartition(".")
    if await queries.find_producer(store, subject, access.scope) is None:
        raise Refused(f"{what}_unknown", what)
    return subject, name
