"""A memory store whose transactions can conflict, as those of MongoDB do: only a document that both write is a lock."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any

from msgspec.structs import replace

from kernel.errors import Conflict, Fenced, Transient
from kernel.record import Parked, Record
from kernel.rules import Rules
from kernel.store import Effects, OffsetRanges, Projection, Snapshot, project
from kernel.stores.memory import MemoryParked, MemoryStore

ATTEMPTS = 100
Key = tuple[Any, ...]  # names a document


class OptimisticStore(MemoryStore):
    """Reads a snapshot, lets others commit, then commits itself unless one of them wrote a document that it writes.

    `projected` is what the projection writes; a transaction that fails leaves it as it was.
    """

    def __init__(
        self, service: str, rules: Mapping[str, Rules], unique: Collection[str] = (), projected: object = None
    ) -> None:
        super().__init__(service, rules, unique)
        self.projected = projected
        self.commits = 0
        self.written: dict[Key, int] = {}  # document -> the last commit that wrote it
        self.parked = _Parked(self)

    async def swap(self, before: Record, after: Record) -> Record | None:
        kept = await super().swap(before, after)
        if kept is not None:
            self.commit([("record", after.subject)])
        return kept

    async def transact(
        self,
        subjects: Collection[str],
        change: Callable[[Snapshot], Effects],
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
        *,
        parked: int = 0,
    ) -> Effects:
        for _ in range(ATTEMPTS):
            await asyncio.sleep(0)
            started = self.commits
            if any(self.positions.get(tp, 0) != start for tp, (start, _) in (ranges or {}).items()):
                raise Fenced
            snapshot = Snapshot(dict(await self.read(subjects)), {}, self.parked.first(subjects, parked))
            effects = change(snapshot)
            await asyncio.sleep(0)  # here others may commit
            keys = [*self._keys(effects), *(("cursor", tp) for tp in ranges or {})]
            if any(self.written.get(key, 0) > started for key in keys):
                continue
            self._check_unique([after for _, after in effects.changes])
            await self._project(projection, effects)
            self.commit(keys)
            self.positions |= {tp: end for tp, (_, end) in (ranges or {}).items()}
            self.parked.write(effects)
            return replace(effects, changes=[(before, self._keep(before, after)) for before, after in effects.changes])
        raise Conflict(f"{ATTEMPTS} conflicts in a row")

    async def _project(self, projection: Projection | None, effects: Effects) -> None:
        before = deepcopy(vars(self.projected)) if projection and self.projected else {}
        try:
            await project(projection, effects, None, (Transient,))
        except BaseException:
            if projection and self.projected:
                vars(self.projected).update(before)
            raise

    def commit(self, keys: Collection[Key]) -> None:
        """Remember which documents were written."""
        self.commits += 1
        self.written |= dict.fromkeys(keys, self.commits)

    def _keys(self, effects: Effects) -> Iterator[Key]:
        for _, after in effects.changes:
            yield "record", after.subject
        for each in (*effects.parked, *effects.heads.values()):
            yield parked_key(each)
        for source, last in effects.unparked.items():
            for each in self.parked.by_source.get(source, {}).values():
                if each.sequence <= last:
                    yield parked_key(each)


def parked_key(parked: Parked) -> Key:
    """Return the name of the document of a parked event."""
    return "parked", parked.subject, parked.source, parked.sequence


class _Parked(MemoryParked):
    """Parked events whose release is a write, too."""

    def __init__(self, store: OptimisticStore) -> None:
        super().__init__()
        self.store = store

    async def release(self, *args: Any, **options: Any) -> int:
        before = {source: dict(events) for source, events in self.by_source.items()}
        released = await super().release(*args, **options)
        changed = [
            parked_key(each)
            for source, events in self.by_source.items()
            for sequence, each in events.items()
            if before[source][sequence] is not each
        ]
        self.store.commit(changed)
        return released
