"""What runs beside others ends when it is told to."""

import asyncio

from base.tasks import cancel_and_wait


async def test_a_swallowed_cancellation_is_repeated() -> None:
    """As in a command to the database that is done in the very moment: on Python 3.11 the loop hears nothing of it."""
    sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        await asyncio.wait_for(sent, 60)
        while True:
            rounds += 1
            await asyncio.sleep(0.01)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    sent.set_result(None)
    await asyncio.wait_for(cancel_and_wait(task), 10)
    assert task.cancelled()


async def test_whatever_they_end_with_is_no_matter() -> None:
    """One that has ended, one that fails as it is told to, one that swallows it twice."""
    told = 0

    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("as it ended")

    async def stubborn() -> None:
        nonlocal told
        for _ in range(3):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                told += 1

    tasks = [asyncio.create_task(each) for each in (asyncio.sleep(0), fails(), stubborn())]
    await asyncio.sleep(0.01)
    await asyncio.wait_for(cancel_and_wait(*tasks), 10)
    assert told == 3 and all(each.done() for each in tasks)
    await cancel_and_wait()
