"""Cancellation of asyncio tasks, and time slices of long work."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

REPEAT = 1.0  # seconds after which a task that is still running is cancelled again
SLICE = 0.002  # seconds in which long work may occupy the event loop


class TimeSlices:
    """Lets other tasks run during long work: `await slices()` after each piece suspends every few milliseconds."""

    def __init__(self) -> None:
        self.until = time.perf_counter() + SLICE

    async def __call__(self) -> None:
        """Suspend if the slice is over."""
        if time.perf_counter() >= self.until:
            await asyncio.sleep(0)
            self.until = time.perf_counter() + SLICE


async def cancel_and_wait(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks until all have ended; ignore their results and exceptions.

    One cancellation is not enough: up to Python 3.11 `asyncio.wait_for`, which pymongo and aiokafka use, swallows a
    cancellation that arrives as it completes (python/cpython#86296), and a loop then never ends. A cancellation of the
    caller is raised when they have ended.
    """
    running, own = set(tasks), None
    while running:
        for task in running:
            task.cancel()
        try:
            _, running = await asyncio.wait(running, timeout=REPEAT)
        except asyncio.CancelledError as cancelled:  # of the caller: leave nothing running behind
            own, running = cancelled, {each for each in running if not each.done()}
    await asyncio.gather(*tasks, return_exceptions=True)
    if own:
        raise own


async def until_one_ends(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run coroutines beside each other until one ends; end the others. Raise what it ended with.

    `asyncio.TaskGroup` cancels only once: one swallowed cancellation, and it waits for ever.
    """
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*tasks)
    for task in done:
        task.result()
