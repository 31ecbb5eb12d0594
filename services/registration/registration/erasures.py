"""Erase applicants: what is in no event goes with the write of the event, and their keys are destroyed after it.

The event comes first, so that nothing is lost if it cannot be stored. The write of the event marks the record as
`erasing`; the worker destroys the key and removes the mark, and tries again until both have succeeded.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any

from msgspec.structs import replace

from base.bisection import bisect
from base.clock import Clock
from kernel.commands import CommandMetadata, Result, execute
from kernel.errors import Transient
from kernel.record import Private, Record, reindex
from kernel.store import Effects, Snapshot, Store, read_snapshot
from kernel.stores.mongodb import translate_errors
from registration import metrics, queries
from registration.domain import applicant
from registration.domain.applicant import Erase
from security.encryption import KeyBlocks

INTERVAL = 1.0  # seconds between two queries for keys to be destroyed
CHUNK = 500  # applicants in one transaction


class Erasures:
    """Erases applicants; as a job of the worker, destroys the keys of those who were erased."""

    def __init__(self, store: Store, keys: KeyBlocks, clock: Clock) -> None:
        self.store, self.keys, self.clock = store, keys, clock
        self.queried_at = -INTERVAL  # machine time

    async def erase(self, subject: str, reason: str, metadata: CommandMetadata) -> Result:
        """Erase an applicant; of one who was erased before return the record as it is.

        Raise Refused (not_registered, reason_unknown), KeyReused, NewerRules, UnreadableRecord, Transient.
        """
        metadata = replace(metadata, prepare=partial(_forget, at=self.clock().recorded))
        done = await execute(self.store, subject, Erase(reason), self.clock, metadata)
        if done.events:
            metrics.ERASURES.labels(reason).inc()
        return done

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Destroy the keys of erased applicants of these partitions; return of how many. Raise Transient."""
        if monotonic() - self.queried_at < INTERVAL:
            return 0
        self.queried_at = monotonic()
        subjects = await self.store.find_subjects(queries.erasing(partitions, CHUNK))
        records = (await read_snapshot(self.store, subjects)).records.values() if subjects else ()
        waiting = [each for each in records if "erasing" in each.private.indexed]
        now, since = self.clock().recorded, [each.private.indexed["erasing"] for each in waiting]
        metrics.KEY_DESTRUCTION_OLDEST.set(max(((now - at).total_seconds() for at in since), default=0))
        confirmed = await self._destroy_keys(waiting) if waiting else 0
        metrics.KEYS_DESTROYED.inc(confirmed)
        return confirmed

    async def repeat(self) -> None:
        """Erase every erased applicant once more: a restored backup, of the data or of the keys, may be older.

        Raise NewerRules, UnreadableRecord, Transient.
        """
        for each in await self.store.find(queries.rounds()):
            after = ""
            while found := await self.store.find(queries.applications(each.state.round, "", "erased", after, CHUNK)):
                await self._destroy_keys(found)
                after = found[-1].subject

    async def _destroy_keys(self, records: Sequence[Record]) -> int:
        """Destroy the keys, then remove the marks; return how many records changed.

        Raise what one of them raises when all have been tried.
        """
        async with translate_errors():
            await self.keys.destroy(list(_key_ids(records)))
        changed = 0

        async def confirm(subjects: Sequence[str]) -> None:
            nonlocal changed
            changed += len((await self.store.transact(subjects, _confirm)).changes)

        for fault in (await bisect(confirm, [each.subject for each in records], Transient)).values():
            raise fault
        return changed


def _forget(record: Record, at: datetime) -> Record:
    """Leave of what is in no event the indexes, and the id of the key that is to be destroyed."""
    key_ids = list(_key_ids([record]))
    indexed = {**record.private.indexed, **({"erasing": at} if key_ids else {})}
    content: dict[str, Any] = {"key_id": key_ids[0]} if key_ids else {}
    return replace(record, private=Private(indexed, content), stored_responses=())


def _confirm(snapshot: Snapshot) -> Effects:
    """Remove the mark of erased applicants whose keys are destroyed, and whatever an older backup has brought back."""
    changes = []
    for before in snapshot.records.values():
        key_ids = list(_key_ids([before]))
        indexed = {name: value for name, value in before.private.indexed.items() if name != "erasing"}
        private = Private(indexed, {"key_id": key_ids[0]} if key_ids else {})
        if before.state.erased_at and private != before.private:
            responses = () if "sealed" in before.private.content else before.stored_responses
            after = replace(before, private=private, stored_responses=responses)
            changes.append((before, reindex(after, applicant)))
    return Effects(changes)


def _key_ids(records: Iterable[Record]) -> Iterable[str]:
    return (each.private.content["key_id"] for each in records if "key_id" in each.private.content)
