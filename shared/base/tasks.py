"""Cancellation of asyncio tasks, and time slices of long work."""

import asyncio
import time
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
    cancellation that arrives as it completes (python/cpython#86296), and a loop then never ends.
    """
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=REPEAT)
    await asyncio.gather(*tasks, return_exceptions=True)
