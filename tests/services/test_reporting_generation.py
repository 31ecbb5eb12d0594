"""The digest of a generation: it changes with what the tallies follow from, and with nothing else."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.envelope import Envelope
from contracts.events import ApplicantAdmitted, ApplicantSeatReleased
from contracts.examples import APPLICANT
from kernel.stores.memory import MemoryStore
from programme import policies
from programme.calendar import day_end
from programme.work_calendar import DayOff, WorkCalendar, work_calendar
from reporting import generation
from reporting import ranking_cache as ranking_cache_module
from reporting.api.stream import Rows, follow
from reporting.domain import RULES, contributions
from reporting.generation import code_digest, normal_form
from reporting.tallies import MemoryTallies
from tests.support.reporting_round import NOW, START, RoundEvents, app_of, consume, ranking_cache, round_events

CODE = '''
"""A module."""

def f(a):
    """Add."""
    return a + 1  # one more
'''


async def test_tallies_made_with_another_calendar_would_keep_a_residue() -> None:
    """Why a generation has a database of its own: what was added with one calendar is subtracted with another."""
    decree = DayOff(START.date() + timedelta(5), "", "", "decree", "certain", "x")
    before = work_calendar()
    after = replace(before, days_off=(*before.days_off, decree))
    events = RoundEvents()
    events.applicant(APPLICANT, "IR-20", 5)
    connected = len(events.envelopes)
    events.emit("registration", APPLICANT, ApplicantSeatReleased(reason="withdrawn"), NOW, "IR-20")
    assert min(await _durations(events.envelopes, connected, (after, after))) == 0
    assert min(await _durations(events.envelopes, connected, (before, after))) == -1


async def _durations(
    envelopes: Sequence[Envelope], split: int, calendars: tuple[WorkCalendar, WorkCalendar]
) -> list[int]:
    """Return the sums of the histograms of durations; up to `split` counted with one calendar, then with another."""
    store, tallies, sums = MemoryStore("reporting", RULES), MemoryTallies(), Counter[str]()
    for calendar, some in zip(calendars, (envelopes[:split], envelopes[split:]), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(contributions, "work_calendar", lambda known=calendar: known)
            contributions._duration.cache_clear()
            await consume(tallies, some, store)
        contributions._duration.cache_clear()
    for days in tallies.tallies.values():
        for by in days.values():
            sums.update({name: n for name, n in by.items() if name.startswith(contributions.DURATIONS)})
    return list(sums.values())


async def test_an_event_beyond_the_calendar_is_parked_and_counted_by_a_version_with_a_longer_one() -> None:
    events = RoundEvents()
    events.applicant(APPLICANT, "IR-20", 2)
    late = day_end(work_calendar().ends)
    events.emit("registration", APPLICANT, ApplicantAdmitted(), late, "IR-20")
    tallies = MemoryTallies()
    store = await consume(tallies, events.envelopes)
    assert [head.sequence for head in await store.parked.heads(["unknown_type"], APPLICANT)] == [3]
    assert sum(each["events"] for each in tallies.progress.values()) == len(events.envelopes) - 1


async def test_an_open_stream_goes_on_with_the_generation_that_is_served_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_cache_module, "STREAM_WAIT", 0.01)
    caches = [await ranking_cache(round_events().envelopes[:n]) for n in (400, 200)]
    app = app_of(caches[0])
    request: Any = SimpleNamespace(app=app)
    figures = await caches[0].figures()
    assert figures
    events = follow(request, caches[0], figures, Rows("composite"))
    sent = [await anext(events)]
    app.state.runtime.resources = caches[1]
    await caches[1].refresh()
    sent.append(await anext(events))
    await events.aclose()  # type: ignore[attr-defined]
    assert [(each.event, each.id) for each in sent] == [("table", str(each.version)) for each in caches]


def test_comments_docstrings_and_layout_are_not_part_of_the_normal_form() -> None:
    assert normal_form(CODE) == normal_form("def f( a ):\n    return (a\n        + 1)\n")
    assert normal_form(CODE) != normal_form(CODE.replace("a + 1", "a + 2"))


def test_the_digest_covers_what_decides_who_is_counted_and_no_more() -> None:
    covered = generation._closure((generation.ROOT,), generation.WITHIN)
    decisive = ("reporting.tallies", "reporting.domain.contributions", "reporting.domain.applicant")
    assert {*decisive, "reporting.domain.ledger", "reporting.domain.round", "programme.work_calendar"} <= covered.keys()
    assert not {each for each in covered if each.startswith(("contracts", "kernel"))}
    assert not {"reporting.domain.ranking", "reporting.schemas", "programme.messages"} & covered.keys()


def test_changed_code_and_changed_data_change_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, data = tmp_path / "sample", tmp_path / "1404-1.json"
    package.mkdir()
    for name, code in {"__init__": "", "a": "from sample import b", "b": "X = 1", "c": "X = 1"}.items():
        (package / f"{name}.py").write_text(code)
    data.write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)

    def digest() -> str:
        return code_digest(("sample.a",), ("sample",), (data,))

    first = digest()
    (package / "b.py").write_text("X = 1  # the same\n")
    (package / "c.py").write_text("X = 2")  # nothing imports it
    assert digest() == first
    (package / "b.py").write_text("X = 2")
    second = digest()
    data.write_text("[]")
    assert len({first, second, digest()}) == 3


def test_every_policy_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generation.generation()
    assert whole == code_digest((generation.ROOT,), generation.WITHIN, reversed(policies.documents()))
    assert all(
        code_digest((generation.ROOT,), generation.WITHIN, set(policies.documents()) - {each}) != whole
        for each in policies.documents()
    )
