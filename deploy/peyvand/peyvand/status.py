"""What an operator asks first: does each service keep up, does something wait for a person, and is every process ready?

It asks the stores and the log themselves, and each process what it says of itself.
"""

import asyncio
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from contracts.subjects import PARTITIONS
from contracts.topics import heard_by
from peyvand.running import Addresses, Part, Trouble

SERVICES = ("registration", "screening", "market", "reporting")
ASKED_WITHIN = 3.0  # seconds a process has to answer
ALL = frozenset(range(PARTITIONS))
SHOWN = 0.95  # the quantile of the time from event to handled


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process: ready, or why not; of a worker how long an event takes to be handled (p95, seconds)."""

    name: str
    pid: int
    port: int
    ready: bool
    why: tuple[str, ...] = ()
    handled_within: float | None = None


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service's store and cursors: what is unsent, behind, parked, unreadable or overdue."""

    service: str
    unsent: int
    unsent_oldest_seconds: float
    lag: int
    parked_early: int
    parked_early_oldest_seconds: float
    parked_faulty: int
    parked_faulty_oldest_seconds: float
    unreadable: int
    overdue_oldest_seconds: float


class Status(msgspec.Struct, frozen=True):
    """The whole country at one moment; `troubles` are what could not even be asked."""

    public_url: str
    services: tuple[ServiceStatus, ...]
    processes: tuple[ProcessStatus, ...]
    troubles: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Everything answers and is ready, and nothing waits for a person."""
        waits = any(each.parked_faulty or each.unreadable for each in self.services)
        return not self.troubles and not waits and all(each.ready for each in self.processes)


def status(country: Addresses, now: datetime) -> Status:
    """The state of everything that is known of this country; `now` is programme time."""
    troubles: list[str] = []
    services: tuple[ServiceStatus, ...] = ()
    try:
        ends = log_ends(country.needs_kafka())
    except Trouble as e:
        ends = {}
        troubles.append(f"{e.what} ({e.then})")
    try:
        services = asyncio.run(stores(country.needs_mongo(), ends, now))
    except Trouble as e:
        troubles.append(f"{e.what} ({e.then})")
    return Status(country.public_url, services, asked(country), tuple(troubles))


def log_ends(bootstrap: str) -> dict[str, int]:
    """`topic/partition` -> the offset of the next event to come. Raises Trouble."""
    from peyvand.events import Log

    log = Log(bootstrap)
    try:
        return {f"{tp.topic}/{tp.partition}": end for tp, end in log.ends().items()}
    finally:
        log.close()


async def stores(url: str, ends: Mapping[str, int], now: datetime) -> tuple[ServiceStatus, ...]:
    """What the four stores hold back. Raises Trouble."""
    from pymongo.errors import PyMongoError

    from plumbing.mongo import MongoStore, connect
    from plumbing.store import Transient

    client = connect(url)
    found = []
    try:
        for service in SERVICES:
            database = client[service]
            waits = await MongoStore(database, service, {}).backlog(ALL, now)
            cursors = {d["_id"]: d["next"] async for d in database.cursors.find({})}
            unreadable = await database.unreadable.count_documents({})
            found.append(
                ServiceStatus(
                    service=service,
                    unsent=waits.unsent,
                    unsent_oldest_seconds=round(waits.unsent_age, 1),
                    lag=lag(service, cursors, ends),
                    parked_early=waits.early,
                    parked_early_oldest_seconds=round(waits.early_age, 1),
                    parked_faulty=waits.faulty,
                    parked_faulty_oldest_seconds=round(waits.faulty_age, 1),
                    unreadable=unreadable,
                    overdue_oldest_seconds=round(waits.due_age, 1),
                )
            )
    except (PyMongoError, Transient) as e:
        raise Trouble(f"MongoDB cannot be asked: {e}", "is it up, and may this user read all four stores?") from e
    finally:
        await client.close()
    return tuple(found)


def lag(service: str, cursors: Mapping[str, int], ends: Mapping[str, int]) -> int:
    """Events that the service hears and its cursors have not passed."""
    topics = heard_by(service)
    return sum(max(0, end - cursors.get(place, 0)) for place, end in ends.items() if place.rpartition("/")[0] in topics)


def asked(country: Addresses) -> tuple[ProcessStatus, ...]:
    """What each process says of itself; of a country known by its address alone, what its front door says."""
    parts = [each for each in country.processes if each.port and each.name.partition("-")[0] in (*SERVICES, "door")]
    if not parts:
        code, body = _fetch(f"{country.public_url}/readyz")
        return (ProcessStatus("front door", 0, 0, code == 200, reasons(code, body)),)
    return tuple(_ask(each) for each in parts)


def reasons(code: int, body: bytes) -> tuple[str, ...]:
    """Why a process says it is not ready; empty when it is."""
    if code == 200:
        return ()
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = {}
    why = told.get("reasons") if isinstance(told, dict) else None
    return tuple(map(str, why)) if why else (f"answered {code}" if code else body.decode(errors="replace"),)


def quantile(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """The quantile of a histogram's cumulative (upper bound, count) buckets, interpolated; None where nothing is."""
    ordered = sorted(buckets)
    if not ordered or ordered[-1][1] == 0:
        return None
    wanted, below, counted = share * ordered[-1][1], 0.0, 0.0
    for bound, count in ordered:
        if count >= wanted:
            if bound == float("inf"):
                return below
            return below + (bound - below) * (wanted - counted) / (count - counted)
        below, counted = bound, count
    return below


def _ask(part: Part) -> ProcessStatus:
    code, body = _fetch(f"http://127.0.0.1:{part.port}/readyz")
    worker = "worker" in part.name
    return ProcessStatus(
        part.name,
        part.pid,
        part.port,
        code == 200,
        reasons(code, body),
        _handled_within(part.port) if worker and code else None,
    )


def _handled_within(port: int) -> float | None:
    from prometheus_client.parser import text_string_to_metric_families

    code, body = _fetch(f"http://127.0.0.1:{port}/metrics")
    if code != 200:
        return None
    samples: Sequence[Any] = [
        sample
        for family in text_string_to_metric_families(body.decode())
        if family.name == "peyvand_event_to_handled_seconds"
        for sample in family.samples
    ]
    return quantile(SHOWN, [(float(s.labels["le"]), s.value) for s in samples if s.name.endswith("_bucket")])


def _fetch(url: str) -> tuple[int, bytes]:
    """Status and body; 0 and the reason where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=ASKED_WITHIN) as got:
            return got.status, got.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
        return 0, f"no answer: {getattr(e, 'reason', e)}".encode()
