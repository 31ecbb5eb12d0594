"""A record that is older than the log: is it completed, and does it react to nothing twice?"""

import pytest
from msgspec.structs import replace

from contracts.envelope import decode, encode
from contracts.events import CaseOpened
from kernel.record import Message, Record, consume, emit
from recovery.missing_events import Inconsistent, take_back
from tests.support.messages import message
from tests.support.small_services import NOON, Register, Withdraw, noon
from tests.support.small_workers import RULES

REGISTRATION, SCREENING = RULES["registration"], RULES["screening"]
EMPTY = Record(subject="p", state=SCREENING.State())


def registered(n: int) -> Record:
    """Return a record of registration with n events."""
    record = Record(subject="p", state=REGISTRATION.State())
    for i in range(n):
        command = Register() if i % 2 == 0 else Withdraw()
        record = emit(record, REGISTRATION, "registration", REGISTRATION.decide(record.state, command, NOON), noon())
    return record


def own_events(record: Record) -> dict[int, bytes]:
    return dict(enumerate(record.new_events, 1))


def screened(record: Record, *messages: Message) -> Record:
    """Return a record of screening after these events."""
    after, parked = consume(record, SCREENING, "screening", messages, noon())
    assert not parked
    return after


def test_events_that_the_store_has_lost_are_taken_back() -> None:
    complete, old = registered(3), registered(1)
    after, missing = take_back(old, REGISTRATION, own_events(complete), {})
    assert after == complete and not missing
    assert take_back(after, REGISTRATION, own_events(complete), {}) == (after, []), "repeating it changes nothing"


def test_the_cause_of_a_reaction_counts_as_handled() -> None:
    cause = message("registration", 1)
    reacted = screened(EMPTY, cause)
    assert [type(decode(raw).event) for raw in reacted.new_events] == [CaseOpened]
    after, missing = take_back(EMPTY, SCREENING, own_events(reacted), {"registration": {1: cause.raw}})
    assert not missing and after == reacted and after.inbox == {"registration": 1}
    assert screened(after, cause) == after, "it is not reacted to again"


def test_the_fields_by_which_a_record_is_queried_are_computed() -> None:
    reacted = screened(EMPTY, message("registration", 1))
    after, _ = take_back(EMPTY, SCREENING, own_events(reacted), {})
    assert after.indexed == reacted.indexed != {}


def test_what_precedes_a_cause_counts_as_handled_too() -> None:
    causes = [message("registration", n, field=field) for n, field in ((1, "honey"), (2, "saffron"))]
    first = screened(EMPTY, causes[0])
    both = screened(first, causes[1])
    own = own_events(both)
    consumed = {"registration": {n: each.raw for n, each in enumerate(causes, 1)}}
    after, missing = take_back(replace(first, new_events=()), SCREENING, own, consumed)
    assert not missing and after.inbox == {"registration": 2} and after.state == both.state
    assert after.new_events == both.new_events[1:]


def test_a_cause_that_the_log_no_longer_has_is_named_and_counts_as_handled() -> None:
    cause = message("registration", 1)
    after, missing = take_back(EMPTY, SCREENING, own_events(screened(EMPTY, cause)), {})
    assert missing == ["registration/p/1"]
    assert after.inbox == {"registration": 1} and after.state.opened == 1
    assert screened(after, cause) == after


def test_a_log_and_a_record_that_contradict_each_other_are_not_joined() -> None:
    own, old = own_events(registered(3)), registered(1)
    with pytest.raises(Inconsistent, match="event 3 but not 2"):
        take_back(old, REGISTRATION, {1: own[1], 3: own[3]}, {})
    other = encode(replace(decode(own[1]), actor="operator:o2"))
    with pytest.raises(Inconsistent, match="event 1 in the log differs"):
        take_back(old, REGISTRATION, {1: other}, {})
    with pytest.raises(Inconsistent, match="event 2 in the log does not follow"):
        take_back(old, REGISTRATION, {2: own[3].replace(b'"sequence":3', b'"sequence":2')}, {})


def test_a_cause_far_ahead_of_what_was_handled_is_inconsistent() -> None:
    """Otherwise one forged event would occupy the completion for hours."""
    reacted = screened(EMPTY, message("registration", 1))
    (raw,) = reacted.new_events
    forged = encode(replace(decode(raw), cause="registration/9999999999"))
    with pytest.raises(Inconsistent, match="registration/9999999999"):
        take_back(EMPTY, SCREENING, {1: forged}, {})
