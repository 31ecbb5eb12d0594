"""How one record changes: `emit`, and `consume` with what it has to park. Parked events in a store: test_parked.py."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from base.clock import Moment
from contracts.commands import EventWithContext
from contracts.envelope import Envelope, decode, digest
from contracts.events import ApplicantErased, ApplicantWithdrawn, CaseOpened
from kernel.record import (
    EVENTS_LIMIT,
    EVENTS_RESERVED,
    Discarded,
    Message,
    Parked,
    Private,
    Record,
    RecordFull,
    StoredResponse,
    consume,
    discard,
    emit,
)
from tests.support.messages import CONTEXT, REGISTERED, WITHDRAWN, Picky, message, unknown
from tests.support.small_services import NOON, POISON, RegistrationRules, ReportingRules, ScreeningRules, noon

# Rules are modules; classes stand in for them here, which mypy does not accept as the protocol.
REGISTRATION: Any = RegistrationRules
SCREENING: Any = ScreeningRules
REPORTING: Any = ReportingRules


def empty(rules: Any = ReportingRules) -> Record:
    return Record(subject="p", state=rules.State())


def consumed(record: Record, *messages: Message, rules: Any = ReportingRules) -> tuple[Record, list[Parked]]:
    return consume(record, rules, "screening", messages, noon())


def summaries(parked: Sequence[Parked]) -> list[tuple[str, int, str]]:
    return [(each.source, each.sequence, each.reason) for each in parked]


@given(st.data())
def test_repeats_change_nothing(data: st.DataObject) -> None:
    """In order from two sources, each event repeated any number of times: the inbox is at the end, each counts once."""
    events = [message("registration", n) for n in range(1, 7)] + [message("screening", n) for n in range(1, 5)]
    record, parked = empty(), list[Parked]()
    for n, each in enumerate(events):
        repeated = data.draw(st.lists(st.sampled_from(events[: n + 1]), max_size=3))
        record, more = consumed(record, each, *repeated)
        parked += more
    assert record.inbox == {"registration": 6, "screening": 4} and not parked
    assert record.state == ReportingRules.State(province="IR-20", consumed={"ApplicantRegistered": 6, "CaseOpened": 4})
    again, parked = consumed(record, *events)
    assert again is record and not parked


class FoldingRules(ReportingRules):
    """ReportingRules that fold events at once."""

    @staticmethod
    def fold(state: Any, envelopes: Sequence[Envelope]) -> Any:
        for envelope in envelopes:
            state = ReportingRules.evolve(state, envelope)
        return state


class NeverFolding(FoldingRules):
    """Their folds fail, so that each event is handled alone."""

    @staticmethod
    def fold(state: Any, envelopes: Sequence[Envelope]) -> Any:
        raise ValueError


@given(st.data())
def test_events_folded_at_once_leave_what_single_ones_leave(data: st.DataObject) -> None:
    """In any order, with repeats, gaps, faults, and events of unknown types."""
    events = [message("registration", n, field=POISON if n == 5 else "honey") for n in range(1, 7)]
    events += [*(message("screening", n) for n in range(1, 5)), unknown(4), message("screening", 6)]
    chosen = data.draw(st.one_of(st.lists(st.sampled_from(events), max_size=14), st.just(events[:4] + events[6:10])))
    ways: list[Any] = [ReportingRules, FoldingRules, NeverFolding]
    alone, at_once, fallen_back = (consumed(empty(rules), *chosen, rules=rules) for rules in ways)
    assert alone == at_once == fallen_back


def test_an_early_event_is_parked_and_other_sources_flow_on() -> None:
    record, parked = consumed(empty(), message("registration", 2), message("screening", 1))
    assert record.inbox == {"screening": 1}
    assert summaries(parked) == [("registration", 2, "early")]


def test_parking_alone_returns_the_very_same_record() -> None:
    before = empty()
    for each in (message("registration", 2), message("registration", 1, field=POISON), unknown(1)):
        after, parked = consumed(before, each)
        assert after is before and len(parked) == 1


def test_a_parked_event_keeps_the_bytes_that_came_and_what_is_known_of_them() -> None:
    came = unknown(1)
    (parked,) = consumed(empty(), came)[1]
    assert (parked.subject, parked.raw, parked.since, parked.behind) == ("p", came.raw, NOON, 0)
    assert parked.type == "ir.peyvand.registration.applicant.photographed.v1"


def test_an_event_is_handled_in_the_batch_that_brings_what_was_missing_only_in_order() -> None:
    """An event that came too early stays parked: it is drained from the store, not handled past the queue."""
    record, parked = consumed(empty(), message("registration", 2), message("registration", 1))
    assert record.inbox == {"registration": 1} and summaries(parked) == [("registration", 2, "early")]
    record, parked = consumed(empty(), *(message("registration", n) for n in (2, 1, 2)))
    assert record.inbox == {"registration": 1}, "the repeat may not pass the parked one"
    assert summaries(parked) == [("registration", 2, "early")] * 2


def test_what_follows_a_parked_event_is_parked_behind_it() -> None:
    record, parked = consumed(
        empty(), message("registration", 1, field=POISON), message("registration", 2), message("screening", 1)
    )
    assert record.inbox == {"screening": 1}
    assert summaries(parked) == [("registration", 1, "fault"), ("registration", 2, "early")]
    head = parked[0]
    assert (head.fault.error, head.fault.message) == ("ValueError", "a bug")
    assert head.fault.where.startswith("ReportingRules.evolve:")


def test_what_follows_the_head_in_the_store_is_parked_behind_it() -> None:
    head = consumed(empty(), message("registration", 1, field=POISON))[1][0]
    heads = {head.source: head}
    record, parked = consume(empty(), REPORTING, "reporting", [message("registration", 2)], noon(), heads)
    assert record.version == 0 and summaries(parked) == [("registration", 2, "early")]
    again = consume(empty(), REPORTING, "reporting", [message("registration", 1)], noon(), heads)[1]
    assert summaries(again) == [("registration", 1, "early")], "the head itself is not handled past the queue"
    later_head = replace(head, sequence=3)
    events = [message("registration", n) for n in (1, 2, 3)]
    record, parked = consume(empty(), REPORTING, "reporting", events, noon(), {"registration": later_head})
    assert record.inbox == {"registration": 2}, "what is before the head is handled"
    assert summaries(parked) == [("registration", 3, "early")]


def test_an_unknown_type_is_parked_and_what_follows_waits() -> None:
    record, parked = consumed(empty(), message("registration", 1), unknown(2), message("registration", 3))
    assert record.inbox == {"registration": 1}
    assert summaries(parked) == [("registration", 2, "unknown_type"), ("registration", 3, "early")]


def test_faults_that_need_the_same_fix_have_the_same_fingerprint() -> None:
    one, other = (consumed(empty(), message("registration", 1, subject=s, field=POISON))[1][0] for s in "ab")
    Picky.fixed = False
    another = consumed(empty(), message("registration", 1, WITHDRAWN), rules=Picky)[1][0]
    assert one.fingerprint == other.fingerprint != another.fingerprint
    assert len(one.fingerprint) == 12 and one.subject != other.subject


def test_a_discarded_event_is_recorded_and_never_comes_back() -> None:
    Picky.fixed = False
    events = [message("registration", 1, WITHDRAWN), message("registration", 2)]
    before, _ = consumed(empty(), *events, rules=Picky)
    after = discard(before, Discarded("registration", 1, "nonsense", "operator:o1", NOON))
    assert after.discarded == (Discarded("registration", 1, "nonsense", "operator:o1", NOON),)
    after, parked = consumed(after, *events, rules=Picky)
    assert after.inbox == {"registration": 2} and after.state.consumed == {"ApplicantRegistered": 1} and not parked


def test_an_event_that_is_missing_can_be_discarded() -> None:
    record = discard(empty(), Discarded("registration", 1, "lost", "operator:o1", NOON))
    assert record.inbox == {"registration": 1}
    assert consumed(record, message("registration", 2))[0].inbox == {"registration": 2}


def test_only_the_next_event_of_a_source_can_be_discarded() -> None:
    with pytest.raises(AssertionError):
        discard(empty(), Discarded("registration", 2, "", "", NOON))


def test_fields_that_cannot_be_computed_are_a_fault() -> None:
    class Unindexed(ReportingRules):
        @staticmethod
        def indexed(state: Any) -> dict[str, Any]:
            raise KeyError("no index")

    record, parked = consumed(empty(), message("registration", 1), rules=Unindexed)
    assert record.state == ReportingRules.State()
    assert summaries(parked) == [("registration", 1, "fault")] and parked[0].fault.error == "KeyError"


def test_a_full_record_refuses_commands_and_parks_reactions() -> None:
    full = replace(empty(ScreeningRules), last_sequence=EVENTS_LIMIT)
    with pytest.raises(RecordFull):
        emit(full, SCREENING, "screening", [CaseOpened(due=NOON.date())], noon())
    (parked,) = consumed(full, message("registration", 1), rules=ScreeningRules)[1]
    assert (parked.reason, parked.fault.error) == ("fault", "RecordFull")


def test_a_full_record_can_still_be_erased() -> None:
    erased = EventWithContext(ApplicantErased(reason="request"), replace(CONTEXT, field="honey"))
    withdrawn = EventWithContext(WITHDRAWN, replace(CONTEXT, field="honey"))
    full = replace(empty(RegistrationRules), last_sequence=EVENTS_LIMIT - EVENTS_RESERVED)
    with pytest.raises(RecordFull):
        emit(full, REGISTRATION, "registration", [withdrawn], noon())
    assert emit(full, REGISTRATION, "registration", [withdrawn, erased], noon()).last_sequence > full.last_sequence


def test_a_reaction_names_its_cause_and_each_event_the_one_before() -> None:
    """The chain of hashes runs through a subject's events, across batches."""
    record = empty(ScreeningRules)
    for n in (1, 2):
        record, _ = consumed(record, message("registration", n), rules=ScreeningRules)
    first, second = map(decode, record.new_events)
    assert (first.cause, second.cause) == ("registration/1", "registration/2")
    assert (first.previous, second.previous) == ("", digest(record.new_events[0]))
    assert record.last_hash == digest(record.new_events[1])
    assert first.context == replace(CONTEXT, field="honey")


def test_an_event_is_never_before_the_last_one_of_its_subject() -> None:
    """Times are in whole milliseconds, as the database keeps them."""
    later, sooner = NOON + timedelta(hours=1, microseconds=1_234), NOON
    registered = EventWithContext(REGISTERED, replace(CONTEXT, field="honey"))
    record = emit(empty(RegistrationRules), REGISTRATION, "registration", [registered], Moment(later, later))
    withdrawn = ApplicantWithdrawn(reason="other")
    record = emit(record, REGISTRATION, "registration", [withdrawn], Moment(sooner, sooner))
    assert [decode(raw).time for raw in record.new_events] == [NOON + timedelta(hours=1, microseconds=1_000)] * 2
    assert decode(record.new_events[1]).recorded == sooner


class Erased(ApplicantWithdrawn, frozen=True, kw_only=True, omit_defaults=True):
    APPLIES_AT_ONCE: ClassVar[bool] = True


def test_an_event_that_applies_at_once_leaves_no_stored_response() -> None:
    """A replay after an erasure reveals nothing: the state of the time is in each stored response."""
    response = StoredResponse("key", b"", NOON, 1, 1, b"what was known")
    record = replace(empty(), stored_responses=(response,))
    kept, _ = consumed(record, message("registration", 1, WITHDRAWN))
    assert kept.stored_responses == (response,)
    for messages in ((Erased(reason="other"),), (WITHDRAWN, Erased(reason="other"))):
        after, parked = consumed(record, *(message("registration", n, each) for n, each in enumerate(messages, 1)))
        assert not after.stored_responses and not parked and after.inbox["registration"] == len(messages)


def test_a_field_without_a_value_is_not_indexed() -> None:
    """Two records without a person are not two records of one person."""
    record = replace(empty(RegistrationRules), private=Private(indexed={"person": None, "tracking": "t"}))
    registered = EventWithContext(REGISTERED, replace(CONTEXT, field="honey"))
    indexed = emit(record, REGISTRATION, "registration", [registered], noon()).indexed
    assert indexed == {"scope": "IR-20/2001", "tracking": "t"}


def test_no_events_change_nothing() -> None:
    record = empty()
    assert emit(record, REPORTING, "reporting", [], Moment(datetime(2026, 1, 1, tzinfo=UTC), NOON)) is record


class Unindexable(ReportingRules):
    """Rules that cannot compute the indexed fields once a withdrawal has been consumed."""

    @staticmethod
    def indexed(state: Any) -> Any:
        if any("withdrawn" in each.lower() for each in state.consumed):
            raise KeyError("no index")
        return {}


@given(
    st.lists(st.tuples(st.sampled_from(["registration", "screening"]), st.integers(1, 6)), max_size=14),
    st.sampled_from([ReportingRules, ScreeningRules, Picky, Unindexable]),
)
def test_a_batch_ends_as_its_events_one_by_one(events: list[tuple[str, int]], rules: Any) -> None:
    """Repeats, gaps, reactions, faults, and fields that cannot be computed: the same is stored, the same parked."""
    Picky.fixed = False
    messages = [message(s, n, ApplicantWithdrawn(reason="own_request") if n == 3 else REGISTERED) for s, n in events]
    one, heads, parked = empty(rules), dict[str, Parked](), list[Parked]()
    for each in messages:
        one, more = consume(one, rules, "screening", [each], noon(), heads)
        for p in more:
            parked.append(p)
            heads[p.source] = min(p, heads.get(p.source, p), key=lambda head: head.sequence)
    together, parked_together = consume(empty(rules), rules, "screening", messages, noon())
    assert together == one
    assert parked_together == parked
