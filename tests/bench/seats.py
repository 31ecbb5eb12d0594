"""Allocation of the seats of all provinces by workers that share the ledgers, and by workers that contend for all."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import REGISTRY
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import Moment, system_clock
from base.ids import uuid7
from contracts.envelope import Context, Envelope, encode
from contracts.events import CaseDecided
from contracts.subjects import PARTITIONS, ledger_subject
from kernel.batch import process
from kernel.commands import execute, execute_many
from kernel.record import Message
from kernel.stores.mongodb import MongoStore, connect
from peyvand.performance_report import Measured
from programme.policies import CURRENT
from programme.reference import counties_of, provinces
from registration.domain.applicant import Register
from registration.domain.ledger import SetQuota
from registration.jobs.seat_allocation import Allocator
from registration.service import service
from tests.bench.support.meter import cpu_seconds, micros
from tests.support.registration_api import PROFILE
from tests.support.servers import Servers, started

WORKERS = 8
IDLE = 3  # passes in a row that find nothing to do, until a worker ends
WAIT = 0.05  # seconds between them


async def run(folder: Path, quick: bool) -> Measured:
    """Give the same seats three times. Raise RuntimeError unless each ledger gives exactly its quota."""
    applicants = 50 if quick else 1_000  # of each province, half of whom get a seat
    runs = {"1 worker": (1, True), f"{WORKERS} workers": (WORKERS, True), "all contend": (WORKERS, False)}
    rows = list[list[str]]()
    with started(folder) as servers:
        for name, (workers, shared) in runs.items():
            database = f"seats_{len(rows)}"
            client = connect(servers.mongo)
            await _fill(client[database], applicants)
            before = cpu_seconds(servers.pids["mongod"])
            began, reports = await _allocate(servers, database, workers, shared)
            seconds = max(report["ended"] for report in reports) - began
            await _check(client[database], applicants)
            total = applicants * len(provinces())
            cpu = sum(report["cpu"] for report in reports) / total
            mongod = (cpu_seconds(servers.pids["mongod"]) - before) / total
            conflicts = sum(report["conflicts"] for report in reports)
            rows.append(
                [name, f"{seconds:.1f} s", f"{total / seconds:,.0f}", f"{conflicts:.0f}", micros(cpu), micros(mongod)]
            )
            await client.drop_database(database)
            await client.close()
    return Measured(
        rows=rows,
        notes=[
            f"{applicants:,} approved applicants in each of {len(provinces())} provinces, seats for half of them. "
            "Each ledger gave exactly its quota, and everyone else is on its waiting list."
        ],
    )


async def _fill(database: AsyncDatabase[dict[str, Any]], applicants: int) -> None:
    """Set the quotas; register applicants, and let screening approve them."""
    await service.create_indexes(database)
    store, clock = service.mongo_store(database), system_clock()
    for province in provinces():
        command = SetQuota(round="1404", province=province, policy=CURRENT, quota=applicants // 2, previous=0)
        await execute(store, ledger_subject("1404", province), command, clock)
        county = counties_of(province)[0].code
        context = Context(round="1404", province=province, county=county, field="JF001", policy=CURRENT)
        register = Register(context=context, profile=PROFILE, intake_channel="import")
        subjects = [uuid7() for _ in range(applicants)]
        await execute_many(store, dict.fromkeys(subjects, register), clock)
        await process(store, [_approval(subject, clock()) for subject in subjects], {}, clock)


def _approval(subject: str, moment: Moment) -> Message:
    envelope = Envelope(
        source="screening",
        subject=subject,
        sequence=1,
        time=moment.at,
        event=CaseDecided(application=1, outcome="approved"),
    )
    return Message(envelope, encode(envelope))


async def _allocate(
    servers: Servers, database: str, workers: int, shared: bool
) -> tuple[float, Sequence[dict[str, float]]]:
    """Run workers as processes of their own until they find nothing to do; return when all began, and their reports."""
    owned = [range(PARTITIONS)[n::workers] if shared else range(PARTITIONS) for n in range(workers)]
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.seats", servers.mongo, database, ",".join(map(str, partitions))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for partitions in owned
    ]
    for each in processes:
        assert each.stdout
        await each.stdout.readline()  # it has started
    began = time.monotonic()
    outputs = [output for output, _ in await asyncio.gather(*(each.communicate(b"go\n") for each in processes))]
    if any(each.returncode for each in processes):
        raise RuntimeError("a worker failed, see its output above")
    return began, [msgspec.json.decode(output) for output in outputs]


async def _check(database: AsyncDatabase[dict[str, Any]], applicants: int) -> None:
    store = service.mongo_store(database)
    for province in provinces():
        subject = ledger_subject("1404", province)
        state = (await store.read([subject]))[subject].state
        admitted = await _seated(store, province)
        if not applicants // 2 == state.admitted == admitted == state.quota:
            raise RuntimeError(f"{subject}: {state.admitted} of {state.quota} in the ledger, {admitted} admitted")
    waiting = await database.records.count_documents({"indexed.seating": "waiting"})
    if waiting != (applicants - applicants // 2) * len(provinces()):
        raise RuntimeError(f"{waiting} wait")


async def _seated(store: MongoStore, province: str) -> int:
    return await store.records.count_documents({"indexed.province": province, "indexed.status": "admitted"})


async def _worker(mongo: str, database: str, partitions: frozenset[int]) -> float:
    client = connect(mongo)
    allocator, idle, ended = Allocator(service.mongo_store(client[database]), system_clock()), 0, 0.0
    while idle < IDLE:
        if await allocator(partitions):
            idle, ended = 0, time.monotonic()
        else:
            idle += 1
            await asyncio.sleep(WAIT)
    await client.close()
    return ended


def main(mongo: str, database: str, partitions: str) -> None:
    """Allocate once a line arrives at standard input; print a line of JSON."""
    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    ended = asyncio.run(_worker(mongo, database, frozenset(map(int, partitions.split(",")))))
    conflicts = REGISTRY.get_sample_value("peyvand_registration_allocation_conflicts_total") or 0.0
    print(msgspec.json.encode({"ended": ended, "cpu": time.process_time() - cpu, "conflicts": conflicts}).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
