"""Find who cannot be identified after a restore: the archive of keys may end before that of the data.

Nothing would open their identity for ever, and nothing would list them: the blind index still refuses the same person.
"""

from msgspec.structs import replace

from contracts.subjects import PARTITIONS
from kernel.record import Record, reindex
from kernel.store import Store
from kernel.stores.mongodb import translate_errors
from registration import queries
from registration.domain import applicant
from registration.persons import Persons

CHUNK = 500  # applicants that are looked at together


async def list_lost_identities(store: Store, persons: Persons) -> int:
    """List as unidentified whose key is lost; return how many. A destroyed key is not lost. Repeatable.

    Raise Transient.
    """
    return sum([await _list_lost(store, persons, partition) for partition in range(PARTITIONS)])


async def _list_lost(store: Store, persons: Persons, partition: int) -> int:
    changed, after = 0, None
    while found := await store.find(queries.every_indexed(partition, CHUNK, after)):
        after = found[-1].indexed["index_version"], found[-1].subject
        sealed = {key_id: each for each in found if (key_id := _key_id(each))}
        async with translate_errors():
            lost = await persons.keys.lost(sealed)
        for key_id in lost:
            before = sealed[key_id]
            marked = replace(before, state=replace(before.state, unidentified=True))
            changed += await store.swap(before, reindex(marked, applicant)) is not None
    return changed


def _key_id(record: Record) -> str:
    """Return the key of an identity that is neither listed yet nor erased; empty if there is none."""
    return "" if record.state.unidentified or record.state.erased_at else record.private.content.get("key_id", "")
