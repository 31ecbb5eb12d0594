"""Group commit: what arrives during a write is written together in the next one; each item gets its own outcome."""

import asyncio
from collections.abc import Sequence

import pytest

from kernel.errors import Transient
from kernel.group_commit import GroupCommit


class Writer:
    """Records which items are written together; each write waits for `proceed`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.proceed = asyncio.Event()
        self.proceed.set()

    async def write(self, items: Sequence[str]) -> Sequence[Exception | None]:
        """Return an error for "duplicate" items; raise as a whole on "invalid" and "unreachable" ones."""
        self.batches.append(list(items))
        await self.proceed.wait()
        if "unreachable" in items:
            raise Transient("unreachable")
        if "invalid" in items:
            raise ValueError("invalid")
        return [KeyError(each) if each == "duplicate" else None for each in items]


async def test_a_single_item_is_written_at_once_and_later_ones_together() -> None:
    writer = Writer()
    group_commit = GroupCommit(writer.write)
    await group_commit.put("a")
    writer.proceed.clear()
    first = asyncio.create_task(group_commit.put("b"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(group_commit.put(each)) for each in "cde"]
    await asyncio.sleep(0)
    assert not first.done()
    writer.proceed.set()
    await asyncio.gather(first, *others)
    assert writer.batches == [["a"], ["b"], ["c", "d", "e"]]


async def test_an_item_with_an_error_does_not_affect_the_others() -> None:
    group_commit = GroupCommit(Writer().write)
    outcomes = await asyncio.gather(*map(group_commit.put, ["a", "duplicate", "c"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), KeyError, type(None)]


async def test_a_write_that_fails_as_a_whole_is_repeated_item_by_item() -> None:
    """But not if the database is unreachable: then it is unknown which items are stored."""
    writer = Writer()
    group_commit = GroupCommit(writer.write)
    outcomes = await asyncio.gather(*map(group_commit.put, ["a", "invalid", "c"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [type(None), ValueError, type(None)]
    assert writer.batches == [["a", "invalid", "c"], ["a"], ["invalid"], ["c"]]
    outcomes = await asyncio.gather(*map(group_commit.put, ["a", "unreachable"]), return_exceptions=True)
    assert [type(each) for each in outcomes] == [Transient, Transient]


async def test_an_item_whose_caller_was_cancelled_is_written_all_the_same() -> None:
    """A client that closes its connection does not affect the others of the group."""
    writer = Writer()
    group_commit = GroupCommit(writer.write)
    writer.proceed.clear()
    tasks = [asyncio.create_task(group_commit.put(each)) for each in "ab"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    writer.proceed.set()
    await tasks[1]
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert [each for batch in writer.batches for each in batch] == ["a", "b"]
    await group_commit.put("c")
