"""Bisection: only the items that raise alone are returned, and what concerns no single item is raised."""

from collections.abc import Sequence

import pytest

from base.bisection import bisect


@pytest.mark.parametrize("bad", [[], [0], [7], [3, 4], range(10)])
async def test_the_items_that_raise_are_found_and_all_others_are_done_once(bad: Sequence[int]) -> None:
    done = list[int]()

    async def call(items: Sequence[int]) -> None:
        if found := [item for item in items if item in bad]:
            raise ValueError(*found)
        done.extend(items)

    raised = await bisect(call, list(range(10)), OSError)
    assert {item: error.args for item, error in raised.items()} == {item: (item,) for item in bad}
    assert done == [item for item in range(10) if item not in bad]


async def test_nothing_is_called_for_no_items() -> None:
    async def call(items: Sequence[int]) -> None:
        raise AssertionError

    assert await bisect(call, [], OSError) == {}


async def test_what_concerns_no_single_item_is_raised_at_once() -> None:
    calls = list[Sequence[int]]()

    async def call(items: Sequence[int]) -> None:
        calls.append(items)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await bisect(call, [1, 2], OSError)
    assert calls == [[1, 2]]
