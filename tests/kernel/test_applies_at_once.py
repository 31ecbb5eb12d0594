"""Events that apply at once: folded when they arrive, whatever is missing or parked before them, and in their turn."""

from typing import Any

import pytest

from contracts.commands import EventWithContext
from contracts.envelope import Envelope
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, CaseDecided, CaseOpened
from recovery.dead_letters import DeadLetters
from tests.support.fixtures import StoreOf
from tests.support.messages import WITHDRAWN, message, unknown
from tests.support.parked_events import REGISTRATION, head, parked, record, settle
from tests.support.small_services import Events, ScreeningRules, noon

ERASED = WITHDRAWN  # stands for an event that applies at once


class ForgettingRules(ScreeningRules):
    """Empty the state on ERASED, once and for all, and emit one event in response; raise on ERASED if `broken`."""

    broken = False

    class State(ScreeningRules.State, frozen=True, omit_defaults=True):
        erased: bool = False

    @staticmethod
    def react(state: Any, envelope: Envelope, at: Any) -> Events:
        match envelope.event:
            case ApplicantWithdrawn():
                return [EventWithContext(CaseDecided(outcome="rejected"), envelope.context)]
        opened = EventWithContext(CaseOpened(due=at.date()), envelope.context)
        return [opened] if isinstance(envelope.event, ApplicantRegistered) else []

    @classmethod
    def evolve(cls, state: Any, envelope: Envelope) -> Any:
        match envelope.event:
            case ApplicantWithdrawn():
                if cls.broken:
                    raise ValueError("a bug")
                return cls.State(erased=True, opened=state.opened, outcome=state.outcome)
            case ApplicantRegistered() if state.erased:
                return state
        return ScreeningRules.evolve(state, envelope)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ERASED), "APPLIES_AT_ONCE", True)


async def reactions(store: Any) -> list[bytes]:
    return [raw for raw in await store.history("p") if b"rejected" in raw]


async def test_it_is_folded_before_the_record_exists_and_handled_in_its_turn(store_of: StoreOf) -> None:
    store = await store_of("screening", ForgettingRules)
    await settle(store, [message("registration", 3, ERASED)])
    found = await record(store)
    assert found.state.erased and found.inbox == {} and found.version == 1
    assert [(each.sequence, each.reason) for each in (await parked(store))[REGISTRATION]] == [(3, "early")]
    assert not await store.history("p"), "it is reacted to in its turn only"
    await settle(store, [message("registration", 1)])
    found = await record(store)
    assert found.state.erased and not found.state.context.province, "an earlier event revives nothing"
    await settle(store, [message("registration", 2)])
    found = await record(store)
    assert found.state.erased and found.inbox == {"registration": 3} and not await parked(store)
    (raw,) = await reactions(store)
    assert b'"cause":"registration/3"' in raw


async def test_a_repeat_before_its_turn_changes_nothing(store_of: StoreOf) -> None:
    store = await store_of("screening", ForgettingRules)
    await settle(store, [message("registration", 1)], [message("registration", 3, ERASED)])
    before = await record(store)
    assert before.state.erased and not before.state.context.province
    await settle(store, [message("registration", 3, ERASED)] * 3)
    assert await record(store) == before and len((await parked(store))[REGISTRATION]) == 1
    await settle(store, [message("registration", 2)], [message("registration", 3, ERASED)])
    assert (await record(store)).inbox == {"registration": 3} and len(await reactions(store)) == 1


@pytest.mark.parametrize("blocking", [unknown(2), message("registration", 2, field="poison")])
async def test_it_passes_a_head(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch, blocking: Any) -> None:
    store = await store_of("screening", ForgettingRules)
    evolve = ForgettingRules.evolve

    def picky(state: Any, envelope: Envelope) -> Any:
        if envelope.context.field == "poison":
            raise ValueError("a bug")
        return evolve(state, envelope)

    monkeypatch.setattr(ForgettingRules, "evolve", picky)
    await settle(store, [message("registration", 1), blocking, message("registration", 3)])
    first = await head(store)
    assert first.sequence == 2 and first.reason in ("unknown_type", "fault")
    await settle(store, [message("registration", 4, ERASED)])
    found = await record(store)
    assert found.state.erased and found.inbox == {"registration": 1}
    assert (await head(store)).behind == 2
    await DeadLetters(store, noon).act("discard", ["registration/p/2"], "operator:o1", "a test", dry_run=False)
    assert (await record(store)).inbox == {"registration": 4} and len(await reactions(store)) == 1


async def test_if_its_rules_raise_it_waits_as_any_other(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await store_of("screening", ForgettingRules)
    monkeypatch.setattr(ForgettingRules, "broken", True)
    await settle(store, [message("registration", 2, ERASED)])
    assert (await record(store)).version == 0 and (await head(store)).reason == "early"
    await settle(store, [message("registration", 1)])
    assert ((await head(store)).reason, (await head(store)).fault.error) == ("fault", "ValueError")
    monkeypatch.setattr(ForgettingRules, "broken", False)
    await DeadLetters(store, noon).act("retry", ["registration/p/2"], "operator:o1", "", dry_run=False)
    found = await record(store)
    assert found.state.erased and found.inbox == {"registration": 2} and not await parked(store)


async def test_the_projection_follows_when_it_is_folded(store_of: StoreOf) -> None:
    store, seen = await store_of("screening", ForgettingRules), list[bool]()

    async def projection(changes: Any, session: Any) -> None:
        seen.extend(after.state.erased for _, after in changes)

    await settle(store, [message("registration", 2, ERASED)], projection=projection)
    assert seen == [True]


async def test_any_other_event_waits_for_its_turn(store_of: StoreOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ERASED), "APPLIES_AT_ONCE", False)
    store = await store_of("screening", ForgettingRules)
    await settle(store, [message("registration", 2, ERASED)])
    assert (await record(store)).version == 0
