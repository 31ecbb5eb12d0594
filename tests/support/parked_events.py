"""Parked events of a store: what a test needs to look at them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kernel.batch import drain, process
from kernel.record import BLOCKED, Message, Parked, Record
from kernel.store import Source
from kernel.stores.memory import MemoryStore
from tests.support.small_services import noon

EVERYWHERE = range(32)
REGISTRATION = ("p", "registration")


async def settle(store: Any, *batches: Sequence[Message], projection: Any = None, clock: Any = noon) -> None:
    """Process batches as a worker does, draining after each."""
    for batch in batches or ([],):
        await process(store, batch, {}, clock, projection)
        while await drain(store, EVERYWHERE, clock, projection):
            pass


async def record(store: Any, subject: str = "p") -> Record:
    found: Record = (await store.read([subject]))[subject]
    return found


async def head(store: Any, source: Source = REGISTRATION) -> Parked:
    """Return the head of a source, if there is exactly one."""
    (found,) = [each for each in await store.parked.heads([*BLOCKED, "early", "ready"]) if _source(each) == source]
    assert isinstance(found, Parked)
    return found


async def parked(store: Any) -> Mapping[Source, list[Parked]]:
    """Return all parked events by source; check that the first of each is its head and counts the rest."""
    found: dict[Source, list[Parked]] = {}
    if isinstance(store, MemoryStore):
        for source, by_sequence in store.parked.by_source.items():
            found[source] = [each for _, each in sorted(by_sequence.items())]
    else:
        async for d in store.parked.collection.find(sort=[("subject", 1), ("source", 1), ("sequence", 1)]):
            source = d["subject"], d["source"]
            assert d.get("head", False) == (source not in found), f"a wrong or missing head: {d['_id']}"
            if source not in found:
                found[source] = await store.parked.events(source, 0)
    heads = {_source(each): each for each in await store.parked.heads([*BLOCKED, "early", "ready"])}
    assert heads.keys() == found.keys()
    for source, events in found.items():
        assert heads[source].sequence == events[0].sequence == min(each.sequence for each in events)
        assert heads[source].behind == len(events) - 1, source
        assert all(each.reason in ("early", "invalid") for each in events[1:])
    return found


def _source(each: Parked) -> Source:
    return each.subject, each.source
