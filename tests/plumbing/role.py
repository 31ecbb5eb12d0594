"""One worker of the small country as a process of its own, to be killed.

`python -m tests.plumbing.role SERVICE KAFKA MONGO NAME`
"""

import asyncio
import signal
import sys

from tests.plumbing.running import Address, Country


async def main(service: str, kafka: str, mongo: str, name: str) -> None:
    """Works until SIGTERM."""
    country, stop = Country(Address(kafka, mongo), name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await country.worker(service).run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
