"""Dead letters in large numbers: how many one operator may discard, and what a list loads."""

from collections.abc import Callable
from typing import Any

import pytest

from contracts.commands import Refused
from kernel.batch import process
from recovery import dead_letters
from recovery.dead_letters import DeadLetters
from tests.support.faulty_events import faulty, park_three, recorded_actions, rules_with_bug
from tests.support.messages import message
from tests.support.small_services import Tallies, noon

StoreOf = Callable[..., Any]
ABC = [f"registration/{subject}/1" for subject in "abc"]
OPERATOR = "operator:o1"


async def test_one_operator_discards_a_limited_number_however_many_requests_it_takes(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dead_letters.ONE_OPERATOR_LIMIT == 1_000
    monkeypatch.setattr(dead_letters, "ONE_OPERATOR_LIMIT", 2)
    store, tallies = await store_of("reporting"), Tallies()
    await park_three(store, tallies)
    dead = DeadLetters(store, noon, tallies.move)
    for dry_run in (True, False):
        with pytest.raises(Refused, match="two_persons_needed"):
            await dead.act("discard", ABC[:1], OPERATOR, "test data", dry_run=dry_run)
    assert len(await dead.letters()) == 3 and await recorded_actions(store) == [], "nothing was discarded"
    store.rules = {"applicant": rules_with_bug()}
    await dead.act("retry", ABC[:1], OPERATOR, "", dry_run=False)
    outcomes = await dead.act("discard", ABC[1:], OPERATOR, "test data", dry_run=False)
    assert [each.outcome for each in outcomes] == ["discarded"] * 2, "two are within the limit"


async def test_the_limit_counts_letters_that_no_list_shows_any_more(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list ends at 10,000 letters; more of another cause must not hide how many have this one."""
    monkeypatch.setattr("kernel.stores.mongodb.parked.HEADS_LIMIT", 1)
    monkeypatch.setattr(dead_letters, "ONE_OPERATOR_LIMIT", 2)
    store = await store_of("reporting")
    await park_three(store, Tallies())
    with pytest.raises(Refused, match="two_persons_needed"):
        await DeadLetters(store, noon).act("discard", ABC[2:], OPERATOR, "test data", dry_run=False)


async def test_a_list_loads_the_bytes_of_its_page_only(store_of: StoreOf) -> None:
    store = await store_of("reporting")
    await process(store, [faulty("a@b", 1), message("registration", 3, subject="c")], {}, noon)
    dead = DeadLetters(store, noon)
    listed = await dead.letters()
    assert [(each.id, each.raw) for each in listed] == [("registration/a@b/1", None), ("registration/c/1", None)]
    faulty_one, missing = await dead.whole(listed)
    assert faulty_one.envelope is not None and faulty_one.envelope.subject == "a@b" and missing.raw is None
    outcomes = await dead.act("discard", [listed[0].id], OPERATOR, "test data", dry_run=False)
    assert [each.outcome for each in outcomes] == ["discarded"], "its subject looks like a position"
