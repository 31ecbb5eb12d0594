"""A round takes applications in its windows, for its fields."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.commands import EventWithContext, Refused
from contracts.envelope import Envelope
from contracts.events import Event, RoundOpened, RoundWindowSet
from registration.domain import round as rules
from registration.domain.round import OpenRound, Simulation, State, Window

OPENS = datetime(2025, 9, 27, 4, 30, tzinfo=UTC)
DAY = timedelta(days=1)
WHOLE = Window(OPENS, OPENS + 60 * DAY)
LATE = Window(OPENS + 10 * DAY, OPENS + 20 * DAY)


def open_round(**changes: Any) -> OpenRound:
    usual: dict[str, Any] = {"round": "1404", "policy": "1404-1", "fields": ("JF001", "JF002"), "window": WHOLE}
    return OpenRound(**usual | changes)


def after(state: State, command: OpenRound, at: datetime = OPENS) -> tuple[State, list[Event]]:
    events: list[Event] = []
    for n, emitted in enumerate(rules.decide(state, command, at), 1):
        assert isinstance(emitted, EventWithContext)
        events.append(emitted.event)
        envelope = Envelope(
            source="registration",
            subject="round:1404",
            sequence=n,
            time=at,
            event=emitted.event,
            context=emitted.context,
        )
        state = rules.evolve(state, envelope)
    return state, events


def test_opening_a_round_emits_it_and_each_window_of_a_province() -> None:
    state, events = after(State(), open_round(windows={"IR-20": LATE}))
    assert [type(e) for e in events] == [RoundOpened, RoundWindowSet]
    assert rules.context(state).policy == "1404-1"
    assert rules.is_open(state, "IR-07", OPENS) and not rules.is_open(state, "IR-20", OPENS)
    assert rules.is_open(state, "IR-20", LATE.opens) and not rules.is_open(state, "IR-20", LATE.closes)


def test_opening_the_same_round_again_emits_nothing_and_amending_emits_what_changed() -> None:
    state, _ = after(State(), open_round(windows={"IR-20": LATE}))
    assert after(state, open_round(windows={"IR-20": LATE}))[1] == []
    longer = Window(OPENS, OPENS + 90 * DAY)
    state, events = after(state, open_round(window=longer))
    assert [type(e) for e in events] == [RoundOpened, RoundWindowSet]
    assert rules.window_of(state, "IR-20") == longer == rules.window_of(state, "IR-01")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"fields": ()}, "missing_field", "fields"),
        ({"window": Window(OPENS, OPENS)}, "closes_before_opens", "closes"),
        ({"windows": {"IR-20": Window(LATE.closes, LATE.opens)}}, "closes_before_opens", "windows.IR-20"),
        ({"windows": {"IR-20": Window(OPENS - DAY, OPENS)}}, "window_outside_round", "windows.IR-20"),
    ],
)
def test_invalid_rounds_are_refused(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        rules.decide(State(), open_round(**changes), OPENS)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_the_policy_of_a_round_is_never_changed() -> None:
    state, _ = after(State(), open_round())
    with pytest.raises(Refused, match="round_exists"):
        rules.decide(state, open_round(policy="1405-1"), OPENS)


def test_a_simulated_round_is_announced_as_one_and_never_becomes_a_real_one() -> None:
    simulation = Simulation(40, ("IR-20",))
    state, events = after(State(), open_round(simulation=simulation))
    assert [(e.simulated_per_mille, e.simulated_whole) for e in events if isinstance(e, RoundOpened)] == [
        (40, ("IR-20",))
    ]
    later, events = after(state, open_round(simulation=simulation, fields=("JF001",)))
    assert len(events) == 1 and later.simulation == simulation
    for known, other in ((state, None), (state, Simulation(50)), (after(State(), open_round())[0], simulation)):
        with pytest.raises(Refused, match="round_exists") as refused:
            rules.decide(known, open_round(simulation=other), OPENS)
        assert refused.value.field == "simulation"


def test_which_applications_a_round_takes() -> None:
    state, _ = after(State(), open_round(windows={"IR-20": LATE}))
    rules.check_intake(state, "IR-07", "JF001", OPENS)
    for a_state, province, field, at, code in (
        (State(), "IR-07", "JF001", OPENS, "round_unknown"),
        (state, "IR-20", "JF001", OPENS, "intake_closed"),
        (state, "IR-07", "JF001", OPENS - DAY, "intake_closed"),
        (state, "IR-07", "JF003", OPENS, "field_not_open"),
    ):
        with pytest.raises(Refused, match=code):
            rules.check_intake(a_state, province, field, at)
