"""Group commit: what comes while one write is under way goes together in the next, and each is told its own fate."""

import asyncio
from collections.abc import Sequence

import pytest

from kernel.errors import Transient
from kernel.group_commit import GroupCommit


class Written:
    """Remembers what was written together; each write waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def write(self, items: Sequence[str]) -> Sequence[Exception | None]:
        """Refuses what is called bad; knows nothing to do with what is called worse, or while it is away."""
        self.batches.append(list(items))
        await self.go.wait()
        if "away" in items:
            raise Transient("away")
        if "worse" in items:
            raise ValueError("worse")
        return [KeyError(each) if each == "bad" else None for each in items]


async def test_alone_at_once_and_together_what_came_meanwhile() -> None:
    """One, then all that waited."""
    written = Written()
    gathering = GroupCommit(written.write)
    await gathering.put("a")
    written.go.clear()
    first = asyncio.create_task(gathering.put("b"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(gathering.put(each)) for each in "cde"]
    await asyncio.sleep(0)
    assert not first.done()
    written.go.set()
    await asyncio.gather(first, *others)
    assert written.batches == [["a"], ["b"], ["c", "d", "e"]]


async def test_each_meets_its_own_fault() -> None:
    """The others are written."""
    gathering = GroupCommit(Written().write)
    outcomes = await asyncio.gather(*map(gathering.put, ["a", "bad", "c"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), KeyError, type(None)]


async def test_what_stops_a_whole_write_is_one_items_trouble() -> None:
    """Tried one by one, unless the database is away: then nobody knows."""
    written = Written()
    gathering = GroupCommit(written.write)
    outcomes = await asyncio.gather(*map(gathering.put, ["a", "worse", "c"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), ValueError, type(None)]
    assert written.batches == [["a", "worse", "c"], ["a"], ["worse"], ["c"]]
    outcomes = await asyncio.gather(*map(gathering.put, ["a", "away"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [Transient, Transient]


async def test_who_no_longer_waits_is_written_all_the_same() -> None:
    """A client that went away takes nobody with it."""
    written = Written()
    gathering = GroupCommit(written.write)
    written.go.clear()
    tasks = [asyncio.create_task(gathering.put(each)) for each in "ab"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    written.go.set()
    await tasks[1]
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert [each for batch in written.batches for each in batch] == ["a", "b"]
    await gathering.put("c")
