"""Files of applicants: rows that are registered in a second from CSV and XLSX, and the memory that a file takes."""

import csv
import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openpyxl import load_workbook

from kernel.stores.mongodb import connect
from peyvand.performance_report import Measured, Verdict
from registration.api.xlsx import XLSX
from registration.service import service
from tests.bench.support.meter import Costs, Meter, micros
from tests.support.registration_api import RegistrationApi, csv_file
from tests.support.servers import started
from tests.support.workbooks import as_workbook

ROWS = 50_000  # the most that a file may have
AIM = 2_000  # rows a second


async def run(folder: Path, quick: bool) -> Measured:
    """Register a file of each kind, of different people, and read the same file with nothing but its library."""
    count = ROWS // 10 if quick else ROWS
    rows, processes, verdicts = [], list[list[str]](), []
    with started(folder, kafka_too=False) as servers:
        client = connect(servers.mongo)
        await service.create_indexes(client.imports_bench)
        api = RegistrationApi(folder, client, "imports_bench")
        async with api.client:
            await api.open_round()
            await _imported(api, csv_file(range(900_000, 900_200)).encode(), "text/csv", 200)  # warms up
            for n, (name, media_type, make, read) in enumerate(KINDS):
                content = make(csv_file(range(n * count + 1, (n + 1) * count + 1)))
                bare = _cpu_seconds(read, content)
                meter = Meter({"registration": os.getpid(), "mongod": servers.pids["mongod"]})
                began = time.perf_counter()
                await _imported(api, content, media_type, count)
                seconds, costs = time.perf_counter() - began, meter.read()
                rows.append(_row(name, count, seconds, bare, costs))
                processes += costs.rows(name, count)
                verdicts.append(Verdict(f"rows/s, {name}", count / seconds, AIM, digits=0))
        await client.drop_database(client.imports_bench)
        await client.close()
    return Measured(
        rows=rows,
        processes=processes,
        verdicts=verdicts,
        notes=[f"{count:,} rows in each file. The bare reading is in CPU seconds, as are the others."],
    )


async def _imported(api: RegistrationApi, content: bytes, media_type: str, count: int) -> None:
    path = "/v1/rounds/1404/applications/import?mode=rows"
    headers = {"Content-Type": media_type}
    response = await api.request(
        "POST", path, key=f"key-of-{media_type[-4:]}-{count}", content=content, headers=headers
    )
    if response.status_code != 200 or response.json()["registered"] != count:
        raise RuntimeError(f"{response.status_code}: {response.text[:300]}")


def _cpu_seconds(read: Callable[[bytes], Any], content: bytes) -> float:
    began = time.process_time()
    read(content)
    return time.process_time() - began


def _row(name: str, count: int, seconds: float, bare: float, costs: Costs) -> list[str]:
    return [
        name,
        f"{count / seconds:,.0f}",
        f"{count / costs.of():,.0f}",
        micros(costs.cpu["registration"] / count),
        micros(costs.cpu["mongod"] / count),
        micros(bare / count),
        f"{costs.of('registration') / bare:,.0f}",
    ]


def _read_csv(content: bytes) -> Any:
    return list(csv.reader(io.StringIO(content.decode())))


def _read_workbook(content: bytes) -> Any:
    return list(load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0].values)


KINDS: tuple[tuple[str, str, Callable[[str], bytes], Callable[[bytes], Any]], ...] = (
    ("CSV", "text/csv", str.encode, _read_csv),
    ("XLSX", XLSX, as_workbook, _read_workbook),
)
