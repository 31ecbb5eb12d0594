"""One worker of the small country as a process of its own, to be killed.

`python -m tests.plumbing.role SERVICE KAFKA MONGO NAME [POINT]`; at POINT it ends by itself, as by `kill -9`.
"""

import asyncio
import signal
import sys

from tests.plumbing.mortal import Life, Point
from tests.plumbing.running import Address, Country


async def main(service: str, kafka: str, mongo: str, name: str, point: str = "") -> None:
    """Works until SIGTERM, or its point."""
    country, stop = Country(Address(kafka, mongo), name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker = Life(Point.of(point)).worker(country, service) if point else country.worker(service)
    await worker.run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
