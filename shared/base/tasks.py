"""Tasks that run beside others."""

import asyncio
from typing import Any

AGAIN = 1.0  # seconds after which a task that goes on is cancelled once more


async def cancel_and_wait(*tasks: "asyncio.Future[Any]") -> None:
    """Cancels them until all have ended; what they end with is not looked at.

    Once is not enough: up to Python 3.11 `asyncio.wait_for`, by which pymongo and aiokafka send, swallows a
    cancellation that comes as it is done (python/cpython#86296), and a loop then goes on for ever.
    """
    left = set(tasks)
    while left:
        for each in left:
            each.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)
    await asyncio.gather(*tasks, return_exceptions=True)
