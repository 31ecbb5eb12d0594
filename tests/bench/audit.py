"""The audit of identities: readings that are recorded in a second, by chains of each process and by one for all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pymongo.errors import DuplicateKeyError

from base.clock import machine_now
from kernel.stores.mongodb import connect
from peyvand.performance_report import Measured, Verdict
from security.audit import AuditRow, MongoAudit, following, row_of
from security.audit_heads import public_key, sign_head, signing_key, verify
from security.encryption import Keyring
from tests.bench.support.meter import millis, quantile
from tests.support.servers import started

PROCESSES, CLIENTS, ROUNDS = 4, 32, 3  # chains, readings at a time, rounds in turns
Append = Callable[[str, str, str, Any], Awaitable[None]]


class OneChain:
    """The obvious alternative: every process follows the last row of all."""

    def __init__(self, database: Any) -> None:
        self.rows = database.one

    async def append(self, actor: str, subject: str, purpose: str, at: Any) -> None:
        """Append one row; again if another one took its number."""
        while True:
            found = await self.rows.find_one({}, sort=[("_id", -1)])
            last: AuditRow | None = row_of(found) if found else None
            row = following(last, "one", actor, subject, purpose, at)
            values = {"at": row.at, "actor": actor, "subject": subject, "purpose": purpose}
            try:
                await self.rows.insert_one(
                    {"_id": f"one/{row.n:010}", **values, "previous": row.previous, "hash": row.hash}
                )
            except DuplicateKeyError:
                continue
            return


async def run(folder: Path, quick: bool) -> Measured:
    """Record readings, in turns; then sign and verify them."""
    many, few = (2_000, 200) if quick else (20_000, 1_000)
    rates, seconds = dict[str, list[float]](chains=[], one=[]), dict[str, list[float]](chains=[], one=[])
    with started(folder) as servers:
        client = connect(servers.mongo)
        database = client.audit_bench
        for _ in range(ROUNDS):
            for name, count, make in (("chains", many, MongoAudit), ("one", few, OneChain)):
                appends = [make(database).append for _ in range(PROCESSES)]
                rate, waited = await _record(appends, count)
                rates[name].append(rate)
                seconds[name] += waited
        key = signing_key(Keyring("m" * 32, "i" * 32))
        await sign_head(database, key, machine_now())
        began = time.perf_counter()
        found = await verify(database, public_key(key), machine_now())
        verified = found.rows / (time.perf_counter() - began)
        assert not found.defects and found.rows == ROUNDS * many
        await client.drop_database(database)
        await client.close()
    titles = {"chains": "a chain for each process", "one": "one chain for all"}
    rows = [
        [titles[name], f"{median(rates[name]):,.0f}", *(millis(quantile(seconds[name], q)) for q in (0.5, 0.99))]
        for name in titles
    ]
    return Measured(
        rows=rows,
        verdicts=[Verdict("readings a second, a chain for each process", median(rates["chains"]), 1_000, digits=0)],
        notes=[
            f"{PROCESSES} chains, {CLIENTS} readings at a time. `peyvand audit` verifies {verified:,.0f} rows a second."
        ],
    )


async def _record(appends: Sequence[Append], count: int) -> tuple[float, list[float]]:
    """Record this many readings; return how many a second, and the seconds that each took."""
    left, seconds = iter(range(count)), list[float]()

    async def read(append: Append) -> None:
        for n in left:
            began = time.perf_counter()
            await append(f"screener:{n % 50}", f"0199a000-0000-7000-8000-{n:012}", "application", machine_now())
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(read(appends[n % len(appends)]) for n in range(CLIENTS)))
    return count / (time.perf_counter() - began), seconds
