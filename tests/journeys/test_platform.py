"""Whatever is repeated, reordered, crashed or raced: the figures of reporting equal an independent recount."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.store import Change
from reporting.tallies import MemoryTallies
from tests.journeys.in_process_platform import ALL, InProcessPlatform
from tests.journeys.scenarios import VERBS, Step, drawn, run

EXAMPLES = int(os.environ.get("PEYVAND_JOURNEYS", "1000"))

steps = st.lists(st.tuples(st.sampled_from(VERBS), st.integers(0, 59), st.integers(0, 2)), min_size=10, max_size=60)


@given(steps=steps, quotas=st.tuples(*[st.integers(0, 3)] * 3), seed=st.integers(0, 2**32))
@settings(max_examples=EXAMPLES)
def test_the_figures_equal_a_recount(steps: list[Step], quotas: tuple[int, int, int], seed: int) -> None:
    """A few people, three provinces, random errors."""
    platform = asyncio.run(run(steps, quotas, seed))
    assert platform.emitted_events()


def test_scenarios_reach_every_type_of_event() -> None:
    """A canary: over some seeds every type of event of the first release is emitted."""
    emitted: set[str] = set()
    for seed in range(40):
        for events in asyncio.run(run(*drawn(seed), seed)).emitted_events().values():
            emitted |= {e["type"].split(".", 3)[3] for e in events}
    assert emitted >= {
        "applicant.reactivated.v1",
        "applicant.waitlisted.v1",
        "applicant.admitted.v1",
        "applicant.seat_released.v1",
        "case.breached.v1",
        "case.info_requested.v1",
        "case.info_supplied.v1",
        "case.info_lapsed.v1",
        "case.appealed.v1",
        "case.appeal_decided.v1",
        "case.appeal_breached.v1",
        "capacity.breached.v1",
        "capacity.identified.v1",
        "offer.accepted.v1",
        "connection.evidenced.v1",
        "connection.sustained.v1",
        "connection.ended.v1",
        "applicant.erased.v1",
    }


async def _lose(self: InProcessPlatform, service: str) -> None:
    """Mark events as published that are not."""
    store = self.stores[service]
    for pending in await store.pending(ALL, 1_000):
        self.append(service, pending.events[self.random.random() < 0.05 :])
        await store.mark_published({pending.subject: pending.published + len(pending.events)})


async def _move_twice(self: MemoryTallies, changes: Sequence[Change], session: Any) -> None:
    """Count events instead of differences."""
    await MOVE(self, changes, session)
    if len(changes) == 3:
        await MOVE(self, changes, session)


MOVE = MemoryTallies.move


@pytest.mark.parametrize(
    ("owner", "name", "broken"),
    [
        (InProcessPlatform, "publish", _lose),
        (MemoryTallies, "move", _move_twice),
        (InProcessPlatform, "append", lambda *_: None),
    ],
    ids=["mark before effect", "tallies moved twice", "nothing is published"],
)
def test_a_broken_platform_is_found(owner: Any, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries: with one promise broken on purpose, some scenario fails."""
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(AssertionError):
        for seed in range(12):
            asyncio.run(run(*drawn(seed), seed))
