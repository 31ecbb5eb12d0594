"""How one record moves: whatever is repeated or reordered, the end is the same, and nothing passes a bound."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import Refused
from contracts.envelope import Context, Envelope, decode, digest, encode
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, CaseOpened, Event
from kernel.record import (
    EVENTS_LIMIT,
    PARKED_BYTES,
    PARKED_EVENTS,
    STRANDED_EVENTS,
    LogPosition,
    Message,
    Private,
    Record,
    RecordFull,
    discard,
    emit,
    receive,
    receive_all,
    retry,
    stranded,
)
from tests.support.small_services import NOON, POISON, Answering, Asking, Counting, noon

REGISTERED = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
HERE = Context(round="1404", province="IR-20")


def message(
    source: str, sequence: int, event: Event | None = None, subject: str = "p", field: str = "honey"
) -> Message:
    """An event as it arrives; registration says that somebody registered, screening that a case was opened."""
    event = event or (REGISTERED if source == "registration" else CaseOpened(due=NOON.date()))
    envelope = Envelope(
        source=source,
        subject=subject,
        sequence=sequence,
        time=NOON,
        event=event,
        context=replace(HERE, field=field),
    )
    return Message(envelope, encode(envelope), LogPosition(f"peyvand.{source}", 0, sequence))


def fresh(rules: Any = Counting) -> Record:
    """A record that was never stored."""
    return Record(subject="p", state=rules.State())


def heard(record: Record, *messages: Message, rules: Any = Counting) -> Record:
    """The record after all of them."""
    for each in messages:
        record = receive(record, rules, "reporting", each, noon())
    return record


# Classes stand in for the modules that rules are; a module fits the protocol as it is.
ASKING: Any = Asking
ANSWERING: Any = Answering
COUNTING: Any = Counting


class Picky(Counting):
    """Cannot stomach a withdrawal until it is mended."""

    mended = False

    @classmethod
    def evolve(cls, state: Any, envelope: Envelope) -> Any:
        if isinstance(envelope.event, ApplicantWithdrawn) and not cls.mended:
            raise ValueError("a bug")
        return Counting.evolve(state, envelope)


PICKY: Any = Picky


@given(st.data())
def test_any_order_and_repetition_ends_the_same(data: st.DataObject) -> None:
    """At least once, in any order, from two sources: the inbox is at the end, nothing waits, each was counted once."""
    said = [message("registration", n) for n in range(1, 7)]
    said += [message("screening", n) for n in range(1, 5)]
    again = data.draw(st.lists(st.sampled_from(said), max_size=10))
    record = heard(fresh(), *data.draw(st.permutations(said + again)))
    assert record.inbox == {"registration": 6, "screening": 4}
    assert not record.parked
    assert record.state == Counting.State(province="IR-20", heard={"ApplicantRegistered": 6, "CaseOpened": 4})


@given(st.data())
def test_a_fault_holds_what_follows_and_a_retry_brings_it(data: st.DataObject) -> None:
    """Whatever the order, what follows the fault waits; mended and retried, the end is as if there had been none."""
    said = [
        message("registration", n, ApplicantWithdrawn(reason="other") if n == 3 else REGISTERED) for n in range(1, 7)
    ]
    said += [message("screening", n) for n in range(1, 3)]
    Picky.mended = False
    record = heard(fresh(), *data.draw(st.permutations(said)), rules=PICKY)
    assert record.inbox == {"registration": 2, "screening": 2}
    assert sorted(record.parked["registration"].envelopes) == [3, 4, 5, 6]
    assert "a bug" in record.parked["registration"].fault and "evolve" in record.parked["registration"].fault
    Picky.mended = True
    record = retry(record, PICKY, "reporting", "registration", noon())
    assert record.inbox == {"registration": 6, "screening": 2} and not record.parked


def test_a_retry_that_is_no_better_changes_nothing() -> None:
    """Still parked, still with its fault."""
    Picky.mended = False
    said = [message("registration", 1, ApplicantWithdrawn(reason="other")), message("registration", 2)]
    record = heard(fresh(), *said, rules=PICKY)
    assert retry(record, PICKY, "reporting", "registration", noon()) == record


def test_a_discard_is_a_fact_and_lets_the_rest_through() -> None:
    """Who gave up which event, and why; what waited behind it is handled."""
    Picky.mended = False
    said = [message("registration", 1, ApplicantWithdrawn(reason="other")), message("registration", 2)]
    record = heard(fresh(), *said, rules=PICKY)
    record = discard(record, PICKY, "reporting", "registration", "nonsense", "operator:o1", noon())
    assert record.inbox == {"registration": 2} and not record.parked
    assert record.state.heard == {"ApplicantRegistered": 1}
    (given_up,) = record.discarded
    assert (given_up.source, given_up.sequence, given_up.reason, given_up.who) == (
        "registration",
        1,
        "nonsense",
        "operator:o1",
    )
    assert heard(record, *said, rules=PICKY) == record  # it never comes back


def test_an_event_that_never_comes_can_be_given_up() -> None:
    """The hole is discarded, what waits behind it is handled."""
    record = heard(fresh(), message("registration", 2))
    record = discard(record, COUNTING, "reporting", "registration", "lost", "operator:o1", noon())
    assert record.inbox == {"registration": 2} and record.discarded[0].sequence == 1


def test_where_nothing_waits_there_is_nothing_to_mend() -> None:
    """Neither to be retried nor to be discarded."""
    with pytest.raises(Refused, match="nothing_parked"):
        retry(fresh(), COUNTING, "reporting", "registration", noon())
    with pytest.raises(Refused, match="nothing_parked"):
        discard(fresh(), COUNTING, "reporting", "registration", "", "", noon())


def test_an_index_that_cannot_be_computed_is_a_fault_too() -> None:
    """`indexed` stands in the same guard as `evolve` and `react`."""

    class Unindexed(Counting):
        @staticmethod
        def indexed(state: Any) -> dict[str, Any]:
            raise KeyError("no index")

    record = heard(fresh(), message("registration", 1), rules=Unindexed)
    assert "no index" in record.parked["registration"].fault and record.state == Counting.State()


def test_a_parked_event_that_only_a_newer_version_reads_waits_for_it() -> None:
    """It is kept as the bytes that came."""
    later = Message(message("registration", 2).envelope, b'{"of": "tomorrow"}')
    record = heard(fresh(), later, message("registration", 1))
    assert record.inbox == {"registration": 1}
    assert record.parked["registration"].envelopes == {2: b'{"of": "tomorrow"}'}
    assert "DecodeError" in record.parked["registration"].fault


def test_parked_bytes_are_bounded_in_number() -> None:
    """Beyond the bound only the places are kept; they come back in bounded numbers, and drain to the end."""
    said = [message("registration", n) for n in range(1, 3_001)]
    record = heard(fresh(), *said[1:])
    kept = list(record.parked["registration"].envelopes.values())
    assert len(kept) == 2_999 and sum(isinstance(each, bytes) for each in kept) == PARKED_EVENTS
    assert not stranded(record)  # its turn has not come
    record, rounds = heard(record, said[0]), 0
    assert record.inbox == {"registration": 1 + PARKED_EVENTS}
    while places := stranded(record):
        assert len(places) <= STRANDED_EVENTS
        record = heard(record, *(said[place.offset - 1] for place in places))
        rounds += 1
    assert record.inbox == {"registration": 3_000} and not record.parked and rounds == 2


def test_parked_bytes_are_bounded_in_size() -> None:
    """Few large ones fill it as well."""
    said = [message("registration", n, field="x" * 10_000) for n in range(2, 60)]
    parked = heard(fresh(), *said).parked["registration"].envelopes.values()
    assert sum(len(each) for each in parked if isinstance(each, bytes)) <= PARKED_BYTES
    assert sum(isinstance(each, LogPosition) for each in parked) > 20


def test_a_record_that_is_full_refuses_and_a_reaction_is_parked() -> None:
    """Neither passes the bound of one document."""
    full = replace(fresh(Answering), last_sequence=EVENTS_LIMIT)
    with pytest.raises(RecordFull):
        emit(full, ANSWERING, "screening", [CaseOpened(due=NOON.date())], noon())
    parked = receive(full, ANSWERING, "screening", message("registration", 1), noon()).parked
    assert "record_full" in parked["registration"].fault


def test_a_reaction_names_its_cause_and_each_event_the_one_before() -> None:
    """The chain of hashes runs through a subject's events, across movements."""
    record = fresh(Answering)
    record = receive(record, ANSWERING, "screening", message("registration", 1), noon())
    record = receive(record, ANSWERING, "screening", message("registration", 2), noon())
    first, second = map(decode, record.emitted)
    assert (first.cause, second.cause) == ("registration/1", "registration/2")
    assert (first.previous, second.previous) == ("", digest(record.emitted[0]))
    assert record.last_hash == digest(record.emitted[1])
    assert first.context == replace(HERE, field="honey")


def test_an_event_is_never_before_the_last_one_of_its_subject() -> None:
    """And in whole milliseconds, as the database keeps them."""
    later, sooner = NOON + timedelta(hours=1, microseconds=1_234), NOON
    record = emit(fresh(Asking), ASKING, "registration", [REGISTERED], Moment(later, later))
    record = emit(record, ASKING, "registration", [ApplicantWithdrawn(reason="other")], Moment(sooner, sooner))
    assert [decode(raw).time for raw in record.emitted] == [NOON + timedelta(hours=1, microseconds=1_000)] * 2
    assert decode(record.emitted[1]).recorded == sooner


def test_what_has_no_value_is_not_indexed() -> None:
    """Two records without a person are not two records of one person."""
    record = replace(fresh(Asking), private=Private(indexed={"person": None, "tracking": "t"}))
    assert emit(record, ASKING, "registration", [REGISTERED], noon()).indexed == {"scope": "/", "tracking": "t"}


def test_nothing_said_changes_nothing() -> None:
    """The very same record."""
    record = fresh()
    assert emit(record, COUNTING, "reporting", [], Moment(datetime(2026, 1, 1, tzinfo=UTC), NOON)) is record


def test_poison_is_poison() -> None:
    """The field that the small country's rules cannot stomach."""
    assert heard(fresh(), message("registration", 1, field=POISON)).parked["registration"].fault


class Unfindable(Counting):
    """Cannot say what the record is looked up by once somebody has withdrawn."""

    @staticmethod
    def indexed(state: Any) -> Any:
        if any("withdrawn" in each.lower() for each in state.heard):
            raise KeyError("no place")
        return {}


@given(
    st.lists(st.tuples(st.sampled_from(["registration", "screening"]), st.integers(1, 6)), max_size=14),
    st.sampled_from([Counting, Answering, Picky, Unfindable]),
)
def test_many_at_once_are_one_after_the_other(told: list[tuple[str, int]], rules: Any) -> None:
    """Repeats, holes, answers, faults, and a state that nothing can be looked up by: the end is the same."""
    before = fresh(rules)
    said = [message(s, n, ApplicantWithdrawn(reason="own_request") if n == 3 else REGISTERED) for s, n in told]
    at, one = noon(), before
    for each in said:
        one = receive(one, rules, "screening", each, at)
    assert receive_all(before, rules, "screening", said, at) == one
