"""Registration's POST against the naive one: closed loop, in turns."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from pymongo import AsyncMongoClient

from peyvand.local_cluster.processes import free_ports
from peyvand.performance_report import Measured, Verdict
from peyvand.simulation.plan import ROUND
from programme.policies import CURRENT
from programme.reference import job_fields, provinces
from registration.service import service
from tests.bench.support.http_load import PATH, People, Response, closed_loop
from tests.bench.support.meter import Costs, Meter, micros, millis, quantile, rates, together
from tests.bench.support.role_processes import Running, role, script
from tests.support import servers as real_servers
from tests.support.tokens import Issuer

CLIENTS = 16
NAIVE, OURS = "naive", "Peyvand"


async def run(folder: Path, quick: bool) -> Measured:
    """Measure rounds in turns: naive, ours, naive, ours."""
    rounds, seconds = (2, 2.0) if quick else (4, 6.0)
    issuer = Issuer(folder)
    port = free_ports({"naive": None})["naive"]
    with real_servers.started(folder) as servers:
        await _prepare(servers.mongo)
        naive = script("naive", str(port), servers.mongo, log=folder / "naive.log", port=port)
        with naive as one, role("registration", "api", servers, folder, issuer) as other:
            one.wait()
            other.wait()
            await _open_round(other, issuer)
            people = People({code: issuer.token("registrar", id=f"of-{code}", province=code) for code in provinces()})
            rounds_of = {NAIVE: list[_Round](), OURS: list[_Round]()}
            for n in range(rounds + 1):  # the first warms both up
                for name, server, path in ((NAIVE, one, PATH.removeprefix("/registration/v1")), (OURS, other, PATH)):
                    measured = await _round(server, servers.pids["mongod"], people, path, 1.0 if n == 0 else seconds)
                    if n:
                        rounds_of[name].append(measured)
    return _results(rounds_of, rounds)


class _Round:
    def __init__(self, responses: Sequence[Response], costs: Costs) -> None:
        failed = [each for each in responses if each.status != 201]
        if failed:
            raise RuntimeError(f"{len(failed)} of {len(responses)} requests failed, the first: {failed[0]}")
        self.costs, self.n = costs, len(responses)
        self.seconds = [each.seconds for each in responses]
        self.rate = len(responses) / (max(each.received_at for each in responses) - min(each.due for each in responses))


async def _round(server: Running, mongod: int, people: People, path: str, seconds: float) -> _Round:
    requests = people.requests(int(2_500 * seconds), path)
    meter = Meter({"server": server.pid, "mongod": mongod})
    responses = await closed_loop(server.port, requests, CLIENTS, seconds)
    return _Round(responses, meter.read())


async def _prepare(mongo: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongo) as client:
        await service.create_indexes(client.registration)
        await client.naive.create_collection("applications")


async def _open_round(server: Running, issuer: Issuer) -> None:
    now = datetime.now(UTC)
    window = {
        "opens": (now - timedelta(days=1)).isoformat(),
        "closes": (now + timedelta(days=100)).isoformat(),
    }
    body = {"fields": sorted(job_fields()), **window, "windows": [], "policy": CURRENT}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        response = await http.put(
            f"/registration/v1/rounds/{ROUND}", json=body, headers=issuer.bearer("ministry_admin"), timeout=30
        )
        response.raise_for_status()


def _results(rounds_of: dict[str, list[_Round]], rounds: int) -> Measured:
    rows, processes = [], []
    for name, each in rounds_of.items():
        costs, n = together([r.costs for r in each]), median(r.n for r in each)
        seconds = [s for r in each for s in r.seconds]
        rows.append(
            [
                name,
                f"{median(r.rate for r in each):,.0f} ({rates([r.rate for r in each])})",
                millis(quantile(seconds, 0.5)),
                millis(quantile(seconds, 0.99)),
                micros(costs.cpu["server"] / n),
                micros(costs.cpu["mongod"] / n),
            ]
        )
        processes += costs.rows(name, round(n))
    ratios = [ours.rate / naive.rate for naive, ours in zip(rounds_of[NAIVE], rounds_of[OURS], strict=True)]
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=[Verdict("requests/s, ours : naive, median of the rounds", median(ratios), 0.6)],
        notes=[f"{rounds} rounds in turns, ratio of each: {', '.join(f'{r:.2f}' for r in ratios)}."],
    )
