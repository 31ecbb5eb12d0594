"""Market's rules about a producer: who is ready, what is offered, what a connection is worth and when it lasts."""

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
from kernel.record import Message, Record, emit, receive
from market.domain import producer
from market.domain.connection import Connect, End, RaiseEvidence
from market.domain.offer import Answer, MakeOffer
from market.domain.producer import State, stage_of

SUBJECT = "0199a000-0000-7000-8000-000000000001"
CONTEXT = Context(round="1404", province="IR-20", county="2001", field="JF001", policy="1404-1")
START = datetime(2025, 11, 1, 6, tzinfo=UTC)
PERSON: dict[str, Any] = {"sex": "female", "age_band": "25-34", "work_mode": "independent", "intake_channel": "desk"}
KILIMS: dict[str, Any] = {
    "product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"
}  # fmt: skip


class Desk:
    """One applicant before market, with registration and screening dictating."""

    def __init__(self) -> None:
        self.record = Record(subject=SUBJECT, state=State())
        self.sequences = {"registration": 0, "screening": 0}
        self.now, self.said = START, list[Envelope]()

    @property
    def state(self) -> State:
        state: State = self.record.state
        return state

    def hears(self, source: str, event: Event, context: Context = CONTEXT) -> list[Event]:
        self.sequences[source] += 1
        envelope = Envelope(
            source=source, subject=SUBJECT, sequence=self.sequences[source], time=self.now, event=event, context=context
        )
        return self._keep(receive(self.record, producer, "market", Message(envelope, encode(envelope)), self.moment))

    def asks(self, command: Any) -> list[Event]:
        events = producer.decide(self.state, command, self.now)
        return self._keep(emit(self.record, producer, "market", events, self.moment, actor="manager:of-1"))

    @property
    def moment(self) -> Moment:
        return Moment(self.now, self.now)

    def _keep(self, moved: Record) -> list[Event]:
        assert not moved.parked
        new = [decode(raw) for raw in moved.emitted[len(self.record.emitted) :]]
        self.record = moved
        self.said += new
        return [each.event for each in new]


@pytest.fixture
def desk() -> Desk:
    """A producer who is ready."""
    desk = Desk()
    desk.hears("registration", ApplicantRegistered(**PERSON))
    desk.hears("registration", ApplicantAdmitted())
    desk.hears("screening", CapacityIdentified(**KILIMS))
    return desk


def connect(evidence: str = "E2", role: str = "manager", **more: str) -> Connect:
    return Connect("cooperative", "cooperative", evidence, role=role, **more)


def refusal(desk: Desk, command: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        desk.asks(command)
    return refused.value


def test_known_capacity_makes_a_producer(desk: Desk) -> None:
    assert [each.event for each in desk.said] == [ProducerReadied(product_group="handicrafts")]
    assert desk.said[0].context == CONTEXT and stage_of(desk.state) == "ready"


def test_nobody_is_connected_before_the_capacity_is_known() -> None:
    desk = Desk()
    for command in (connect(), MakeOffer("direct")):
        assert refusal(desk, command).code == "not_ready"
    desk.hears("registration", ApplicantRegistered(**PERSON))
    desk.hears("screening", CaseDecided(outcome="approved"))
    desk.hears("registration", ApplicantAdmitted())
    assert refusal(desk, connect()).code == "not_ready"
    assert "state" not in desk.record.indexed


def test_an_offer_is_answered_once(desk: Desk) -> None:
    assert desk.asks(MakeOffer("direct", "lead-1")) == [OfferMade(offer="o1", channel="direct", lead="lead-1")]
    assert stage_of(desk.state) == "offered" and desk.record.indexed["leads"] == ["lead-1"]
    assert refusal(desk, Answer("o1", True, lead="lead-2")).code == "offer_unknown", "another's offer is no offer"
    assert refusal(desk, Answer("o2", True)).code == "offer_unknown"
    assert refusal(desk, Answer("o1", False, "mood")).code == "reason_unknown"
    assert desk.asks(Answer("o1", False, "price")) == [OfferDeclined(offer="o1", reason="price")]
    assert refusal(desk, Answer("o1", True)).code == "offer_closed"
    assert stage_of(desk.state) == "ready"
    assert refusal(desk, MakeOffer("smoke_signals")).field == "channel"


def test_an_accepted_offer_becomes_a_connection_once(desk: Desk) -> None:
    desk.asks(MakeOffer("cooperative", "lead-1"))
    assert refusal(desk, connect(offer="o1")).code == "offer_not_accepted"
    assert desk.asks(Answer("o1", True)) == [OfferAccepted(offer="o1")]
    assert stage_of(desk.state) == "offered"
    assert desk.asks(connect(offer="o1", lead="lead-1", role="lead")) == [
        ProducerConnected(
            connection="c1", channel="cooperative", counterparty_kind="cooperative", evidence="E2", offer="o1"
        )
    ]
    assert stage_of(desk.state) == "connected"
    assert refusal(desk, connect(offer="o1")).code == "offer_closed"
    assert refusal(desk, connect(lead="lead-1", role="lead")).code == "offer_unknown", "a lead connects its own offers"
    assert refusal(desk, RaiseEvidence("c1", "E3", "lead", "lead-2")).code == "connection_unknown"


def test_evidence_only_rises_and_each_role_up_to_its_own_step(desk: Desk) -> None:
    desk.asks(connect("E0"))
    assert desk.asks(RaiseEvidence("c1", "E2", "labour_expert")) == [
        ConnectionEvidenced(connection="c1", from_="E0", to="E2")
    ]
    assert refusal(desk, RaiseEvidence("c1", "E2", "manager")).code == "evidence_not_higher"
    assert refusal(desk, RaiseEvidence("c1", "E3", "manager")).code == "evidence_beyond_role"
    assert refusal(desk, RaiseEvidence("c1", "E4", "service")).code == "evidence_not_allowed"
    assert refusal(desk, RaiseEvidence("c9", "E3", "service")).code == "connection_unknown"
    assert desk.asks(RaiseEvidence("c1", "E3", "service"))
    assert refusal(desk, connect("E3")).code == "evidence_beyond_role"
    assert refusal(desk, connect("E4", "service")).code == "evidence_not_allowed"


def test_a_connection_is_sustained_ninety_days_after_it_first_counted(desk: Desk) -> None:
    desk.asks(connect("E1"))
    assert "due" not in desk.record.indexed
    desk.now += timedelta(days=10)
    desk.asks(RaiseEvidence("c1", "E2", "manager"))
    due = desk.record.indexed["due"]
    assert due == desk.now + timedelta(days=90)
    desk.asks(RaiseEvidence("c1", "E3", "service"))
    assert desk.record.indexed["due"] == due, "better evidence does not start the clock again"
    desk.now = due
    assert desk.asks(Tick(due - timedelta(milliseconds=1))) == []
    assert desk.asks(Tick(due)) == [ConnectionSustained(connection="c1")]
    assert desk.asks(Tick(due)) == [] and stage_of(desk.state) == "sustained"


def test_an_ended_connection_is_neither_sustained_nor_evidenced(desk: Desk) -> None:
    desk.asks(connect())
    assert refusal(desk, End("c1", "boredom")).code == "reason_unknown"
    assert desk.asks(End("c1", "delivery")) == [ConnectionEnded(connection="c1", reason="delivery")]
    assert "due" not in desk.record.indexed and stage_of(desk.state) == "ended"
    assert desk.asks(Tick(START + timedelta(days=400))) == []
    for command in (End("c1", "price"), RaiseEvidence("c1", "E3", "service")):
        assert refusal(desk, command).code == "connection_ended"
    assert desk.asks(connect()), "a producer may find another market"


def test_with_the_seat_go_the_connections(desk: Desk) -> None:
    desk.asks(connect())
    desk.asks(MakeOffer("direct"))
    assert desk.hears("registration", ApplicantWithdrawn(reason="health")) == [
        ConnectionEnded(connection="c1", reason="withdrawn")
    ]
    assert desk.hears("registration", ApplicantSeatReleased(reason="withdrawn")) == []
    assert stage_of(desk.state) == "ended"
    for command in (connect(), MakeOffer("direct"), Answer("o1", True)):
        assert refusal(desk, command).code == "not_ready"


def test_a_newer_application_ends_what_the_earlier_one_left(desk: Desk) -> None:
    """Screening may be ahead of registration: what it says of the second application ends the first's connections."""
    desk.asks(connect())
    assert desk.hears("screening", CaseOpened(application=2, due=date(2025, 12, 1))) == [
        ConnectionEnded(application=1, connection="c1", reason="withdrawn")
    ]
    assert desk.hears("registration", ApplicantWithdrawn(reason="moved")) == []
    assert refusal(desk, connect()).code == "not_ready"


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
def test_any_interleaving_of_the_sources_gives_the_same_end(
    told: int, screened: int, one: Sequence[bool], other: Sequence[bool]
) -> None:
    ends = []
    for turns in (one, other):
        desk, left = Desk(), {"registration": [*REGISTRATION[:told]], "screening": [*SCREENING[:screened]]}
        for turn in turns:
            source = "registration" if (turn and left["registration"]) or not left["screening"] else "screening"
            if left[source]:
                desk.hears(source, left[source].pop(0))
        ends.append((desk.state, producer.indexed(desk.state), stage_of(desk.state)))
    assert ends[0] == ends[1]


@given(st.permutations(range(len(SCREENING))), st.integers(1, 7))
def test_connections_end_with_their_application_whoever_tells_first(order: Sequence[int], cut: int) -> None:
    """A connection of the first application, then the rest of both sources in some interleaving: it has ended."""
    desk = Desk()
    for event in REGISTRATION[:2]:
        desk.hears("registration", event)
    for event in SCREENING[:4]:
        desk.hears("screening", event)
    desk.asks(connect())
    left = {"registration": [*REGISTRATION[2:]], "screening": [*SCREENING[4:]]}
    for n in order:
        source = "registration" if (n < cut and left["registration"]) or not left["screening"] else "screening"
        if left[source]:
            desk.hears(source, left[source].pop(0))
    for source, events in left.items():
        for event in events:
            desk.hears(source, event)
    ended = [each.event for each in desk.said if isinstance(each.event, ConnectionEnded)]
    assert ended == [ConnectionEnded(application=1, connection="c1", reason="withdrawn")]


STEPS = ("offer", "accept", "decline", "E0", "E2", "raise", "end", "withdraw", "tick", "wait")


@given(st.lists(st.sampled_from(STEPS), max_size=25))
def test_whatever_happens_due_means_that_the_clock_has_something_to_say(steps: Sequence[str]) -> None:
    desk = Desk()
    desk.hears("registration", ApplicantRegistered(**PERSON))
    desk.hears("screening", CapacityIdentified(**KILIMS))
    for step in steps:
        desk.now += timedelta(hours=7)
        last = f"c{len(desk.state.connections)}"
        try:
            match step:
                case "offer":
                    desk.asks(MakeOffer("direct"))
                case "accept" | "decline":
                    desk.asks(Answer(f"o{len(desk.state.offers)}", step == "accept", "terms"))
                case "E0" | "E2":
                    desk.asks(connect(step))
                case "raise":
                    desk.asks(RaiseEvidence(last, "E2", "manager"))
                case "end":
                    desk.asks(End(last, "price"))
                case "withdraw":
                    desk.hears("registration", ApplicantWithdrawn(reason="other"))
                case "tick":
                    desk.asks(Tick(desk.now))
                case "wait":
                    desk.now += timedelta(days=60)
        except Refused:
            pass
        if due := producer.indexed(desk.state).get("due"):
            assert producer.decide(desk.state, Tick(due), max(due, desk.now))
            assert not producer.decide(desk.state, Tick(due - timedelta(milliseconds=1)), desk.now)
    assert all(a.sequence + 1 == b.sequence for a, b in pairwise(desk.said))
    for name in desk.state.connections:
        about = [each.event for each in desk.said if getattr(each.event, "connection", "") == name]
        assert isinstance(about[0], ProducerConnected)
        assert sum(isinstance(each, ConnectionEnded) for each in about) <= 1
        assert sum(isinstance(each, ConnectionSustained) for each in about) <= 1
