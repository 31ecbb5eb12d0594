"""What only the real database can show: indexes, errors, transactions that conflict, documents as they are stored."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace
from pymongo import AsyncMongoClient, IndexModel, WriteConcern
from pymongo.errors import DuplicateKeyError, NetworkTimeout, OperationFailure
from pymongo.read_concern import ReadConcern

import kernel.stores.mongodb.store as store_module
from base.clock import machine_now
from contracts.commands import Refused, Tick
from contracts.subjects import partition_of
from kernel.batch import process
from kernel.commands import CommandMetadata, Result, execute, execute_many
from kernel.errors import Conflict, Fenced, NewerRules, Transient, UnreadableRecord
from kernel.query import Index
from kernel.record import EVENTS_ALERT
from kernel.store import Effects, Snapshot, due_query
from kernel.stores.mongodb import MongoStore
from kernel.stores.mongodb import store as mongodb_store
from kernel.stores.mongodb.client import translate_errors
from kernel.stores.mongodb.indexes import create_indexes, missing_indexes
from kernel.stores.mongodb.queries import filter_of, sort_of
from run.backlog import Backlog, read_backlog
from tests.support.messages import message, person, unknown
from tests.support.servers import Servers
from tests.support.small_services import (
    NOON,
    PERIOD,
    POISON,
    Register,
    RegistrationRules,
    ReportingRules,
    ScreeningRules,
    Withdraw,
    noon,
)

pytestmark = pytest.mark.server
EVERYWHERE = range(32)


async def make_store(database: Any, rules: Any = RegistrationRules, **options: Any) -> MongoStore:
    """Return a store with its indexes."""
    service = "screening" if rules is ScreeningRules else "registration"
    store = MongoStore(database, service, {"applicant": rules}, **options)
    await store.create_indexes()
    return store


async def test_the_client_reads_and_writes_with_majority(database: Any) -> None:
    """What a lost primary may lose is neither read nor acknowledged."""
    assert database.client.write_concern == WriteConcern(w="majority", j=True)
    assert database.client.read_concern == ReadConcern("majority")


async def test_creating_indexes_again_changes_nothing(database: Any) -> None:
    store = await make_store(database, unique=("person",), indexes=[Index("applicant", ("scope",))])
    before = await store.records.index_information(), await store.parked.collection.index_information()
    await store.create_indexes()
    assert (await store.records.index_information(), await store.parked.collection.index_information()) == before
    records, parked = before
    assert {
        "indexed.person",
        "stored_responses.key",
        "pending_since_partition",
        "indexed.due__id_partition",
        "applicant_kind_indexed.scope__id",
    } <= records.keys()
    assert records["indexed.person"]["unique"] and records["stored_responses.key"]["unique"]
    assert records["applicant_kind_indexed.scope__id"]["partialFilterExpression"]["kind"] == "applicant"
    whole = {name for name, each in [*records.items(), *parked.items()] if "partialFilterExpression" not in each}
    compared = {"partition_1"}  # reconciliation compares all records of a partition
    assert whole == {"_id_", "subject_1_source_1_sequence_1"} | compared, (
        "other indexes hold only what they are asked for"
    )
    assert {"subject_1", "partition_1_reason_1", "reason_1_since_1"} <= parked.keys()


async def test_a_workers_queries_use_an_index(database: Any) -> None:
    """Pending, due and parked events are found without looking at every record, and in their order."""
    store = await make_store(database)
    await execute_many(store, {f"p{n}": Register() for n in range(50)}, noon)
    pending = {"partition": {"$in": [1, 2, 3]}, "pending_since": {"$exists": True}}
    plans = [await store.records.find(pending).sort("pending_since", 1).explain()]
    for query in (
        {"head": True, "partition": {"$in": [1, 2]}, "reason": "ready"},
        {"head": True, "subject": {"$in": ["p1", "p2"]}},
        {"head": True, "reason": {"$in": ["fault"]}},
    ):
        plans.append(await store.parked.collection.find(query).explain())
    due = due_query([1, 2, 3], NOON, 10)
    plans.append(await store.records.find(filter_of(due)).sort(sort_of(due)).limit(due.limit).explain())
    for plan in plans:
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
    for plan in (plans[0], plans[-1]):
        assert "'SORT'" not in str(plan["queryPlanner"]["winningPlan"])
    without_index = await store.records.find({"indexed.scope": "IR-20/2001"}).explain()
    assert "COLLSCAN" in str(without_index["queryPlanner"]["winningPlan"]), "a canary"


async def test_older_rules_do_not_change_what_newer_ones_wrote(database: Any) -> None:
    """A command about it raises; its events are parked, and other subjects flow."""

    class Newer(RegistrationRules):
        VERSION = 2

    newer, older = await make_store(database, Newer), await make_store(database)
    await execute(newer, "p", Register(), noon)
    before = await newer.records.find_one({"_id": "p"})
    with pytest.raises(NewerRules):
        await execute(older, "p", Withdraw(), noon)
    with pytest.raises(NewerRules):
        await older.read(["p"])
    outcomes = await execute_many(older, {"p": Withdraw(), "r": Register()}, noon)
    assert isinstance(outcomes["p"], NewerRules) and isinstance(outcomes["r"], Result)
    await process(older, [message("screening", 1, subject="p"), message("screening", 1, subject="q")], {}, noon)
    assert await newer.records.find_one({"_id": "p"}) == before
    assert [(each.subject, each.reason) for each in await older.parked.heads(["newer_rules"])] == [("p", "newer_rules")]
    assert (await older.read(["q"]))["q"].inbox == {"screening": 1}
    await execute(newer, "p", Withdraw(), noon)


async def test_a_record_whose_state_is_broken_raises(database: Any) -> None:
    store = await make_store(database)
    await execute(store, "p", Register(), noon)
    await store.records.update_one({"_id": "p"}, {"$set": {"state": "{"}})
    with pytest.raises(UnreadableRecord, match=r"^p: "):
        await execute(store, "p", Withdraw(), noon)


async def test_a_document_that_grows_too_large_concerns_its_own_subject_only(database: Any) -> None:
    """The batch is bisected down to it; the others are stored, and its event is parked."""

    class Large(ReportingRules):
        @staticmethod
        def indexed(state: Any) -> dict[str, Any]:
            return {"scope": "x" * (17 << 20) if state.consumed and state.province == "IR-99" else "y"}

    store = await make_store(database, Large)
    batch = [message("registration", 1, subject=f"p{n}") for n in range(5)]
    envelope = replace(batch[2].envelope, context=replace(batch[2].envelope.context, province="IR-99"))
    batch[2] = replace(batch[2], envelope=envelope)
    written = await process(store, batch, {}, noon)
    assert [(each.subject, each.reason) for each in written.parked] == [("p2", "fault")]
    assert await store.records.count_documents({"indexed.scope": "y"}) == 4


async def test_a_violated_unique_index_is_distinguished_from_a_lost_race(database: Any) -> None:
    """The pattern of the key shows it: the one is final, after the other the command is decided again."""
    store = await make_store(database, unique=("person",))
    await execute(store, "p", Register(), noon, person("x"))
    with pytest.raises(DuplicateKeyError) as caught:
        await store.records.insert_one({"_id": "q", "indexed": {"person": "x"}})
    assert caught.value.details is not None and caught.value.details["keyPattern"] == {"indexed.person": 1}
    with pytest.raises(DuplicateKeyError) as caught:
        await store.records.insert_one({"_id": "p"})
    assert caught.value.details is not None and caught.value.details["keyPattern"] == {"_id": 1}


async def test_repeated_conflicts_raise_for_a_smaller_transaction(database: Any) -> None:
    """A transaction whose records others keep writing raises Conflict and changes nothing."""
    store = await make_store(database)
    people = [f"p{n}" for n in range(4)]
    await execute_many(store, dict.fromkeys(people, Register()), noon)

    def change(snapshot: Snapshot) -> Effects:
        return Effects([(snapshot.record("p1"), snapshot.record("p1"))])

    async def conflicting(changes: Any, session: Any) -> None:
        await store.records.find_one({"_id": "p0"}, session=session)
        await store.records.update_one({"_id": "p0"}, {"$inc": {"others": 1}})
        await store.records.update_one({"_id": "p0"}, {"$inc": {"own": 1}}, session=session)

    with pytest.raises(Conflict):
        await store.transact(people, change, None, conflicting)
    assert (await store.read(["p1"]))["p1"].version == 1


async def test_a_topic_keeps_the_id_with_which_it_was_first_read(database: Any) -> None:
    store = await make_store(database)
    assert await store.topic_ids({"a": "1"}) == {"a": "1"}
    assert await store.topic_ids({"a": "2", "b": "3"}) == {"a": "1", "b": "3"}
    assert await store.topic_ids({}) == {}


async def test_the_skew_of_a_clock_does_not_depend_on_how_long_the_database_takes_to_answer(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await make_store(database)
    assert await store.clock_skew() < 5
    later = [timedelta(0), timedelta(seconds=60)]  # the answer arrives a minute after the question
    monkeypatch.setattr(mongodb_store, "machine_now", lambda: machine_now() + later.pop(0))
    assert await store.clock_skew() < 5
    for hours in (-1, 1):
        monkeypatch.setattr(mongodb_store, "machine_now", lambda: machine_now() + timedelta(hours=hours))  # noqa: B023
        assert 3_590 < await store.clock_skew() < 3_610


async def test_what_the_majority_does_not_confirm_is_not_acknowledged(database: Any) -> None:
    """Not even beside a duplicate. The one member of this set can never confirm for two."""
    store = await make_store(database, unique=("person",))
    await execute(store, "p1", Register(), noon, person("x"))
    store.records = store.records.with_options(write_concern=WriteConcern(w=2, wtimeout=200, j=True))
    people = {"p2": "y", "p3": "x", "p4": "z"}  # p2 is inserted alone, p3 and p4 together
    registrations = (execute(store, each, Register(), noon, person(who)) for each, who in people.items())
    outcomes = await asyncio.gather(*registrations, return_exceptions=True)
    assert [type(each) for each in outcomes] == [Transient] * 3
    with pytest.raises(Transient):
        await execute(store, "p1", Withdraw(), noon)


async def test_an_index_is_missing_until_it_is_built_as_it_is_declared(database: Any) -> None:
    rules: Any = RegistrationRules
    store = MongoStore(database, "registration", {"applicant": rules}, ("person",))
    declared = store.declared_indexes()
    assert "records.indexed.person" in await missing_indexes(database, declared)
    await store.create_indexes()
    assert await missing_indexes(database, declared) == []
    await store.records.drop_index("indexed.person")
    await store.records.create_index([("indexed.person", 1)], name="indexed.person")  # not unique
    assert await missing_indexes(database, declared) == ["records.indexed.person"]


async def test_indexes_of_many_records_may_take_longer_than_an_answer(database: Any, servers: Servers) -> None:
    """A restore of ten million builds them for minutes, where the client gives up an answer after one."""
    await database.records.insert_many([{"a": n, "b": str(n)} for n in range(100_000)])
    impatient = AsyncMongoClient[dict[str, Any]](servers.mongo, socketTimeoutMS=20)
    declared = [IndexModel([("a", 1)], name="a"), IndexModel([("b", 1), ("a", 1)], name="b")]
    with pytest.raises(NetworkTimeout):
        await impatient[database.name].records.create_index([("b", -1)])
    await create_indexes(impatient[database.name], {"records": declared})
    assert await missing_indexes(database, {"records": declared}) == []
    await impatient.close()


async def test_the_backlog_counts_what_waits_in_some_partitions(database: Any) -> None:
    """Pending events, parked sources by reason, due and long subjects, with the age of the oldest."""
    store = await make_store(database, ScreeningRules)
    people = [f"p{n}" for n in range(3)]
    await process(store, [message("registration", 1, subject=p) for p in people], {}, noon)
    await process(store, [message("registration", n, subject="early") for n in range(2, 300)], {}, noon)
    await process(store, [unknown(1, "u1"), unknown(1, "u2")], {}, noon)
    backlog = await read_backlog(store, EVERYWHERE, NOON + 2 * PERIOD)
    assert backlog.pending == 3 and {r: each.heads for r, each in backlog.parked.items()} == {
        "early": 1,
        "unknown_type": 2,
    }
    assert backlog.pending_age >= 0 and backlog.parked["early"].age > 0
    assert backlog.due_age == PERIOD.total_seconds() and backlog.events_longest == 0
    await execute_many(store, dict.fromkeys(people, Tick(NOON + PERIOD)), noon)
    await store.records.update_one({"_id": "p0"}, {"$set": {"last_sequence": EVENTS_ALERT + 1}})
    await process(store, [message("registration", 1, subject="early")], {}, noon)
    backlog = await read_backlog(store, EVERYWHERE, NOON + 2 * PERIOD)
    assert {r: each.heads for r, each in backlog.parked.items()} == {"ready": 1, "unknown_type": 2}
    assert backlog.events_longest == EVENTS_ALERT + 1
    only = await read_backlog(store, [partition_of("u1")], NOON)
    assert only.parked["unknown_type"].heads == 1 + (partition_of("u1") == partition_of("u2"))
    assert await read_backlog(store, [], NOON) == Backlog()


async def test_the_backlog_separates_faults_from_early_events(database: Any) -> None:
    store = await make_store(database, ReportingRules)
    events = [message("registration", n, subject="p", field=POISON) for n in (1, 2)]
    await process(store, [*events, message("screening", 2, subject="p")], {}, noon)
    backlog = await read_backlog(store, [partition_of("p")], NOON)
    assert {r: each.heads for r, each in backlog.parked.items()} == {"fault": 1, "early": 1}


async def test_a_repeated_list_gets_its_stored_responses(database: Any) -> None:
    """A list whose response was lost is sent again with its keys: no one is registered twice, not under new ids."""
    store = await make_store(database, unique=("person",))
    metadata = {f"p{n}": replace(person(f"x{n}"), idempotency_key=f"k{n}", fingerprint=b"f") for n in range(20)}
    first = await execute_many(store, dict.fromkeys(metadata, Register()), noon, metadata)
    again = await execute_many(store, dict.fromkeys(metadata, Register()), noon, metadata)
    assert not any(getattr(o, "repeated", True) for o in first.values())
    assert all(getattr(o, "repeated", False) for o in again.values())
    elsewhere = {f"q{n}": each for n, each in enumerate(metadata.values())}
    third = await execute_many(store, dict.fromkeys(elsewhere, Register()), noon, elsewhere)
    assert all(getattr(o, "repeated", False) for o in third.values())
    with pytest.raises(Refused):
        await execute(store, "p0", Register(), noon, CommandMetadata(idempotency_key="another"))


@pytest.mark.parametrize(("code", "expected"), [(290, Transient), (121, OperationFailure)])
async def test_a_transaction_that_took_too_long_is_transient(code: int, expected: type[Exception]) -> None:
    """It took 60 s on a machine under load: nothing is wrong with the request, which is sent again."""
    with pytest.raises(expected):
        async with translate_errors():
            raise OperationFailure("the server ended it", code)


async def test_a_cursor_moves_only_in_the_log_that_its_reader_has_read(database: Any) -> None:
    """A process that was frozen while the topic was recreated stands at the same offset, of another log."""
    topic, log = TopicPartition("peyvand.screening", 0), [message("screening", 1)]
    frozen, fresh = await make_store(database), await make_store(database)
    frozen.read_topics, fresh.read_topics = {topic.topic: "old"}, {topic.topic: "new"}
    await frozen.cursors([topic])
    await process(frozen, log, {topic: (0, 1)}, noon)
    reset = {"$set": {"next": 1, "topic_id": "new"}}
    await frozen.positions.update_one({"_id": f"{topic.topic}/0"}, reset)
    with pytest.raises(Fenced):
        await process(frozen, [message("screening", 2)], {topic: (1, 2)}, noon)
    await process(fresh, [message("screening", 2)], {topic: (1, 2)}, noon)
    assert await fresh.cursors([topic]) == {topic: 2}


async def test_a_transaction_beyond_the_limit_of_the_server_is_not_repeated_as_large(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would repeat it for two minutes; the caller makes it smaller."""
    monkeypatch.setattr(store_module, "LONG", 0.2)
    store, attempts = await make_store(database), 0

    def too_long(snapshot: Snapshot) -> Effects:
        nonlocal attempts
        attempts += 1
        time.sleep(0.3)
        raise OperationFailure("aborted", 251, {"errorLabels": ["TransientTransactionError"]})

    with pytest.raises(Conflict, match="1 failed transactions over 2 subjects"):
        await store.transact(["p", "q"], too_long)
    assert attempts == 1
