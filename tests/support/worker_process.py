"""One worker of a small service as a process of its own, for tests that kill it.

`python -m tests.support.worker_process SERVICE KAFKA MONGO NAME [POINT]`; at the crash point it ends as by `kill -9`.
With PEYVAND_TEST_NEWER_CONTRACTS set it knows the event types of `newer_contracts`.
"""

import asyncio
import os
import signal
import sys

import msgspec

from base.kafka_access import KafkaAccess


async def main(service: str, kafka: str, mongo: str, name: str, point: str = "") -> None:
    """Run a worker until SIGTERM, or until its crash point."""
    if os.environ.get("PEYVAND_TEST_NEWER_CONTRACTS"):
        from tests.support import newer_contracts

        newer_contracts.register()  # before the kernel is imported, which compiles a decoder of the types that exist
    from tests.support.short_names import accept_short_names

    accept_short_names()
    from tests.support.crash_injection import CrashingProcess, CrashPoint
    from tests.support.small_workers import Address, SmallSystem

    address = Address(msgspec.json.decode(kafka, type=KafkaAccess), mongo)
    small_system, stop = SmallSystem(address, name), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if point:
        worker = CrashingProcess(CrashPoint.parse(point)).worker(small_system, service)
    else:
        worker = small_system.worker(service)
    await worker.run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
