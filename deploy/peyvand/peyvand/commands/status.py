"""What an operator asks first: does each service keep up, does something wait for a person, and is every process ready?

It asks the stores and the log themselves, and each process what it says of itself.
"""

import asyncio
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from base.clock import machine_now
from contracts.subjects import PARTITIONS
from contracts.topics import topics_consumed_by
from peyvand.endpoints import Addresses, Part, Trouble

SERVICES = ("registration", "screening", "market", "reporting")
ASKED_WITHIN = 3.0  # seconds a process has to answer
ALL = frozenset(range(PARTITIONS))
WATCHED = 2.0  # seconds in which a cursor that has something before it moves
LATE = 60.0  # seconds after which what waits needs a person
OVERDUE = 3_600.0  # seconds of programme time
NEWEST = 1_000  # events of which the time to the ranking is told


Quantiles = tuple[float | None, float | None]


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process: ready, or why not; of a worker how long an event takes to be handled (seconds), since it began."""

    name: str
    pid: int
    port: int
    ready: bool
    why: tuple[str, ...] = ()
    handled_within: float | None = None  # p95
    half_handled_within: float | None = None  # p50
    restarts: int = 0
    silent: dict[str, float] = {}  # province -> hours since its last event was counted here


class ServiceStatus(msgspec.Struct, frozen=True):
    """One service's store and cursors: what is unsent, behind, parked, unreadable or overdue; `moved` while watched."""

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
    moved: int = 0  # events that the cursors passed while we looked
    stuck: bool = False  # something lies before a cursor, and none of them moved


class Need(msgspec.Struct, frozen=True):
    """Something that waits for a person: where, what it is, why, and what to do."""

    where: str
    code: str
    why: str
    command: str
    runbook: str


class Status(msgspec.Struct, frozen=True):
    """The whole country at one moment; `troubles` are what could not even be asked."""

    public_url: str
    services: tuple[ServiceStatus, ...]
    processes: tuple[ProcessStatus, ...]
    troubles: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    event_to_ranking: Quantiles = (None, None)  # p50 and p95 in seconds, of the newest
    at: datetime | None = None  # machine time

    @property
    def well(self) -> bool:
        """Everything answers and is ready, and nothing waits for a person."""
        return not self.troubles and not needs(self)

    @property
    def silent(self) -> dict[str, float]:
        """Province -> hours since its last event, the longest first; only those that were heard of."""
        hours: dict[str, float] = {}
        for each in self.processes:
            for province, n in each.silent.items():
                hours[province] = min(n, hours.get(province, n))
        return dict(sorted(hours.items(), key=lambda item: -item[1]))


def status(country: Addresses, now: datetime) -> Status:
    """The state of everything that is known of this country; `now` is programme time."""
    troubles: list[str] = []
    services: tuple[ServiceStatus, ...] = ()
    to_ranking: Quantiles = (None, None)

    def ends() -> Mapping[str, int]:
        try:
            return log_ends(country.needs_kafka())
        except Trouble as e:
            troubles.append(f"{e.what} ({e.then})")
            return {}

    try:
        services, to_ranking = asyncio.run(stores(country.needs_mongo(), ends, now))
    except Trouble as e:
        troubles.append(f"{e.what} ({e.then})")
    processes = asked(country)
    found = Status(country.public_url, services, processes, tuple(troubles), (), to_ranking, machine_now())
    return msgspec.structs.replace(found, needs=needs(found))


def needs(found: Status) -> tuple[Need, ...]:
    """What of it waits for a person, the most urgent first."""
    waits: list[Need] = []
    for p in found.processes:
        why = "; ".join(p.why)
        if p.ready:
            continue
        if broken := re.search("log broken: ([^/ ]+)/", why):  # as a worker says it
            command = f"peyvand log reread {broken[1]} --reason '...'"
            waits.append(Need(p.name, "not_ready", why, command, "log-broken.md"))
        else:
            waits.append(Need(p.name, "not_ready", why, "peyvand status --json", "process-down.md"))
    for s in found.services:

        def need(code: str, why: str, command: str, runbook: str, where: str = s.service) -> None:
            waits.append(Need(where, code, why, command, runbook))

        dead = f"peyvand dead-letters list --service {s.service}"
        if s.unsent_oldest_seconds > LATE:
            oldest = f"{s.unsent:,} unsent, the oldest for {s.unsent_oldest_seconds:,.0f} s"
            need("unsent", oldest, "peyvand events tail", "events-unsent.md")
        if s.stuck:
            need("stuck", f"{s.lag:,} events behind, and no cursor moves", "peyvand status", "behind.md")
        if s.parked_faulty:
            oldest = f"the oldest for {s.parked_faulty_oldest_seconds:,.0f} s"
            need("dead_letters", f"{s.parked_faulty:,} subjects wait, {oldest}", dead, "dead-letters.md")
        if s.unreadable:
            need("unreadable", f"{s.unreadable:,} records nobody can read", dead, "unreadable.md")
        if s.parked_early_oldest_seconds > LATE:
            oldest = f"{s.parked_early:,} subjects, the longest for {s.parked_early_oldest_seconds:,.0f} s"
            need("missing", f"an event has not come: {oldest}", "peyvand events show ID", "event-missing.md")
        if s.overdue_oldest_seconds > OVERDUE:
            need("overdue", f"overdue for {s.overdue_oldest_seconds:,.0f} s", "peyvand status", "overdue.md")
    return tuple(waits)


def log_ends(bootstrap: str) -> dict[str, int]:
    """`topic/partition` -> the offset of the next event to come. Raises Trouble."""
    from peyvand.commands.events import Log

    log = Log(bootstrap)
    try:
        return {f"{tp.topic}/{tp.partition}": end for tp, end in log.ends().items()}
    finally:
        log.close()


async def stores(
    url: str, ends_of_log: Callable[[], Mapping[str, int]], now: datetime
) -> tuple[tuple[ServiceStatus, ...], Quantiles]:
    """What the four stores hold back, and how long the newest events took to the ranking. Raises Trouble.

    What is unsent is read before where the log ends, and the cursors last: an event on its way is
    then seen at least once.
    """
    from pymongo.errors import PyMongoError

    from kernel.errors import Transient
    from kernel.stores.mongodb import MongoStore, connect

    client = connect(url)
    found = []

    async def positions(service: str) -> dict[str, int]:
        return {d["_id"]: d["next"] async for d in client[service].cursors.find({})}

    try:
        waiting = {service: await MongoStore(client[service], service, {}).backlog(ALL, now) for service in SERVICES}
        ends = await asyncio.to_thread(ends_of_log)
        before = {service: await positions(service) for service in SERVICES}
        began = time.monotonic()
        behind = {service for service, cursors in before.items() if lag(service, cursors, ends)}
        moved = dict.fromkeys(SERVICES, 0)
        while time.monotonic() - began < WATCHED and any(not moved[service] for service in behind):
            await asyncio.sleep(WATCHED / 10)
            for service in behind:
                now_at = await positions(service)
                moved[service] = sum(at - before[service].get(place, 0) for place, at in now_at.items())
        for service in SERVICES:
            waits, cursors = waiting[service], await positions(service)
            unreadable = await client[service].unreadable.count_documents({"explained": {"$exists": False}})
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
                    moved=moved[service],
                    stuck=service in behind and not moved[service],
                )
            )
        took = [sample async for mark in client.reporting.marks.find({}, {"latest": 1}) for sample in mark["latest"]]
    except (PyMongoError, Transient) as e:
        raise Trouble(f"MongoDB cannot be asked: {e}", "is it up, and may this user read all four stores?") from e
    finally:
        await client.close()
    return tuple(found), _quantiles([ms / 1_000 for _, ms in sorted(took)[-NEWEST:]])


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    ordered = sorted(seconds)
    if not ordered:
        return None, None
    return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


def lag(service: str, cursors: Mapping[str, int], ends: Mapping[str, int]) -> int:
    """Events that the service hears and its cursors have not passed."""
    topics = topics_consumed_by(service)
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
    code, body = _fetch(f"http://{part.host}:{part.port}/readyz")
    told = _samples(part) if "worker" in part.name and code else ()
    buckets = [(float(s.labels["le"]), s.value) for s in told if s.name == "peyvand_event_to_handled_seconds_bucket"]
    last = {s.labels["province"]: s.value for s in told if s.name == "peyvand_province_last_event_timestamp_seconds"}
    now = time.time()
    return ProcessStatus(
        part.name,
        part.pid,
        part.port,
        code == 200,
        reasons(code, body),
        quantile(0.95, buckets),
        quantile(0.5, buckets),
        part.restarts,
        {province: round(max(0.0, now - at) / 3_600, 1) for province, at in last.items()},
    )


def _samples(part: Part) -> tuple[Any, ...]:
    from prometheus_client.parser import text_string_to_metric_families

    code, body = _fetch(f"http://{part.host}:{part.port}/metrics")
    if code != 200:
        return ()
    return tuple(s for family in text_string_to_metric_families(body.decode()) for s in family.samples)


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
