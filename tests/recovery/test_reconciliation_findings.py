"""What is wrong with a subject, given what its owner holds and its consumer has handled; and the digests of buckets."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from base.clock import machine_now
from contracts.envelope import decode, digest, encode
from contracts.subjects import partition_of
from kernel.commands import execute_many
from kernel.record import Message
from recovery.reconciliation.digests import BUCKETS, bucket_of, consumed_lines, digests, own_lines
from recovery.reconciliation.findings import QUIET, Finding, Handled, judge
from recovery.reconciliation.owner import EVENTS_LIMIT, History, OwnRecords
from tests.support.fixtures import StoreOf
from tests.support.messages import chain, message
from tests.support.parked_events import settle
from tests.support.small_services import Register, Withdraw, noon

SIX = chain("registration", *range(1, 7))
NOW = machine_now()


def held(events: list[Message], first: int = 1, published: int | None = None) -> History:
    """Return the history of an owner that holds these events."""
    last = len(events)
    raws = tuple(each.raw for each in events[first - 1 :])
    return History("p", last, digest(events[-1].raw), last if published is None else published, first, raws)


def handled(n: int, **more: Any) -> Handled:
    return Handled(n, digest(SIX[n - 1].raw) if n else "", **more)


def finding(consumer: Handled, owner: History) -> Finding:
    return judge("registration", consumer, owner, NOW)


def sequences(found: Finding) -> list[int]:
    assert found.disagreement is None
    return [each.envelope.sequence for each in found.missing]


def test_what_the_owner_holds_and_the_consumer_lacks_is_missing() -> None:
    assert sequences(finding(handled(0), held(SIX))) == [1, 2, 3, 4, 5, 6]
    found = finding(handled(4), held(SIX, first=4))
    assert [each.raw for each in found.missing] == [SIX[4].raw, SIX[5].raw]
    assert sequences(finding(handled(6), held(SIX, first=6))) == []


def test_what_is_on_its_way_parked_or_recent_is_not_missing() -> None:
    assert sequences(finding(handled(2), held(SIX, first=2, published=4))) == [3, 4]
    parked = {4: SIX[3].raw, 5: b""}  # the fifth is invalid: the owner's takes its place
    assert sequences(finding(handled(2, parked=parked), held(SIX, first=2))) == [3, 5, 6]
    recent = replace(SIX[5].envelope, recorded=NOW - QUIET + timedelta(seconds=1))
    assert sequences(finding(handled(4), held([*SIX[:5], Message(recent, encode(recent))], first=4))) == [5]


def test_of_a_long_history_as_many_are_missing_as_were_read() -> None:
    owner = replace(held(SIX, first=2), events=tuple(each.raw for each in SIX[1:4]))
    assert sequences(finding(handled(2), owner)) == [3, 4]


def test_an_owner_that_holds_less_is_shown() -> None:
    for owner in (held(SIX[:3], first=3), History("p")):
        found = finding(handled(4), owner).disagreement
        assert found and (found.kind, found.handled, found.held) == ("owner_behind", 4, owner.sequence)


def test_an_owner_with_another_history_is_shown_and_nothing_is_taken_from_it() -> None:
    fork = message("registration", 4, field="saffron")
    forked = [*SIX[:3], fork, *chain("registration", 5, 6, after=fork)]
    for n in (4, 5, 6):
        found = finding(handled(n), held(forked, first=n))
        assert found.disagreement and found.disagreement.kind == "differs" and not found.missing
    unknown = finding(Handled(4), held(forked, first=4))
    assert sequences(unknown) == [5, 6], "without a digest it cannot be known"
    broken = [*SIX[:4], *chain("registration", 5, 6, after=fork)]  # the owner's own events do not follow each other
    assert finding(handled(4), held(broken, first=4)).disagreement


@pytest.mark.parametrize("raw", [b"", b"nonsense", SIX[5].raw, message("screening", 5).raw])
def test_a_damaged_record_of_the_owner_is_shown(raw: bytes) -> None:
    owner = replace(held(SIX, first=4), events=(SIX[3].raw, raw, SIX[5].raw))
    found = finding(handled(4), owner).disagreement
    assert found and found.kind == "differs"


async def test_owner_and_consumer_have_the_same_digests_when_all_is_handled(store_of: StoreOf) -> None:
    """Whatever the order in which it came; and each difference in number or bytes changes its bucket (a canary)."""
    owner, consumer = await store_of("registration"), await store_of("reporting")
    subjects = [f"p{n}" for n in range(2_000)]
    number = partition_of(subjects[0])
    here = [each for each in subjects if partition_of(each) == number]
    assert len(here) > 40 and len({bucket_of(each) for each in here}) > 30

    async def differing(*kinds: str) -> list[int]:
        theirs = await OwnRecords(owner).digests(number, kinds)
        ours = digests((await consumed_lines(consumer, number, ["registration"]))["registration"], kinds)
        assert len(theirs) == len(ours) == BUCKETS
        return [n for n in range(BUCKETS) if theirs[n] != ours[n]]

    await _emit(owner, here)
    emitted = {each: [Message(e, raw) for e, raw in await _events(owner, each)] for each in here}
    await settle(consumer, [event for each in here[1:] for event in reversed(emitted[each])])
    assert await differing("applicant") == [bucket_of(here[0])]
    assert await differing("round") == []
    await settle(consumer, emitted[here[0]][:1])
    assert await differing("applicant") == [bucket_of(here[0])]
    await settle(consumer, emitted[here[0]][1:])
    assert await differing("applicant") == []
    assert sum(map(len, (await own_lines(owner, number)).values())) == len(here)
    await _forge(consumer, here[1])
    assert await differing("applicant") == [bucket_of(here[1])]


async def test_a_history_begins_where_it_is_asked_to_and_is_bounded(store_of: StoreOf) -> None:
    owner = await store_of("registration")
    await _emit(owner, ["p"], EVENTS_LIMIT + 10)
    await owner.mark_published({"p": 7})
    raws, records = await owner.history("p"), OwnRecords(owner)
    (whole,), late = await records.histories({"p": 0}), EVENTS_LIMIT + 9
    tail, none = await records.histories({"p": late, "q": 3})
    assert whole.events == tuple(raws[:EVENTS_LIMIT]) and whole.first == 1
    assert tail == History("p", EVENTS_LIMIT + 10, digest(raws[-1]), 7, late, tuple(raws[late - 1 :]))
    assert none == History("q")


async def _emit(owner: Any, subjects: list[str], events: int = 2) -> None:
    for n in range(events):
        await execute_many(owner, dict.fromkeys(subjects, Withdraw() if n % 2 else Register()), noon)


async def _events(owner: Any, subject: str) -> list[tuple[Any, bytes]]:
    return [(decode(raw), raw) for raw in await owner.history(subject)]


async def _forge(consumer: Any, subject: str) -> None:
    """Change the digest that a consumer has of its last event."""
    before = (await consumer.read([subject]))[subject]
    assert await consumer.swap(
        before, replace(before, inbox={**before.inbox, "x": 1}, inbox_hashes={"registration": "0"})
    )
