"""An erasure: from every status, at any point of any interleaving, applied when it arrives, and counted as before."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.clock import Moment
from contracts.codes import CONDITIONS, ERASURE_REASONS
from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope, decode, digest, encode
from contracts.events import (
    ApplicantErased,
    ApplicantEvent,
    ApplicantSeatReleased,
    ApplicantWithdrawn,
    CapacityIdentified,
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    CaseInfoRequested,
    CaseOpened,
    ConnectionEnded,
    Event,
)
from contracts.examples import APPLICANT, STORY, story
from kernel.record import Message, Record, consume, emit
from market.domain import producer
from market.domain.connection import Connect, End
from market.domain.offer import MakeOffer
from registration.domain import applicant as registration
from registration.domain.applicant import (
    Admit,
    Command,
    Erase,
    RecordIdentityCheck,
    Register,
    ReleaseSeat,
    Waitlist,
    Withdraw,
    seating,
    status,
)
from reporting.domain import applicant as facts
from reporting.domain.contributions import contributions
from screening.domain import applicant as screening
from screening.domain.capacity import IdentifyCapacity
from screening.domain.case import Decide

AT = datetime(2025, 9, 27, 8, tzinfo=UTC)
WHERE = Context(round="1404", province="IR-20", county="2002", field="JF001", policy="1404-1")
PERSON = {"sex": "female", "age_band": "25-34", "work_mode": "independent"}
REGISTER = Register(context=WHERE, profile=PERSON, intake_channel="web")
APPROVED = CaseDecided(outcome="approved", reasons=("meets_conditions",))
REJECTED = CaseDecided(outcome="rejected", reasons=("incomplete",))
APPEALED = CaseAppealed(due=AT.date(), form="20-1404-173")
OVERTURNED = CaseAppealDecided(outcome="approved", reasons=("meets_conditions",))
OPENED = CaseOpened(due=AT.date())
ASKED = CaseInfoRequested(items=("skill_certificate",), due=AT.date(), case_due=AT.date())
IDENTIFIED = CapacityIdentified(product_group="art", unit="piece", monthly_band="1-9", skill_level="skilled")

# What leads to each status, as commands and events of screening, and what an erasure then emits.
PATHS: dict[str, tuple[Sequence[Command | Event], Sequence[type[Event]]]] = {
    "registered": ([], [ApplicantWithdrawn, ApplicantErased]),
    "screening": ([OPENED], [ApplicantWithdrawn, ApplicantErased]),
    "info_requested": ([OPENED, ASKED], [ApplicantWithdrawn, ApplicantErased]),
    "approved": ([OPENED, APPROVED], [ApplicantWithdrawn, ApplicantErased]),
    "rejected": ([OPENED, REJECTED], [ApplicantErased]),
    "appealed": ([OPENED, REJECTED, APPEALED], [ApplicantErased]),
    "waitlisted": ([APPROVED, Waitlist()], [ApplicantWithdrawn, ApplicantErased]),
    "admitted": ([APPROVED, Admit()], [ApplicantWithdrawn, ApplicantErased]),
    "capacity_identified": ([APPROVED, Admit(), IDENTIFIED], [ApplicantWithdrawn, ApplicantErased]),
    "withdrawn": ([APPROVED, Admit(), Withdraw("moved")], [ApplicantErased]),
    "reactivated": ([Withdraw("moved"), REGISTER], [ApplicantWithdrawn, ApplicantErased]),
    "erased": ([Erase("court")], []),
}
LATER: Sequence[Command | Event] = (
    OPENED, APPROVED, REJECTED, APPEALED, OVERTURNED, IDENTIFIED, Admit(), Waitlist(), RecordIdentityCheck(1, "match"),
)  # fmt: skip


class Applicant:
    """One record of registration."""

    def __init__(self) -> None:
        self.record, self.at, self.sequence = Record(subject=APPLICANT, state=registration.State()), AT, 0

    def then(self, step: Command | Event) -> list[Event]:
        """Execute a command or consume an event of screening; return what was emitted."""
        self.at += timedelta(minutes=1)
        moment = Moment(self.at, self.at)
        if isinstance(step, Event):
            self.sequence += 1
            envelope = Envelope(
                source="screening", subject=APPLICANT, sequence=self.sequence, time=self.at, event=step, context=WHERE
            )
            self.record, parked = consume(
                self.record, registration, "registration", [Message(envelope, encode(envelope))], moment
            )
            assert not parked
            return []
        events = registration.decide(self.record.state, step, self.at)
        self.record = emit(self.record, registration, "registration", events, moment)
        return [each.event if isinstance(each, EventWithContext) else each for each in events]


def in_status(name: str) -> Applicant:
    one = Applicant()
    for step in (REGISTER, *PATHS[name][0]):
        one.then(step)
    assert status(one.record.state) == {"reactivated": "registered"}.get(name, name)
    return one


def test_every_status_is_covered() -> None:
    assert PATHS.keys() == {*registration.STATUSES, "reactivated"}


@pytest.mark.parametrize("name", PATHS)
def test_an_applicant_is_erased_from_every_status_and_once(name: str) -> None:
    one = in_status(name)
    emitted = one.then(Erase("request"))
    assert [type(each) for each in emitted] == PATHS[name][1]
    if isinstance(withdrawn := emitted[0] if emitted else None, ApplicantWithdrawn):
        assert withdrawn.reason == "erased"
    assert one.then(Erase("request")) == [] and status(one.record.state) == "erased"
    for step in LATER:
        assert one.then(step) == [], "nothing revives the applicant"
    if seating(one.record.state):
        assert one.record.indexed["seating"] == "releasing" and one.record.indexed["registered_at"]
        assert [type(each) for each in one.then(ReleaseSeat())] == [ApplicantSeatReleased]
        assert decode(one.record.new_events[-1]).context == WHERE, "as the published schema demands"
    assert one.record.indexed.keys() == {"province", "scope", "round", "status", "priority", "registered_at"}
    assert one.record.indexed["scope"] == "IR-20"
    assert one.record.state == registration.State(
        context=WHERE.of_province(), application=one.record.state.application, erased_at=one.record.state.erased_at
    )
    with pytest.raises(Refused, match="already_registered"):
        one.then(REGISTER)
    with pytest.raises(Refused, match="erased"):
        one.then(Withdraw("moved"))


def test_refused_erasures() -> None:
    with pytest.raises(Refused, match="not_registered"):
        Applicant().then(Erase("request"))
    for reason in ("", "erased", "moved"):
        with pytest.raises(Refused, match="reason_unknown"):
            in_status("registered").then(Erase(reason))
    with pytest.raises(Refused, match="reason_unknown"):
        in_status("registered").then(Withdraw("erased"))
    assert all(in_status("registered").then(Erase(reason)) for reason in ERASURE_REASONS)


# Consumers

CONSUMERS: dict[str, tuple[ModuleType, tuple[str, ...]]] = {
    "screening": (screening, ("registration",)),
    "market": (producer, ("registration", "screening")),
    "reporting": (facts, ("registration", "screening", "market")),
}
SHORT = [step for step in STORY if step.time < STORY[0].time + timedelta(days=60)]  # the applicant holds a seat


def history(steps: Sequence[Any], at: datetime) -> list[Envelope]:
    """Return the events about the applicant of the story, erased at a time if that is still to come."""
    events = [each for each in story(steps) if each.subject == APPLICANT and isinstance(each.event, ApplicantEvent)]
    own = [each for each in events if each.source == "registration"]
    if isinstance(own[-1].event, ApplicantErased):
        return events
    number = own[-1].event.application  # type: ignore[attr-defined]
    for event in (
        ApplicantWithdrawn(application=number, reason="erased"),
        ApplicantErased(application=number, reason="court"),
    ):
        more = {"sequence": len(own) + 1, "previous": digest(encode(own[-1]))}
        events.append(msgspec.structs.replace(own[-1], time=at, event=event, cause="", **more))
        own.append(events[-1])
    return events


HISTORIES = {"the whole story": history(STORY, AT), "with a seat": history(SHORT, SHORT[-1].time + timedelta(days=61))}


class Consumer:
    """One record of a consumer, to which events come in any order; what is early is delivered again later."""

    def __init__(self, service: str) -> None:
        self.service, self.rules = service, CONSUMERS[service][0]
        self.record = Record(subject=APPLICANT, state=self.rules.State())
        self.early: dict[tuple[str, int], Envelope] = {}
        self.emitted: list[Envelope] = []

    def deliver(self, envelope: Envelope) -> None:
        """Consume an event, and what was early until then."""
        self._consume(envelope)
        while ready := [e for e in self.early.values() if e.sequence == self.record.inbox.get(e.source, 0) + 1]:
            self._consume(self.early.pop((ready[0].source, ready[0].sequence)))

    def _consume(self, envelope: Envelope) -> None:
        moment = Moment(envelope.time, envelope.time)
        message = Message(envelope, encode(envelope))
        after, parked = consume(self.record, self.rules, self.service, [message], moment)
        assert all(each.reason == "early" for each in parked)
        self.early |= {(each.source, each.sequence): envelope for each in parked}
        self.emitted += map(decode, after.new_events[len(self.record.new_events) :])
        self.record = after

    def known(self) -> set[str]:
        """Return every value that is known below the province."""
        found = msgspec.to_builtins(self.record.state, str_keys=True)
        return {"2002", "JF001", "25-34", "independent", "handicrafts", "of-2f9c", "skilled"} & set(_leaves(found))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for each in pair for leaf in _leaves(each)]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


def in_order(service: str, events: Sequence[Envelope]) -> Consumer:
    consumer = Consumer(service)
    for each in events:
        if each.source in CONSUMERS[service][1]:
            consumer.deliver(each)
    return consumer


@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(HISTORIES)), service=st.sampled_from(sorted(CONSUMERS)))
def test_any_interleaving_ends_alike_and_nothing_is_known_from_the_arrival_of_the_erasure_on(
    seed: int, name: str, service: str
) -> None:
    events = HISTORIES[name]
    expected, consumer, random = in_order(service, events), Consumer(service), Random(seed)
    erasure = next(each for each in events if isinstance(each.event, ApplicantErased))
    late = [each for each in events if each.source in CONSUMERS[service][1]]
    if random.random() < 0.5:  # each source in its order, but for the erasure
        by_source = defaultdict(list)
        for each in late:
            by_source[each.source].append(each)
        order = random.sample([each.source for each in late], len(late))
        late = [by_source[source].pop(0) for source in order]
        late.insert(random.randrange(len(late)), erasure)
    else:
        random.shuffle(late)
    arrived = False
    for each in late:
        consumer.deliver(each)
        arrived = arrived or isinstance(each.event, ApplicantErased)
        if arrived:
            assert not consumer.known() and "due" not in consumer.record.indexed
            if service != "reporting":
                assert consumer.rules.decide(consumer.record.state, Tick(AT + timedelta(days=999)), AT) == []
    assert not consumer.early and consumer.record.inbox == expected.record.inbox
    assert consumer.record.state == expected.record.state and consumer.record.indexed == expected.record.indexed
    plain = in_order(service, [*(each for each in late if each != erasure), erasure])
    assert consumer.emitted == plain.emitted, "the same reactions as if the erasure had come last"
    assert all(each.context.county == "2002" for each in consumer.emitted), "as the published schema demands"


@pytest.mark.parametrize("name", HISTORIES)
def test_the_figures_of_the_province_are_those_of_a_withdrawal(name: str) -> None:
    events = HISTORIES[name]
    withdrawn = in_order("reporting", [each for each in events if not isinstance(each.event, ApplicantErased)])
    erased = in_order("reporting", events)
    assert contributions(erased.record.state) == contributions(withdrawn.record.state) != {}
    assert withdrawn.known() and not erased.known()


@pytest.mark.parametrize("service", CONSUMERS)
def test_what_is_looked_for_is_known_before(service: str) -> None:
    """A canary."""
    events = [each for each in HISTORIES["with a seat"] if not isinstance(each.event, ApplicantErased)]
    assert in_order(service, events[:-1]).known()


def test_an_erased_applicant_is_in_no_queue_and_takes_no_command() -> None:
    case, market = in_order("screening", HISTORIES["with a seat"]), in_order("market", HISTORIES["with a seat"])
    assert case.record.indexed == market.record.indexed == {}
    with pytest.raises(Refused, match="no_open_case"):
        screening.decide(case.record.state, Decide("approved", checklist=dict.fromkeys(CONDITIONS, True)), AT)
    with pytest.raises(Refused, match="not_admitted"):
        seated = msgspec.structs.replace(case.record.state, seat=True, withdrawn=False)  # it arrived early
        screening.decide(seated, IdentifyCapacity("art", "piece", "1-9", "skilled"), AT)
    for command in (MakeOffer("direct"), End("c1", "completed")):
        with pytest.raises(Refused, match="not_ready"):
            producer.decide(market.record.state, command, AT)


def test_connections_are_kept_only_until_the_withdrawal_that_comes_later_ends_them() -> None:
    *before, withdrawn, erased = (e for e in HISTORIES["with a seat"] if e.source in CONSUMERS["market"][1])
    market = in_order("market", before)
    moment = Moment(erased.time, erased.time)
    for channel in ("direct", "export"):
        connect = Connect(channel, "company", "E2", role="manager")
        events = producer.decide(market.record.state, connect, erased.time)
        market.record = emit(market.record, producer, "market", events, moment)
    events = producer.decide(market.record.state, End("c2", "price"), erased.time)
    market.record = emit(market.record, producer, "market", events, moment)
    market.deliver(erased)
    assert list(market.record.state.connections) == ["c1"], "c2 has ended"
    assert (
        market.record.indexed == {} and producer.decide(market.record.state, Tick(AT + timedelta(days=999)), AT) == []
    )
    market.deliver(withdrawn)
    assert market.record.state.connections == {} and not market.early
    ended = [each.event for each in market.emitted if isinstance(each.event, ConnectionEnded)]
    assert [(each.connection, each.reason) for each in ended if each.reason == "withdrawn"] == [("c1", "withdrawn")]
