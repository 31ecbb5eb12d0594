"""One worker of the small country as a process of its own, to be killed.

`python -m tests.support.worker_process SERVICE KAFKA MONGO NAME [POINT]`; at POINT it ends by itself, as by `kill -9`.
"""

import asyncio
import signal
import sys

from tests.support.crash_injection import Life, Point
from tests.support.small_workers import Address, SmallSystem


async def main(service: str, kafka: str, mongo: str, name: str, point: str = "") -> None:
    """Works until SIGTERM, or its point."""
    small_system, stop = SmallSystem(Address(kafka, mongo), name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker = Life(Point.of(point)).worker(small_system, service) if point else small_system.worker(service)
    await worker.run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
