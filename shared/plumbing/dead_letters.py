"""What a person does about parked events: try them again once the rules are mended, or give one up for good."""

from typing import Literal

from msgspec.structs import replace

from contracts.subjects import kind_of
from plumbing.clock import Clock
from plumbing.record import Record, discard, retry
from plumbing.store import Changes, Known, Projection, Store


async def mend(
    store: Store,
    subject: str,
    source: str,
    action: Literal["retry", "discard"],
    who: str,
    reason: str,
    clock: Clock,
    projection: Projection | None = None,
) -> Record:
    """Tries the parked events of one source again, or gives up the first of them, which stays on record.

    Raises Refused (nothing_parked), NewerRules, Transient.
    """
    rules = store.rules[kind_of(subject)]
    mended: list[tuple[Record, Record]] = []

    def change(known: Known) -> Changes:
        before, moment = known[subject], clock()
        if action == "retry":
            after = retry(before, rules, store.service, source, moment)
        else:
            after = discard(before, rules, store.service, source, reason, who, moment)
        mended[:] = [(before, replace(after, version=before.version + 1))]
        return mended

    await store.transact([subject], change, None, projection)
    return mended[0][1]
