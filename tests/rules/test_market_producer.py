"""Rules of market about a producer: readiness, offers, evidence of connections, sustained connections."""

import contextlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.clock import Moment
from contracts.commands import Refused, Tick
from contracts.envelope import Context, Envelope, decode, encode
from contracts.events import (
    ApplicantAdmitted,
    ApplicantReactivated,
    ApplicantRegistered,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityIdentified,
    CapacityRequested,
    CaseDecided,
    CaseOpened,
    ConnectionEnded,
    ConnectionEvidenced,
    ConnectionSustained,
    Event,
    OfferAccepted,
    OfferDeclined,
    OfferMade,
    ProducerConnected,
    ProducerReadied,
)
from contracts.examples import LEAD
from kernel.record import Message, Record, consume, emit
from market.domain import producer
from market.domain.connection import Connect, End, RaiseEvidence
from market.domain.offer import Answer, MakeOffer
from market.domain.producer import MAX_OFFERS, State, status_of

SUBJECT = "0199a000-0000-7000-8000-000000000001"
CONTEXT = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
START = datetime(2025, 11, 1, 6, tzinfo=UTC)
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}
KILIMS: dict[str, Any] = {
    "product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"
}  # fmt: skip


class Scenario:
    """One applicant in market: consume events of registration and screening, execute commands."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.sequences = {"registration": 0, "screening": 0}
        self.now, self.emitted = START, list[Envelope]()

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    def consume(self, source: str, event: Event, context: Context = CONTEXT) -> list[Event]:
        self.sequences[source] += 1
        envelope = Envelope(
            source=source, subject=SUBJECT, sequence=self.sequences[source], time=self.now, event=event, context=context
        )
        message = Message(envelope, encode(envelope))
        after, parked = consume(self.record, producer, "market", [message], self.moment)
        assert not parked
        return self._keep(after)

    def execute(self, command: Any) -> list[Event]:
        events = producer.decide(self.state, command, self.now)
        return self._keep(emit(self.record, producer, "market", events, self.moment, actor="manager:of-1"))

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.now)

    def _keep(self, after: Record) -> list[Event]:
        new = [decode(raw) for raw in after.new_events[len(self.record.new_events) :]]
        self.record = after
        self.emitted += new
        return [each.event for each in new]


@pytest.fixture
def scenario() -> Scenario:
    """A ready producer."""
    scenario = Scenario()
    scenario.consume("registration", ApplicantRegistered(**PERSON))
    scenario.consume("registration", ApplicantAdmitted())
    scenario.consume("screening", CapacityIdentified(**KILIMS))
    return scenario


def connect(evidence: str = "E2", role: str = "manager", **options: str) -> Connect:
    return Connect("cooperative", "cooperative", evidence, role=role, **options)


def refusal(scenario: Scenario, command: Any) -> Refused:
    """Return the refusal of a command."""
    with pytest.raises(Refused) as error:
        scenario.execute(command)
    return error.value


def test_known_capacity_readies_a_producer(scenario: Scenario) -> None:
    assert [each.event for each in scenario.emitted] == [ProducerReadied(product_group="handicrafts")]
    assert scenario.emitted[0].context == CONTEXT and status_of(scenario.state) == "ready"


def test_no_connection_before_the_capacity_is_known() -> None:
    scenario = Scenario()
    for command in (connect(), MakeOffer("direct")):
        assert refusal(scenario, command).code == "not_ready"
    scenario.consume("registration", ApplicantRegistered(**PERSON))
    scenario.consume("screening", CaseDecided(outcome="approved"))
    scenario.consume("registration", ApplicantAdmitted())
    assert refusal(scenario, connect()).code == "not_ready"
    assert "state" not in scenario.record.indexed


def test_no_lead_enterprise_takes_the_space_of_others(scenario: Scenario) -> None:
    for _ in range(MAX_OFFERS):
        scenario.execute(MakeOffer("direct", LEAD))
    assert refusal(scenario, MakeOffer("direct", LEAD)).code == "offers_full"
    assert scenario.execute(MakeOffer("direct", LEAD[:-1] + "8")) and scenario.execute(MakeOffer("direct"))


def test_offer_is_answered_once(scenario: Scenario) -> None:
    assert scenario.execute(MakeOffer("direct", LEAD)) == [OfferMade(offer="o1", channel="direct", lead=LEAD)]
    assert status_of(scenario.state) == "offered" and scenario.record.indexed["leads"] == [LEAD]
    assert refusal(scenario, Answer("o1", True, lead="lead-2")).code == "offer_unknown", (
        "the offer of another lead enterprise is unknown"
    )
    assert refusal(scenario, Answer("o2", True)).code == "offer_unknown"
    assert refusal(scenario, Answer("o1", False, "mood")).code == "reason_unknown"
    assert scenario.execute(Answer("o1", False, "price")) == [OfferDeclined(offer="o1", reason="price")]
    assert refusal(scenario, Answer("o1", True)).code == "offer_closed"
    assert status_of(scenario.state) == "ready"
    assert refusal(scenario, MakeOffer("smoke_signals")).field == "channel"


def test_accepted_offer_becomes_a_connection_once(scenario: Scenario) -> None:
    scenario.execute(MakeOffer("cooperative", LEAD))
    assert refusal(scenario, connect(offer="o1")).code == "offer_not_accepted"
    assert scenario.execute(Answer("o1", True)) == [OfferAccepted(offer="o1")]
    assert status_of(scenario.state) == "offered"
    assert scenario.execute(connect(offer="o1", lead=LEAD, role="lead")) == [
        ProducerConnected(
            connection="c1", channel="cooperative", counterparty_kind="cooperative", evidence="E2", offer="o1"
        )
    ]
    assert status_of(scenario.state) == "connected"
    assert refusal(scenario, connect(offer="o1")).code == "offer_closed"
    assert refusal(scenario, connect(lead=LEAD, role="lead")).code == "offer_unknown", (
        "a lead enterprise needs an offer of its own"
    )
    assert refusal(scenario, RaiseEvidence("c1", "E3", "lead", "lead-2")).code == "connection_unknown"


def test_evidence_only_rises_and_each_role_has_a_limit(scenario: Scenario) -> None:
    scenario.execute(connect("E0"))
    assert scenario.execute(RaiseEvidence("c1", "E2", "labour_expert")) == [
        ConnectionEvidenced(connection="c1", from_="E0", to="E2")
    ]
    assert refusal(scenario, RaiseEvidence("c1", "E2", "manager")).code == "evidence_not_higher"
    assert refusal(scenario, RaiseEvidence("c1", "E3", "manager")).code == "evidence_beyond_role"
    assert refusal(scenario, RaiseEvidence("c1", "E4", "service")).code == "evidence_not_allowed"
    assert refusal(scenario, RaiseEvidence("c9", "E3", "service")).code == "connection_unknown"
    assert scenario.execute(RaiseEvidence("c1", "E3", "service"))
    assert refusal(scenario, connect("E3")).code == "evidence_beyond_role"
    assert refusal(scenario, connect("E4", "service")).code == "evidence_not_allowed"


def test_connection_is_sustained_ninety_days_after_it_first_counted(scenario: Scenario) -> None:
    scenario.execute(connect("E1"))
    assert "due" not in scenario.record.indexed
    scenario.now += timedelta(days=10)
    scenario.execute(RaiseEvidence("c1", "E2", "manager"))
    due = scenario.record.indexed["due"]
    assert due == scenario.now + timedelta(days=90)
    scenario.execute(RaiseEvidence("c1", "E3", "service"))
    assert scenario.record.indexed["due"] == due, "better evidence does not restart the period"
    scenario.now = due
    assert scenario.execute(Tick(due - timedelta(milliseconds=1))) == []
    assert scenario.execute(Tick(due)) == [ConnectionSustained(connection="c1")]
    assert scenario.execute(Tick(due)) == [] and status_of(scenario.state) == "sustained"


def test_ended_connection_is_neither_sustained_nor_evidenced(scenario: Scenario) -> None:
    scenario.execute(connect())
    assert refusal(scenario, End("c1", "boredom")).code == "reason_unknown"
    assert scenario.execute(End("c1", "delivery")) == [ConnectionEnded(connection="c1", reason="delivery")]
    assert "due" not in scenario.record.indexed and status_of(scenario.state) == "ended"
    assert scenario.execute(Tick(START + timedelta(days=400))) == []
    for command in (End("c1", "price"), RaiseEvidence("c1", "E3", "service")):
        assert refusal(scenario, command).code == "connection_ended"
    assert scenario.execute(connect()), "a producer may be connected again"


def test_lost_seat_ends_the_connections(scenario: Scenario) -> None:
    scenario.execute(connect())
    scenario.execute(MakeOffer("direct"))
    assert scenario.consume("registration", ApplicantWithdrawn(reason="health")) == [
        ConnectionEnded(connection="c1", reason="withdrawn")
    ]
    assert scenario.consume("registration", ApplicantSeatReleased(reason="withdrawn")) == []
    assert status_of(scenario.state) == "ended"
    for command in (connect(), MakeOffer("direct"), Answer("o1", True)):
        assert refusal(scenario, command).code == "not_ready"


def test_newer_application_ends_connections_of_the_earlier_one(scenario: Scenario) -> None:
    """Screening may be ahead of registration: its event about the second application ends those of the first."""
    scenario.execute(connect())
    assert scenario.consume("screening", CaseOpened(application=2, due=date(2025, 12, 1))) == [
        ConnectionEnded(application=1, connection="c1", reason="withdrawn")
    ]
    assert scenario.consume("registration", ApplicantWithdrawn(reason="moved")) == []
    assert refusal(scenario, connect()).code == "not_ready"


REGISTRATION: tuple[Event, ...] = (
    ApplicantRegistered(**PERSON),
    ApplicantAdmitted(),
    ApplicantWithdrawn(reason="moved"),
    ApplicantSeatReleased(reason="withdrawn"),
    ApplicantReactivated(application=2, **PERSON),
    ApplicantAdmitted(application=2),
    ApplicantWithdrawn(application=2, reason="other"),
)
SCREENING: tuple[Event, ...] = (
    CaseOpened(due=date(2025, 12, 1)),
    CaseDecided(outcome="approved"),
    CapacityRequested(due=date(2025, 12, 20)),
    CapacityIdentified(**KILIMS),
    CaseOpened(application=2, due=date(2026, 2, 1)),
    CaseDecided(application=2, outcome="approved"),
    CapacityIdentified(application=2, **{**KILIMS, "product_group": "art"}),
)


@given(
    st.integers(0, len(REGISTRATION)),
    st.integers(0, len(SCREENING)),
    st.lists(st.booleans(), min_size=14, max_size=14),
    st.lists(st.booleans(), min_size=14, max_size=14),
)
def test_any_interleaving_of_the_sources_gives_the_same_state(
    registered: int, screened: int, one: Sequence[bool], other: Sequence[bool]
) -> None:
    states = []
    for order in (one, other):
        scenario, left = (
            Scenario(),
            {"registration": [*REGISTRATION[:registered]], "screening": [*SCREENING[:screened]]},
        )
        for first in order:
            source = "registration" if (first and left["registration"]) or not left["screening"] else "screening"
            if left[source]:
                scenario.consume(source, left[source].pop(0))
        states.append((scenario.state, producer.indexed(scenario.state), status_of(scenario.state)))
    assert states[0] == states[1]


@given(st.permutations(range(len(SCREENING))), st.integers(1, 7))
def test_connections_end_with_their_application_in_any_interleaving(order: Sequence[int], cut: int) -> None:
    """A connection of the first application ends after the remaining events of both sources in any order."""
    scenario = Scenario()
    for event in REGISTRATION[:2]:
        scenario.consume("registration", event)
    for event in SCREENING[:4]:
        scenario.consume("screening", event)
    scenario.execute(connect())
    left = {"registration": [*REGISTRATION[2:]], "screening": [*SCREENING[4:]]}
    for n in order:
        source = "registration" if (n < cut and left["registration"]) or not left["screening"] else "screening"
        if left[source]:
            scenario.consume(source, left[source].pop(0))
    for source, events in left.items():
        for event in events:
            scenario.consume(source, event)
    ended = [each.event for each in scenario.emitted if isinstance(each.event, ConnectionEnded)]
    assert ended == [ConnectionEnded(application=1, connection="c1", reason="withdrawn")]


def step(scenario: Scenario, name: str) -> None:
    """Carry out one step. Raise Refused."""
    last, offer = f"c{len(scenario.state.connections)}", f"o{len(scenario.state.offers)}"
    commands = {
        "offer": MakeOffer("direct"),
        "accept": Answer(offer, True, "terms"),
        "decline": Answer(offer, False, "terms"),
        "E0": connect("E0"),
        "E2": connect("E2"),
        "raise": RaiseEvidence(last, "E2", "manager"),
        "end": End(last, "price"),
        "tick": Tick(scenario.now),
    }
    if name in commands:
        scenario.execute(commands[name])
    elif name == "withdraw":
        scenario.consume("registration", ApplicantWithdrawn(reason="other"))
    else:
        assert name == "wait"
        scenario.now += timedelta(days=60)


STEPS = ("offer", "accept", "decline", "E0", "E2", "raise", "end", "withdraw", "tick", "wait")


@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_tick_at_due_emits_and_no_tick_before_does(steps: Sequence[str]) -> None:
    scenario = Scenario()
    scenario.consume("registration", ApplicantRegistered(**PERSON))
    scenario.consume("screening", CapacityIdentified(**KILIMS))
    for name in steps:
        scenario.now += timedelta(hours=7)
        with contextlib.suppress(Refused):
            step(scenario, name)
        if due := producer.indexed(scenario.state).get("due"):
            assert producer.decide(scenario.state, Tick(due), max(due, scenario.now))
            assert not producer.decide(scenario.state, Tick(due - timedelta(milliseconds=1)), scenario.now)
    assert all(a.sequence + 1 == b.sequence for a, b in pairwise(scenario.emitted))
    for name in scenario.state.connections:
        about = [each.event for each in scenario.emitted if getattr(each.event, "connection", "") == name]
        assert isinstance(about[0], ProducerConnected)
        assert sum(isinstance(each, ConnectionEnded) for each in about) <= 1
        assert sum(isinstance(each, ConnectionSustained) for each in about) <= 1
