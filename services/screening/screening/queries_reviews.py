"""The second looks of an area from counters: which approvals wait for one, and how the others ended."""

import msgspec

from kernel.record import Record
from kernel.store import Store
from programme.reference import provinces
from screening.domain.applicant import reviews_of
from screening.domain.review import AGREED, DISAGREED, PENDING
from screening.queries import numbered


class Reviews(msgspec.Struct, frozen=True):
    """The drawn approvals that wait for a second look, the longest first, and how many were confirmed and not."""

    pending: list[Record]
    agreed: int
    disagreed: int


async def find_reviews(store: Store, scope: str) -> Reviews:
    """Return the second looks inside a scope. Raise Transient."""
    areas = [scope] if scope else list(provinces())
    groups = (await store.counts([reviews_of(area) for area in areas])).values()
    numbers = [name for group in groups for name, n in group.items() if n > 0 and name not in (AGREED, DISAGREED)]
    found = await store.find(numbered(scope, sorted(numbers)))
    waiting = [each for each in found if each.indexed.get("review") == PENDING]
    agreed, disagreed = (sum(group.get(name, 0) for group in groups) for name in (AGREED, DISAGREED))
    return Reviews(sorted(waiting, key=lambda each: (each.state.case.decided, each.subject)), agreed, disagreed)
