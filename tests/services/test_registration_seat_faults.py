"""The allocator: a ledger or an applicant at fault, and a busy database, stop no other."""

from datetime import datetime
from time import monotonic
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from contracts.subjects import ledger_subject
from kernel.errors import Conflict, Transient, UnreadableRecord
from kernel.query import Query
from kernel.record import EVENTS_LIMIT
from kernel.store import Effects, Snapshot, Unreadable
from registration.domain import applicant
from registration.domain.applicant import Admit, ReleaseSeat
from registration.jobs import faults as job_faults
from registration.jobs import seat_allocation
from registration.jobs.seat_allocation import Allocator
from tests.support.registration_api import ALL_PARTITIONS
from tests.support.registration_seats import Registration

pytestmark = pytest.mark.usefixtures("accepted_short_names")


def faults() -> float:
    return REGISTRY.get_sample_value("peyvand_scheduler_faults_total", {"service": "registration"}) or 0.0


@pytest.mark.parametrize("error", [UnreadableRecord("a"), ValueError("a")])
async def test_a_ledger_that_raises_stops_no_other(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registration, before = Registration(), faults()
    for subject, province in (("a", "IR-07"), ("b", "IR-20")):
        await registration.set_quota(1, province)
        await registration.register(subject, province)
        await registration.approve(subject)
    allocate = Allocator.allocate

    async def broken(self: Allocator, subject: str) -> int:
        if subject == ledger_subject("1404", "IR-07"):
            raise error
        return await allocate(self, subject)

    monkeypatch.setattr(Allocator, "allocate", broken)
    assert await registration.allocator(ALL_PARTITIONS) == 1 and await registration.allocator(ALL_PARTITIONS) == 0
    assert registration.store.records["b"].state.seat and not registration.store.records["a"].state.seat
    assert faults() == before + 1 and "subject='ledger:1404/IR-07'" in capsys.readouterr().out
    monkeypatch.setattr(Allocator, "allocate", allocate)
    later = monotonic() + job_faults.RETRY
    monkeypatch.setattr(job_faults, "monotonic", lambda: later)
    assert await registration.allocator(ALL_PARTITIONS) == 1, "it is tried again"


async def test_an_unreachable_database_stops_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.register("a")
    await registration.approve("a")

    async def unreachable(self: Allocator, subject: str) -> int:
        raise Transient

    monkeypatch.setattr(Allocator, "allocate", unreachable)
    with pytest.raises(Transient):
        await registration.allocator(ALL_PARTITIONS)
    assert not registration.allocator.faults.recent()


def raise_for(county: str, command: type[applicant.Command], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rules raise when they decide on this command about an applicant of this county."""
    decide = applicant.decide

    def raising(state: applicant.State, decided: applicant.Command, at: datetime) -> Any:
        if isinstance(decided, command) and state.context.county == county:
            raise ValueError
        return decide(state, decided, at)

    monkeypatch.setattr(applicant, "decide", raising)


async def test_an_applicant_for_whom_a_seat_raises_keeps_it_free_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others get what they would have got anyway: no seat is given to the next in line, and the line goes on."""
    registration, before = Registration(), faults()
    await registration.set_quota(2)
    for subject in "abcd":
        await registration.register(subject, county="2002" if subject == "a" else "2001")
        await registration.approve(subject)
    raise_for("2002", Admit, monkeypatch)
    await registration.run_allocator()
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["b"] and await registration.with_status("approved") == ["a"]
    assert sorted(await registration.with_status("waitlisted")) == ["c", "d"]
    assert faults() == before + 1 and "subject='a'" in capsys.readouterr().out
    registration.check()
    await registration.withdraw("b")
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["c"], "the seat of b, not that of a"
    monkeypatch.undo()
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["a", "c"]
    registration.check()


async def test_a_seat_whose_release_raises_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    await registration.set_quota(2)
    for subject in "abcd":
        await registration.register(subject, county="2002" if subject == "a" else "2001")
        await registration.approve(subject)
    await registration.run_allocator()
    for subject in "ab":
        await registration.withdraw(subject)
    raise_for("2002", ReleaseSeat, monkeypatch)
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["c"] and registration.seat_ledger().admitted == 2
    registration.check()


async def test_a_record_that_is_full_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = await Registration.with_approved(1, "abc")
    full = replace(registration.store.records["b"], last_sequence=EVENTS_LIMIT)
    registration.store.records["b"] = full
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["a"] and await registration.with_status("waitlisted") == ["c"]
    assert registration.allocator.faults.recent() == {"b"}


def break_records(registration: Registration, subjects: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the records of these applicants be unreadable, as in MongoDB."""
    read = registration.store._read

    def broken(asked: Any, parked: int = 0) -> Snapshot:
        snapshot = read(asked, parked)
        bad = {s: record for s, record in snapshot.records.items() if s in subjects}
        unreadable = {s: Unreadable(r.inbox, "unreadable_record", s, r.indexed) for s, r in bad.items()}
        return replace(
            snapshot, records={s: r for s, r in snapshot.records.items() if s not in bad}, unreadable=unreadable
        )

    monkeypatch.setattr(registration.store, "_read", broken)


@pytest.mark.parametrize("size", [2, 200])
async def test_an_applicant_whose_record_is_unreadable_keeps_a_seat_free_and_stops_no_other(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them there are, and however few fit in a pass."""
    monkeypatch.setattr(seat_allocation, "PASS", size)
    registration = await Registration.with_approved(6, "abcdefghi")
    break_records(registration, "acdg", monkeypatch)
    for _ in range(5):
        await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["b", "e", "f"], "a, c and d keep three seats"
    assert sorted(await registration.with_status("waitlisted")) == ["h", "i"]
    assert registration.allocator.faults.recent() == set("acdg")
    await registration.withdraw("b")
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["e", "f"], "the seat of b is that of g"
    monkeypatch.undo()
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == list("acdefg")
    registration.check()


async def test_one_whose_place_is_unreadable_too_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = await Registration.with_approved(2, "abc")
    store, line = registration.store, registration.store.find_subjects
    break_records(registration, "a", monkeypatch)
    store.records["a"] = replace(store.records["a"], indexed={"priority": "x"})

    async def with_a(query: Query) -> list[str]:
        found = await line(query)
        return ["a", *found] if query.where.get("seating") == "awaiting" else found

    monkeypatch.setattr(store, "find_subjects", with_a)
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["b", "c"]
    assert registration.allocator.faults.recent() == {"a"}


@pytest.mark.parametrize("most", [40, 5, 2])
async def test_a_pass_that_others_interfere_with_is_halved(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line stays in the published order, down to one applicant in a pass."""
    registration = await Registration.with_approved(10, [f"a{n:02}" for n in range(25)])
    transact, sizes = registration.store.transact, list[int]()

    async def busy(subjects: Any, *args: Any, **options: Any) -> Effects:
        sizes.append(len(subjects))
        if len(subjects) > most:
            raise Conflict
        return await transact(subjects, *args, **options)

    monkeypatch.setattr(registration.store, "transact", busy)
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == [f"a{n:02}" for n in range(10)]
    assert len(await registration.with_status("waitlisted")) == 15 and min(sizes) <= most
    registration.check()


async def test_the_smallest_pass_releases_a_seat_and_reads_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 0 must not mean all of the line: the smallest pass would be the largest."""
    registration = Registration()
    await registration.set_quota(1)
    for n in range(9):
        await registration.register(f"a{n}")
        await registration.approve(f"a{n}")
        if n == 0:
            await registration.run_allocator()
    await registration.withdraw("a0")
    transact, sizes = registration.store.transact, list[int]()

    async def busy(subjects: Any, *args: Any, **options: Any) -> Effects:
        sizes.append(len(subjects))
        if len(subjects) > 2:
            raise Conflict
        return await transact(subjects, *args, **options)

    monkeypatch.setattr(registration.store, "transact", busy)
    await registration.run_allocator()
    assert await registration.with_status("admitted") == ["a1"] and min(sizes) == 2
    registration.check()


async def test_a_ledger_that_is_always_busy_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration()
    for subject, province in (("a", "IR-07"), ("b", "IR-20")):
        await registration.set_quota(1, province)
        await registration.register(subject, province)
        await registration.approve(subject)
    transact = registration.store.transact

    async def busy(subjects: Any, *args: Any, **options: Any) -> Effects:
        if ledger_subject("1404", "IR-07") in subjects:
            raise Conflict
        return await transact(subjects, *args, **options)

    monkeypatch.setattr(registration.store, "transact", busy)
    assert await registration.allocator(ALL_PARTITIONS) == 1
    assert await registration.with_status("admitted") == ["b"]
    monkeypatch.undo()
    await registration.run_allocator()
    assert sorted(await registration.with_status("admitted")) == ["a", "b"], "at the next call"
