"""Rotate keys: wrap the key of each person with the current master key, and index each person under the current one.

What is left is found by its version, so that a restart goes on, and nothing is left when both queries find nothing.
Without former keys a worker looks once at each partition: a process that still had them may have stored something.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from time import monotonic

from msgspec.structs import replace

from base.bisection import bisect
from contracts.subjects import PARTITIONS
from kernel.errors import Transient
from kernel.record import Private, Record, reindex
from kernel.store import Effects, Snapshot, Store, read_snapshot
from kernel.stores.mongodb import translate_errors
from registration import metrics, queries
from registration.domain import applicant
from registration.jobs.faults import Faults
from registration.persons import Persons
from security.encryption import LAST_VERSION, Keyring, Sealed

CHUNK = 200  # keys, and applicants, in one call
INTERVAL = 1.0  # seconds between two calls when nothing was left
COUNT_INTERVAL = 60.0  # seconds between two counts of what is left


class KeyRotation:
    """Brings keys and blind indexes to the current version."""

    def __init__(self, store: Store, persons: Persons) -> None:
        self.store, self.persons = store, persons
        self.faults = Faults(store.service, "KeyRotation")  # by applicant, or by id of a key
        self.pause_until, self.count_at, self.prepared = 0.0, 0.0, False  # machine time
        self.done = frozenset[int]()  # partitions of which nothing is left, and nothing will be

    async def __call__(self, partitions: frozenset[int]) -> int:
        """Rotate some keys and indexes; return how many. Raise Transient."""
        partitions -= self.done
        if not partitions or monotonic() < self.pause_until:
            return 0
        keys = await self._rewrap() if 0 in partitions else 0  # keys belong to no partition: one worker is enough
        indexes = await self._reindex(partitions)
        if monotonic() >= self.count_at or not keys + indexes:
            await self._count(partitions)
        if not keys + indexes:
            self.pause_until = monotonic() + INTERVAL
            if not self.persons.keyring.rotating:
                self.done |= partitions
        return keys + indexes

    async def _rewrap(self) -> int:
        async with translate_errors():
            if not self.prepared:
                await self.persons.keys.create_indexes()
                self.prepared = True
            at_fault = len(self.faults.recent())
            renewed, damaged = await self.persons.keys.rewrap(CHUNK + at_fault)
        self.faults.report({f"key {key_id}": Sealed("cannot be unwrapped") for key_id in damaged})
        return renewed

    async def _reindex(self, partitions: frozenset[int]) -> int:
        at_fault = self.faults.recent()
        query = queries.indexed_before(partitions, self.persons.keyring.version, CHUNK + len(at_fault))
        found = [each for each in await self.store.find_subjects(query) if each not in at_fault][:CHUNK]
        snapshot = await read_snapshot(self.store, found) if found else Snapshot({})
        self.faults.report({subject: each.error for subject, each in snapshot.unreadable.items()})
        changed = 0

        async def rotate(subjects: Sequence[str]) -> None:
            nonlocal changed
            records = {subject: snapshot.records[subject] for subject in subjects}
            privates = await self._privates(records)
            written = await self.store.transact(subjects, partial(_change, records, privates))
            changed += len(written.changes)

        self.faults.report(await bisect(rotate, list(snapshot.records), Transient))
        return changed

    async def _privates(self, records: Mapping[str, Record]) -> dict[str, Private]:
        """Return the private parts under the current key.

        Of a person who was erased nothing is left to compute an index from: the former one stays.
        """
        persons, privates = await self.persons.open(list(records.values())), dict[str, Private]()
        for subject, record in records.items():
            indexed = {name: value for name, value in record.private.indexed.items() if name != "index_version"}
            if person := persons.get(subject):
                indexed |= self.persons.rotated(record.state.context.round, person["national_id"])
            privates[subject] = replace(record.private, indexed=indexed)
        return privates

    async def _count(self, partitions: frozenset[int]) -> None:
        self.count_at = monotonic() + COUNT_INTERVAL
        left = await self.store.count(queries.indexed_before(partitions, self.persons.keyring.version))
        async with translate_errors():
            keys = await self.persons.keys.count_outdated() if 0 in partitions else 0
        metrics.ROTATION_LEFT.labels("index").set(left)
        metrics.ROTATION_LEFT.labels("master").set(keys)


async def require_keys(store: Store, keyring: Keyring) -> None:
    """Check that every person is indexed under a configured key: a restored one would register again otherwise.

    Raise Transient.
    """
    used = await store.distinct("index_version", queries.indexed_before(range(PARTITIONS), LAST_VERSION + 1))
    if missing := sorted(used - set(keyring.versions)):
        raise Transient(f"persons are indexed under version {missing[0]} of the keys: add it to PEYVAND_OLDER_KEYS")


def _change(records: Mapping[str, Record], privates: Mapping[str, Private], snapshot: Snapshot) -> Effects:
    """Replace the private parts of those that have not changed meanwhile; the others are found again."""
    return Effects(
        [
            (before, reindex(replace(before, private=privates[subject]), applicant))
            for subject, before in snapshot.records.items()
            if before.version == records[subject].version
        ]
    )
