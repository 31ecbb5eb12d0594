"""A proposal: made by one person, signed by another one, closed once; the digest covers exactly what takes effect."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from contracts.commands import EventWithContext, Refused, Tick
from contracts.envelope import Context, Envelope
from contracts.events import Event, ProposalExpired, ProposalMade, ProposalSigned
from programme.deadlines import proposal_until
from registration.domain import proposal as rules
from registration.domain.proposal import Change, Decline, Make, Sign, State, Withdraw, control_number
from registration.quota_changes import commands_of

AT = datetime(2025, 10, 25, 8, tzinfo=UTC)
ROUND = Context(round="1404", policy="1404-1")
MAKE = Make(
    round="1404",
    policy="1404-1",
    action="move_seats",
    reason="unused_seats",
    changes=(Change("IR-06", 2_600, 2_540), Change("IR-20", 1_300, 1_360)),
    expires=AT + timedelta(days=8),
)
ID = "0199fb3c-1d20-7a44-b0c5-7e8f9a0b1c2d"
SUBJECT = f"proposal:1404/{ID}"
PROPOSER, SIGNER = "jahad_national:of-1", "ministry_admin:of-2"


def executed(state: State, command: rules.Command, actor: str = PROPOSER, at: datetime = AT) -> State:
    for each in rules.decide(state, command, at):
        event: Event = each.event if isinstance(each, EventWithContext) else each
        context = each.context if isinstance(each, EventWithContext) else ROUND
        envelope = Envelope("registration", "x", 1, at, event, context, actor)
        state = rules.evolve(state, envelope)
    return state


def sign(state: State, by: str = SIGNER, at: datetime = AT, control: str = "") -> list[Any]:
    return list(rules.decide(state, Sign(by, control or control_number(state)), at))


MADE = executed(State(), MAKE)


def test_a_proposal_has_before_and_after_and_lasts_seven_working_days() -> None:
    assert (MADE.status, MADE.proposer, MADE.changes) == ("open", PROPOSER, MAKE.changes)
    assert proposal_until(AT, "1404-1").isoformat() == "2025-11-03T00:00:00+03:30", "Friday does not count"
    assert rules.indexed(MADE)["due"] == MAKE.expires


def test_the_second_person_is_another_person_whatever_the_role() -> None:
    assert sign(MADE) == [ProposalSigned()]
    for by in (PROPOSER, "ministry_admin:of-1"):
        with pytest.raises(Refused, match="proposal_own"):
            sign(MADE, by)
        with pytest.raises(Refused, match="proposal_own"):
            rules.decide(MADE, Decline(by, "later"), AT)


def test_only_the_control_number_of_exactly_this_is_accepted() -> None:
    with pytest.raises(Refused, match="control_differs"):
        sign(MADE, control="000000000")
    numbers = set()
    for other in (
        MAKE,
        replace(MAKE, changes=(Change("IR-06", 2_600, 2_541), Change("IR-20", 1_300, 1_359))),
        replace(MAKE, changes=(Change("IR-06", 2_601, 2_540), Change("IR-20", 1_300, 1_360))),
        replace(MAKE, reason="demand"),
        replace(MAKE, expires=AT + timedelta(days=9)),
    ):
        digits = control_number(executed(State(), other))
        assert len(digits) == 9 and digits.isdigit()
        numbers.add(digits)
    for actor, at in ((SIGNER, AT), (PROPOSER, AT + timedelta(milliseconds=1))):
        numbers.add(control_number(executed(State(), MAKE, actor, at)))
    assert len(numbers) == 7


def test_the_control_number_survives_a_store_and_the_log() -> None:
    """They return instants in UTC, and a deadline is the end of a day in Tehran."""
    in_tehran = replace(MAKE, expires=proposal_until(AT, "1404-1"))
    made = executed(State(), in_tehran)
    assert made.expires and made.expires.utcoffset() != timedelta()
    stored = msgspec.json.decode(msgspec.json.encode(made), type=State)
    stored = replace(stored, made=made.made, expires=made.expires.astimezone(UTC))
    assert control_number(stored) == control_number(made)


def test_a_closed_proposal_stays_closed() -> None:
    closed = [
        executed(MADE, Sign(SIGNER, control_number(MADE)), SIGNER),
        executed(MADE, Decline(SIGNER, "later"), SIGNER),
        executed(MADE, Withdraw(PROPOSER)),
        executed(MADE, Tick(MAKE.expires), "clock:", MAKE.expires),
    ]
    assert [each.status for each in closed] == ["signed", "declined", "withdrawn", "expired"]
    for each in closed:
        assert rules.indexed(each)["due"] is None and not rules.decide(each, Tick(MAKE.expires), MAKE.expires)
        for command in (Sign(SIGNER, control_number(MADE)), Decline(SIGNER, "later"), Withdraw(PROPOSER)):
            with pytest.raises(Refused, match="proposal_closed"):
                rules.decide(each, command, AT)


def test_it_expires_when_its_time_is_over_and_cannot_be_signed_after_it() -> None:
    assert not rules.decide(MADE, Tick(MAKE.expires - timedelta(seconds=1)), AT)
    assert rules.decide(MADE, Tick(MAKE.expires), MAKE.expires) == [ProposalExpired()]
    with pytest.raises(Refused, match="proposal_closed"):
        sign(MADE, at=MAKE.expires)


def test_only_who_made_it_withdraws_it_and_a_refusal_has_a_reason() -> None:
    with pytest.raises(Refused, match="proposal_of_another"):
        rules.decide(MADE, Withdraw(SIGNER), AT)
    with pytest.raises(Refused, match="code_unknown"):
        rules.decide(MADE, Decline(SIGNER, "because"), AT)
    assert executed(MADE, Decline(SIGNER, "not_needed"), SIGNER).refusal == "not_needed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"changes": (Change("IR-20", 5, 5),)}, "proposal_empty"),
        ({"changes": ()}, "proposal_empty"),
        ({"changes": (Change("IR-20", 5, -1),)}, "quota_invalid"),
        ({"changes": (Change("IR-20", 5, 1_000_001),)}, "quota_invalid"),
        ({"reason": "because"}, "code_unknown"),
        ({"action": "close"}, "code_unknown"),
    ],
)
def test_what_cannot_be_proposed(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused, match=code):
        rules.decide(State(), replace(MAKE, **changes), AT)


def test_a_move_names_the_other_province_and_keeps_the_sum() -> None:
    source, target = commands_of(SUBJECT, MADE)
    assert (source.province, source.counterpart, source.quota) == ("IR-06", "IR-20", 2_540)
    assert (target.province, target.counterpart, target.quota) == ("IR-20", "IR-06", 1_360)
    assert source.proposal == target.proposal == ID
    assert source.quota + target.quota == source.previous + target.previous
    [made] = rules.decide(State(), MAKE, AT)
    assert isinstance(made, EventWithContext) and isinstance(made.event, ProposalMade)
    quotas = executed(State(), replace(MAKE, action="set_quotas"))
    assert not any(each.counterpart for each in commands_of(SUBJECT, quotas))
