"""A small round as the events of three services, consumed by reporting in memory; reporting's API over ASGI."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from base.clock import Clock, Moment
from base.settings import Settings
from contracts.envelope import Context, Envelope, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantIdentityChecked,
    ApplicantRegistered,
    CapacityIdentified,
    CapacityRequested,
    CaseDecided,
    CaseOpened,
    Event,
    ProducerConnected,
    ProducerReadied,
    QuotaSet,
    RoundOpened,
)
from contracts.subjects import PARTITIONS, ledger_subject, round_subject
from kernel.batch import drain, process
from kernel.leases import MemoryLeases
from kernel.record import Message
from kernel.service import Runtime
from kernel.stores.memory import MemoryStore
from programme.calendar import tehran_day
from programme.reference import provinces
from programme.work_calendar import work_calendar
from reporting.domain import RULES
from reporting.ranking_cache import RankingCache
from reporting.service import service
from reporting.tallies import MemoryTallies
from run.api import service_app
from web.app import App

START = datetime(2025, 9, 23, 6, tzinfo=UTC)  # 1 Mehr 1404
NOW = START + timedelta(days=60)
WITHOUT_QUOTA = "IR-30"
CHUNK = 500  # events in one batch


class RoundEvents:
    """Events as their producers emit them, with dense sequences per producer and subject."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.sequences: Counter[tuple[str, str]] = Counter()

    def emit(self, source: str, subject: str, event: Event, at: datetime, province: str = "") -> None:
        self.sequences[source, subject] += 1
        county = province and f"{province[3:]}01"
        self.envelopes.append(
            Envelope(
                source=source,
                subject=subject,
                sequence=self.sequences[source, subject],
                time=at,
                event=event,
                context=Context(round="1404", province=province, county=county, field="JF001", policy="1404-1"),
                recorded=datetime.now(UTC),
            )
        )

    def applicant(self, subject: str, province: str, stage: int) -> None:
        """Emit an applicant's events up to a stage: 1 registered, 2 screened, 3 admitted, 4 identified, 5 connected."""
        at = START + timedelta(days=1)
        registered = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
        self.emit("registration", subject, registered, at, province)
        self.emit("registration", subject, ApplicantIdentityChecked(result="match"), at, province)
        due = work_calendar().add_working_days(tehran_day(at), 10)
        self.emit("screening", subject, CaseOpened(due=due), at, province)
        if stage > 1:
            at += timedelta(days=3)
            self.emit("screening", subject, CaseDecided(outcome="approved"), at, province)
        if stage > 2:
            self.emit("registration", subject, ApplicantAdmitted(), at, province)
            due = work_calendar().add_working_days(tehran_day(at), 20)
            self.emit("screening", subject, CapacityRequested(due=due), at, province)
        if stage > 3:
            at += timedelta(days=5)
            made = CapacityIdentified(
                product_group="handicrafts", unit="piece", monthly_band="1-9", skill_level="skilled", needs=()
            )
            self.emit("screening", subject, made, at, province)
            self.emit("market", subject, ProducerReadied(product_group="handicrafts"), at, province)
        if stage > 4:
            sold = ProducerConnected(connection="c1", channel="direct", counterparty_kind="consumer", evidence="E2")
            self.emit("market", subject, sold, at + timedelta(days=2), province)


def round_events() -> RoundEvents:
    """Return the events of the small round, for a test to add to."""
    events = RoundEvents()
    events.envelopes, events.sequences = list(_round_events().envelopes), Counter(_round_events().sequences)
    return events


@cache
def _round_events() -> RoundEvents:
    """31 provinces, 30 of them with a quota. The first has no applicants, each next one more and at later stages."""
    events = RoundEvents()
    opened = RoundOpened(fields=("JF001",), opens=START, closes=START + timedelta(days=300))
    events.emit("registration", round_subject("1404"), opened, START)
    for i, code in enumerate(provinces()):
        if code != WITHOUT_QUOTA:
            quota = QuotaSet(quota=40)
            events.emit("registration", ledger_subject("1404", code), quota, START, code)
        for k in range(i):
            events.applicant(f"0199-{code}-{k}", code, 1 + k % 5)
    return events


def fixed_clock(now: datetime) -> Clock:
    """Return a clock whose programme time stands still."""
    return lambda: Moment(now, datetime.now(UTC))


async def consume(
    tallies: MemoryTallies, envelopes: Iterable[Envelope], store: MemoryStore | None = None
) -> MemoryStore:
    """Process these events as the worker of reporting does; return its store."""
    store = store or MemoryStore("reporting", RULES)
    messages = [Message(each, encode(each)) for each in envelopes]
    for start in range(0, len(messages), CHUNK):
        await process(store, messages[start : start + CHUNK], {}, fixed_clock(NOW), tallies.move)
        while await drain(store, range(PARTITIONS), fixed_clock(NOW), tallies.move):
            pass
    return store


async def ranking_cache(envelopes: Iterable[Envelope] = (), now: datetime = NOW) -> RankingCache:
    """Return the figures of these events, by default of the small round."""
    store, tallies = (MemoryStore("reporting", RULES), MemoryTallies()) if envelopes else _shared()
    if envelopes or not tallies.tallies:
        await consume(tallies, envelopes or _round_events().envelopes, store)
    return RankingCache(store, tallies, fixed_clock(now), pause=0.0)


@cache
def _shared() -> tuple[MemoryStore, MemoryTallies]:
    """Return records and tallies of the small round, filled once for all tests that only read."""
    return MemoryStore("reporting", RULES), MemoryTallies()


def app_of(cache: RankingCache, jwks: Path = Path("none.json")) -> App:
    """Return the application of reporting over memory."""
    values: dict[str, Any] = {
        "service": "reporting",
        "environment": "development",
        "kafka": "127.0.0.1:1",
        "mongo": "mongodb://127.0.0.1:1",
        "database": "reporting",
        "jwks": jwks,
    }
    settings = Settings(**values)
    runtime = Runtime(settings=settings, store=cache.store, leases=MemoryLeases(), clock=cache.clock, resources=cache)
    return service_app(service, settings, runtime)


@asynccontextmanager
async def running_client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    """Run the lifespan of an application and yield a client of it."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
    ):
        yield client
