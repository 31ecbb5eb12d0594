"""Cancelled tasks end, also if they swallow a cancellation."""

import asyncio
from contextlib import suppress

import pytest

from base.tasks import cancel_and_wait, until_one_ends


async def test_swallowed_cancellation_is_repeated() -> None:
    """On Python 3.11 `wait_for` swallows a cancellation that arrives as it completes, as in a database command."""
    response: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        await asyncio.wait_for(response, 60)
        while True:
            rounds += 1
            await asyncio.sleep(0.01)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    response.set_result(None)
    await asyncio.wait_for(cancel_and_wait(task), 10)
    assert task.cancelled()


async def test_results_and_exceptions_of_the_tasks_are_ignored() -> None:
    """One task has ended, one raises when it is cancelled, one swallows two cancellations."""
    cancellations = 0

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("raised when cancelled")

    async def stubborn() -> None:
        nonlocal cancellations
        for _ in range(3):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                cancellations += 1

    tasks = [asyncio.create_task(each) for each in (asyncio.sleep(0), fails(), stubborn())]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(cancel_and_wait(*tasks), 10)
    assert cancellations == 3 and all(each.done() for each in tasks)
    await cancel_and_wait()


async def test_who_ends_tasks_and_is_cancelled_leaves_none_behind() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    child = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    ending = asyncio.create_task(cancel_and_wait(child))
    await asyncio.sleep(0.01)
    ending.cancel()
    await asyncio.wait([ending], timeout=10)
    assert ending.cancelled() and child.cancelled()


async def test_a_swallowed_cancellation_holds_up_no_end() -> None:
    """The first that ends is what all end with; a task group would wait for the one that goes on."""

    async def fails() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("the first to end")

    async def goes_on() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    with pytest.raises(ValueError, match="the first to end"):
        await asyncio.wait_for(until_one_ends(goes_on(), fails()), 10)
    task = asyncio.create_task(until_one_ends(goes_on(), goes_on()))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(cancel_and_wait(task), 10)
    assert task.cancelled()
