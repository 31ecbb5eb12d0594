"""Messages to applicants: for which events, when they may be sent, and how long they are."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import CapacityIdentified, CaseAppealDecided, CaseDecided, CaseInfoRequested
from programme.calendar import TEHRAN, long_date
from programme.notifications import MAX_PARTS, PART, TEMPLATES, Template, parts
from programme.policies import CURRENT, NotificationRules, policy
from registration.domain.applicant import (
    Admit,
    Erase,
    RecordIdentityCheck,
    ReissueCode,
    Waitlist,
    Withdraw,
)
from registration.domain.notifications import postponed, sendable_from, settled
from tests.support.registration_rules import Applicant, approved, register

RULES = NotificationRules()
NOON = datetime(2025, 10, 8, 8, 30, tzinfo=UTC)
IDENTIFIED = CapacityIdentified(product_group="art", unit="piece", monthly_band="1-9", skill_level="skilled")
CAN_WAIT = Template(text="")
LONGEST_DATE = max(
    (long_date(date(2025, 3, 21) + timedelta(days=n), "fa") for n in range(365)), key=lambda text: len(text)
)


def on_the_way_to_a_seat() -> Applicant:
    one = Applicant()
    one.execute(register())
    return one.consume(approved())


def keys(one: Applicant) -> list[str]:
    return [each.key for each in one.state.notifications]


@pytest.mark.parametrize("occasion", TEMPLATES)
def test_a_text_has_two_parts_at_most_names_no_one_and_has_no_link(occasion: str) -> None:
    text = TEMPLATES[occasion].text.format(code="ABCDE-FGHJK", until=LONGEST_DATE)
    assert parts(text) <= MAX_PARTS
    assert text.startswith("پیوند: ") and "{" not in text
    assert not re.search(r"://|www\.|\.ir\b", text)
    assert not re.search("[يكةأ]", text), "letters of Arabic"
    assert set(re.findall(r"{(\w*)", TEMPLATES[occasion].text)) <= {"code", "until"}


@pytest.mark.parametrize(("length", "expected"), [(1, 1), (PART, 1), (PART + 1, 2), (134, 2), (135, 3)])
def test_parts_are_counted_in_ucs_2(length: int, expected: int) -> None:
    assert parts("پ" * length) == expected
    assert parts("\N{HOUSE BUILDING}" * PART) == 3, "an emoji takes two units"


def test_only_what_is_awaited_is_urgent_and_it_is_mandatory_too() -> None:
    assert {name for name, each in TEMPLATES.items() if each.urgent} == {"registered", "code", "lost_code"}
    assert all(each.mandatory for each in TEMPLATES.values() if each.urgent)
    assert {name for name, each in TEMPLATES.items() if not each.mandatory} == {"waitlisted", "identified"}


def test_each_event_that_concerns_the_person_is_an_occasion() -> None:
    one = Applicant()
    one.execute(register())
    assert keys(one) == ["1/registered/1"]
    assert one.indexed["notify_due"] == one.state.notifications[0].at == one.at
    one.execute(RecordIdentityCheck(1, "mismatch"))
    one.execute(ReissueCode())
    for _ in range(2):
        one.consume(CaseInfoRequested(items=("sample_photo",), due=date(2025, 10, 18), case_due=date(2025, 10, 26)))
    one.consume(CaseDecided(application=1, outcome="rejected", reasons=("insured",), rule_version=CURRENT))
    one.consume(CaseAppealDecided(application=1, outcome="rejected", reasons=("insured",)))
    papers = ["1/papers/1", "1/papers/2"]  # each request is another message
    assert keys(one)[1:] == ["1/identity_refused/0", "1/code/2", *papers, "1/rejected/0", "1/appeal_rejected/0"]


def test_a_seat_a_place_on_the_list_and_a_capacity_are_occasions() -> None:
    one = on_the_way_to_a_seat()
    one.execute(Waitlist())
    one.execute(Admit())
    one.consume(IDENTIFIED)
    one.execute(Withdraw("own_request"))
    assert keys(one)[1:] == ["1/waitlisted/0", "1/admitted/0", "1/identified/0", "1/withdrawn/0"]
    assert one.execute(register()) and keys(one)[-1] == "2/registered/2"


def test_a_repeat_and_an_event_of_an_earlier_application_add_nothing() -> None:
    one = Applicant()
    one.execute(register())
    rejected = CaseDecided(application=1, outcome="rejected", reasons=("insured",), rule_version=CURRENT)
    one.consume(rejected)
    before = keys(one)
    one.consume(rejected)
    one.consume(CaseAppealDecided(application=7, outcome="rejected", reasons=("insured",)))
    assert keys(one) == before


def test_who_is_erased_gets_no_message() -> None:
    one = on_the_way_to_a_seat()
    one.execute(Admit())
    one.execute(Erase("request"))
    assert keys(one) == [] and "notify_due" not in one.indexed


def test_what_is_settled_leaves_and_what_is_postponed_is_due_later() -> None:
    one = on_the_way_to_a_seat()
    one.execute(Admit())
    first, second = one.state.notifications
    assert settled(one.state.notifications, first.key) == (second,)
    later = first.due + timedelta(hours=1)
    assert [each.due for each in postponed(one.state.notifications, first.key, later)] == [later, second.due]


@given(st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31)), st.lists(st.integers(-3_000, 0), max_size=9))
def test_what_can_wait_is_sent_by_day_and_not_too_often(now: datetime, minutes: list[int]) -> None:
    now = now.replace(tzinfo=UTC, microsecond=0)
    sent = [now + timedelta(minutes=each) for each in minutes]
    at = sendable_from(CAN_WAIT, RULES, now, sent)
    assert now <= at <= now + timedelta(days=2)
    assert RULES.quiet_until <= at.astimezone(TEHRAN).hour < RULES.quiet_from
    assert sum(each > at - timedelta(days=1) for each in sent) < RULES.daily_limit
    assert sendable_from(CAN_WAIT, RULES, at, sent) == at, "it is not postponed again"
    assert sendable_from(Template(text="", urgent=True), RULES, now, sent) == now


def test_quiet_hours_are_those_of_tehran() -> None:
    evening = datetime(2025, 10, 8, 17, 30, tzinfo=UTC)  # 21:00 there
    assert sendable_from(CAN_WAIT, RULES, evening, ()) == datetime(2025, 10, 9, 4, 30, tzinfo=UTC)
    assert sendable_from(CAN_WAIT, RULES, evening - timedelta(seconds=1), ()) == evening - timedelta(seconds=1)


def test_every_policy_has_rules_of_notification() -> None:
    assert policy(CURRENT).notifications == RULES
