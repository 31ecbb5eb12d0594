"""When Python's garbage collector runs.

A full collection looks at every object: with thousands of connections it stops a process for 60 to 100 ms, and Python
begins one with every few hundred connections. Most garbage is freed without it, or by a collection of young objects.
"""

import gc

BATCHES = 10_000  # new objects between two collections of the youngest generation, in a worker
REQUESTS = 2_000  # where requests wait meanwhile; Python's default is 700
YOUNG = 5  # collections of the youngest generation between two of the middle one
NEVER = 1_000_000_000  # collections of the middle generation between two full ones
FULL_COLLECTION_INTERVAL = 60  # seconds


def collect_rarely(young_objects: int = REQUESTS) -> None:
    """Let the garbage collector skip what is loaded, and never begin a full collection: see `collect_all`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(young_objects, YOUNG, NEVER)


async def collect_all() -> None:
    """Collect everything; to be awaited every 60 s, by uvicorn or by a task of the loop."""
    gc.collect()
