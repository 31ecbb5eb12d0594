"""A record that cannot be read, whatever is wrong with it, concerns its own subject only."""

from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY

from base.clock import Moment
from contracts.commands import Tick
from kernel.batch import process
from kernel.commands import Result, execute, execute_many
from kernel.errors import UnreadableRecord
from kernel.query import EXISTS, Query
from kernel.store import due_query, find_one, read_snapshot
from kernel.stores.mongodb import MongoStore
from tests.support.messages import WITHDRAWN, message
from tests.support.small_services import NOON, PERIOD, Register, RegistrationRules, ScreeningRules, Withdraw, noon

pytestmark = pytest.mark.server

SUBJECTS = ("a", "b", "c", "d", "e")
TP = ("peyvand.registration", 0)
POISONS: tuple[dict[str, Any], ...] = (
    {"state": "{"},
    {"state": '{"opened": "another shape"}'},
    {"state": 7},
    {"rules_version": 99},
    {"rules_version": "x"},
    {"version": "x"},
    {"version": 0},
    {"last_sequence": "x"},
    {"last_time": "x"},
    {"last_hash": 7},
    {"inbox": "x"},
    {"inbox": {"registration": "x"}},
    {"inbox": {"registration": None}},
    {"private": "x"},
    {"private": {"indexed": 7}},
    {"stored_responses": [{"key": 7}]},
    {"discarded": "x"},
    {"kind": "gone"},
)
MISSING = ("state", "rules_version", "version", "last_sequence", "last_hash", "inbox", "kind")


def rules(of_applicants: Any) -> Any:
    """Return the rules by kind of subject."""
    return {"applicant": of_applicants}


def left_out() -> float:
    """Return how many records were left out of answers."""
    return sum(
        REGISTRY.get_sample_value("peyvand_unreadable_records_total", {"service": "screening", "reason": reason}) or 0.0
        for reason in ("newer_rules", "unreadable_record")
    )


@pytest.fixture
async def store(database: Any) -> MongoStore:
    """Make the store of screening, with five cases."""
    store = MongoStore(database, "screening", rules(ScreeningRules))
    await store.create_indexes()
    await process(store, [message("registration", 1, subject=s) for s in SUBJECTS], {}, noon)
    return store


def later() -> Moment:
    return Moment(NOON + 2 * PERIOD, NOON + 2 * PERIOD)


async def test_the_others_are_listed_consumed_ticked_and_published(store: MongoStore) -> None:
    poisons = [*({"$set": each} for each in POISONS), *({"$unset": {field: ""}} for field in MISSING)]
    broken = [f"p{n:02}" for n in range(len(poisons))]
    await process(store, [message("registration", 1, subject=s) for s in broken], {}, noon)
    for subject, poison in zip(broken, poisons, strict=True):
        assert (await store.records.update_one({"_id": subject}, poison)).modified_count, poison
    before = [d async for d in store.records.find({"_id": {"$in": broken}})]
    assert [each.subject for each in await store.find(Query(where={"due": EXISTS}))] == list(SUBJECTS)
    assert set((await read_snapshot(store, [*SUBJECTS, *broken])).unreadable) == set(broken)
    await store.cursors([TP])
    events = [message("registration", n, WITHDRAWN, subject=s) for n in (2, 3) for s in (*broken, *SUBJECTS)]
    await process(store, events, {TP: (0, len(events))}, noon)
    assert {r.inbox["registration"] for r in (await store.read(SUBJECTS)).values()} == {3}
    assert [len(await store.parked.events((s, "registration"), 9)) for s in broken] == [2] * len(broken)
    due = await store.find_subjects(due_query(range(32), later().at, 99))
    outcomes = await execute_many(store, dict.fromkeys(due, Tick(later().at)), later)
    assert [s for s, outcome in outcomes.items() if isinstance(outcome, Result)] == list(SUBJECTS)
    assert [d async for d in store.records.find({"_id": {"$in": broken}})] == before, "left as they are"
    assert {each.subject for each in await store.pending(range(32), 99)} == {*broken, *SUBJECTS}, "what was emitted"


async def test_a_page_is_as_long_as_without_it_and_the_next_one_has_no_gap(
    store: MongoStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a list would end at the first unreadable record."""
    before = left_out()
    await store.records.update_many({"_id": {"$in": ["a", "c"]}}, {"$set": {"state": "{"}})
    query = Query("applicant", {"due": EXISTS}, limit=2)
    first = await store.find(query)
    assert [each.subject for each in first] == ["b", "d"]
    rest = await store.find(Query("applicant", {"due": EXISTS}, after=("d",), limit=2))
    assert [each.subject for each in rest] == ["e"]
    assert left_out() == before + 2
    await store.find(query)
    log = capsys.readouterr().out
    assert log.count("unreadable record left out") == 2 and "subject='a'" in log, "each of them once"


async def test_who_asks_for_this_very_record_gets_an_error(store: MongoStore) -> None:
    await store.records.update_one({"_id": "a"}, {"$set": {"state": "{"}})
    with pytest.raises(UnreadableRecord):
        await find_one(store, Query("applicant", {"subject": "a"}))
    assert await find_one(store, Query("applicant", {"subject": "z"})) is None


async def test_a_snapshot_does_not_take_it_for_a_new_record(store: MongoStore) -> None:
    """Inserting it would meet the damaged one for ever."""
    await store.records.update_one({"_id": "b"}, {"$set": {"state": "{"}})
    snapshot = await read_snapshot(store, ("a", "b", "new"))
    assert sorted(snapshot.records) == ["a", "new"] and list(snapshot.unreadable) == ["b"]


async def test_its_outbox_stops_no_other(database: Any) -> None:
    store = MongoStore(database, "registration", rules(RegistrationRules))
    await store.create_indexes()
    poisons: Sequence[dict[str, Any]] = [{"published": "x"}, {"events": "x"}, {"events": ["x"]}, {"events": {"0": b""}}]
    for subject in ("b", "p0", "p1", "p2", "p3"):
        await execute(store, subject, Register(), noon)
    for n, poison in enumerate(poisons):
        await store.records.update_one({"_id": f"p{n}"}, {"$set": poison})
    await execute(store, "b", Withdraw(), noon)
    pending = await store.pending(range(32), 9)
    assert [(each.subject, len(each.events)) for each in pending] == [("b", 2)]
    await store.mark_published({"b": 2})
    assert not await store.pending(range(32), 9)
    assert await store.records.count_documents({"pending_since": {"$exists": True}}) == 4, "they raise OutboxStalled"
