"""Count the seats of every ledger again after a restore: its applicants come back from the log, its count does not.

A ledger has no events of its own about its seats: it folds those of its applicants when they are emitted. A restored
ledger would give again the seats that were given after the backup.
"""

from collections import Counter

from msgspec.structs import replace

from contracts.subjects import ledger_subject
from kernel.record import reindex
from kernel.store import Store
from registration import queries
from registration.domain import ledger


async def recount_ledgers(store: Store) -> int:
    """Set how many seats of each ledger are taken; return how many ledgers differed. Repeatable.

    A ledger that another worker has written meanwhile is counted again. Raise NewerRules, UnreadableRecord, Transient.
    """
    changed = 0
    while differing := await _recount(store):
        changed += differing
    return changed


async def _recount(store: Store) -> int:
    """Correct the ledgers; return how many differed.

    They are read first: whatever gives or releases a seat writes its ledger. A withdrawal does not: who withdraws
    between the two counts is counted twice, never missed, and counted again.
    """
    ledgers, taken = await store.find(queries.every_ledger()), Counter[str]()
    for round_id in {each.state.round for each in ledgers}:
        for province, n in (await store.count_by("province", queries.seated(round_id))).items():
            taken[ledger_subject(round_id, province)] += n
        taken.update(await store.count_by("ledger", queries.releasing(round_id)))
    differing = [each for each in ledgers if each.state.admitted != taken[each.subject]]
    for before in differing:
        after = replace(before, state=replace(before.state, admitted=taken[before.subject]))
        await store.swap(before, reindex(after, ledger))
    return len(differing)
