"""Seats: quota = available + held + admitted, never negative, never over."""

from datetime import UTC, datetime

import pytest

from contracts.commands import EventWithContext, Refused
from contracts.envelope import Context, Envelope
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased, ApplicantWaitlisted, Event, QuotaSet
from registration.domain import ledger as rules
from registration.domain.ledger import SetQuota, State

AT = datetime(2025, 9, 27, 8, tzinfo=UTC)
SEMNAN = Context(round="1404", province="IR-20", policy="1404-1")


def envelope_of(event: Event) -> Envelope:
    return Envelope(source="registration", subject="x", sequence=1, time=AT, event=event, context=SEMNAN)


def set_quota(state: State, quota: int) -> tuple[State, list[Event]]:
    events: list[Event] = []
    for each in rules.decide(
        state, SetQuota(round="1404", province="IR-20", policy="1404-1", quota=quota, previous=state.quota), AT
    ):
        assert isinstance(each, EventWithContext) and each.context == SEMNAN
        events.append(each.event)
        state = rules.evolve(state, envelope_of(each.event))
    return state, events


def test_a_quota_has_the_previous_one_and_the_same_again_emits_nothing() -> None:
    state, events = set_quota(State(), 1_300)
    assert events == [QuotaSet(quota=1_300)] and rules.available(state) == 1_300
    assert set_quota(state, 1_300)[1] == []
    state, events = set_quota(state, 1_200)
    assert events == [QuotaSet(quota=1_200, previous=1_300)]
    assert rules.context(state) == SEMNAN


def test_a_quota_of_zero_is_a_quota() -> None:
    state, events = set_quota(State(), 0)
    assert events == [QuotaSet(quota=0)] and set_quota(state, 0)[1] == []


def test_a_quota_is_never_below_the_held_seats() -> None:
    state, _ = set_quota(State(), 2)
    for _ in range(2):
        state = rules.evolve(state, envelope_of(ApplicantAdmitted()))
    assert rules.indexed(state) == {
        "scope": "IR-20",
        "round": "1404",
        "quota": 2,
        "admitted": 2,
        "available": 0,
    }
    with pytest.raises(Refused) as refused:
        set_quota(state, 1)
    assert refused.value.code == "quota_below_admitted" and refused.value.details["admitted"] == 2
    state = rules.evolve(state, envelope_of(ApplicantSeatReleased(reason="withdrawn")))
    assert rules.available(set_quota(state, 1)[0]) == 0


@pytest.mark.parametrize("quota", [-1, 1_000_001])
def test_invalid_quotas(quota: int) -> None:
    with pytest.raises(Refused, match="quota_invalid"):
        set_quota(State(), quota)


def test_applicants_may_wait_before_a_quota_is_set() -> None:
    state = rules.evolve(State(), envelope_of(ApplicantWaitlisted()))
    assert (state.round, state.province, rules.available(state)) == ("1404", "IR-20", 0)
    assert set_quota(state, 5)[1] == [QuotaSet(quota=5)]
