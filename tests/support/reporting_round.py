"""A small round as three services would tell it, heard by reporting's own kernel in memory."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache

from base.clock import Clock, Moment
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
from contracts.subjects import ledger_subject, round_subject
from kernel.batch import process
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from programme.calendar import add_working_days, tehran_day
from programme.reference import provinces
from reporting.domain import RULES
from reporting.store import Board, MemoryTallies

START = datetime(2025, 9, 23, 6, tzinfo=UTC)  # 1 Mehr 1404
NOW = START + timedelta(days=60)
UNNOTIFIED = "IR-30"  # has no quota


class Speakers:
    """What the owners say, with the sequences they would give it."""

    def __init__(self) -> None:
        self.said: list[Envelope] = []
        self.sequences: Counter[tuple[str, str]] = Counter()

    def say(self, source: str, subject: str, event: Event, at: datetime, province: str = "") -> None:
        self.sequences[source, subject] += 1
        self.said.append(
            Envelope(
                source=source,
                subject=subject,
                sequence=self.sequences[source, subject],
                time=at,
                event=event,
                context=Context(
                    round="1404", province=province, county=province[3:] + "01", field="JF001", policy="1404-1"
                ),
                recorded=datetime.now(UTC),
            )
        )

    def applicant(self, subject: str, province: str, reached: int) -> None:
        """One applicant, as far as: 1 registered, 2 screened, 3 admitted, 4 identified, 5 connected."""
        at = START + timedelta(days=1)
        registered = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
        self.say("registration", subject, registered, at, province)
        self.say("registration", subject, ApplicantIdentityChecked(result="match"), at, province)
        self.say("screening", subject, CaseOpened(due=add_working_days(tehran_day(at), 10)), at, province)
        if reached > 1:
            at += timedelta(days=3)
            self.say("screening", subject, CaseDecided(outcome="approved"), at, province)
        if reached > 2:
            self.say("registration", subject, ApplicantAdmitted(), at, province)
            due = add_working_days(tehran_day(at), 20)
            self.say("screening", subject, CapacityRequested(due=due), at, province)
        if reached > 3:
            at += timedelta(days=5)
            made = CapacityIdentified(
                product_group="textiles", unit="piece", monthly_band="1-9", skill_level="skilled", needs=()
            )
            self.say("screening", subject, made, at, province)
            self.say("market", subject, ProducerReadied(product_group="textiles"), at, province)
        if reached > 4:
            sold = ProducerConnected(
                connection=f"{subject}.c1", channel="direct", counterparty_kind="consumer", evidence="E2"
            )
            self.say("market", subject, sold, at + timedelta(days=2), province)


def a_round() -> Speakers:
    """The round below, for a test to go on from."""
    speakers = Speakers()
    speakers.said, speakers.sequences = list(_round().said), Counter(_round().sequences)
    return speakers


@cache
def _round() -> Speakers:
    """31 provinces, 30 of them with a quota; the first has nobody, each next one has come a little further."""
    speakers = Speakers()
    opened = RoundOpened(fields=("JF001",), opens=START, closes=START + timedelta(days=300))
    speakers.say("registration", round_subject("1404"), opened, START)
    for i, code in enumerate(provinces()):
        if code != UNNOTIFIED:
            quota = QuotaSet(quota=40)
            speakers.say("registration", ledger_subject("1404", code), quota, START, code)
        for k in range(i):
            speakers.applicant(f"0199-{code}-{k}", code, 1 + k % 5)
    return speakers


def at(now: datetime) -> Clock:
    """A clock that stands."""
    return lambda: Moment(now, datetime.now(UTC))


async def hear(tallies: MemoryTallies, said: Iterable[Envelope], store: MemoryStore | None = None) -> MemoryStore:
    """Lets reporting hear this, as its worker would."""
    store = store or MemoryStore("reporting", RULES)
    messages = [Message(each, encode(each)) for each in said]
    for start in range(0, len(messages), 500):
        await process(store, messages[start : start + 500], {}, at(NOW), tallies.move)
    return store


async def board(said: Iterable[Envelope] = (), now: datetime = NOW) -> Board:
    """The figures of what was said; without it, of the round as it is."""
    tallies = _heard()
    if said:
        tallies = MemoryTallies()
        await hear(tallies, said)
    elif not tallies.tallies:
        await hear(tallies, _round().said)
    return Board(tallies, at(now), pause=0.0)


@cache
def _heard() -> MemoryTallies:
    """Heard once for all tests that only read."""
    return MemoryTallies()
