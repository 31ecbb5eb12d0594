"""What only the real database can show."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from base.clock import machine_now
from contracts.commands import Refused, Tick
from contracts.subjects import partition_of
from kernel.batch import process
from kernel.commands import CommandMetadata, execute, execute_many
from kernel.errors import Conflict, NewerRules
from kernel.record import EVENTS_ALERT
from kernel.stores.mongodb import MongoStore, connect, within
from tests.kernel.test_record import message
from tests.kernel.test_store import person
from tests.support.servers import Servers
from tests.support.small_services import NOON, PERIOD, POISON, Answering, Asking, Counting, Register, Withdraw, noon

pytestmark = pytest.mark.server
EVERYWHERE = range(32)


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Any]:
    """An empty one."""
    client = connect(servers.mongo)
    database = client[servers.database()]
    yield database
    await client.drop_database(database.name)
    await client.close()


async def store_of(database: Any, rules: Any = Asking, **options: Any) -> MongoStore:
    """A prepared store."""
    service = "screening" if rules is Answering else "registration"
    store = MongoStore(database, service, {"applicant": rules}, **options)
    await store.prepare()
    return store


async def test_the_client_is_majority_everywhere(database: Any) -> None:
    """What a lost primary could forget is neither read nor taken for written."""
    assert database.client.write_concern == WriteConcern(w="majority", j=True)
    assert database.client.read_concern == ReadConcern("majority")


async def test_preparing_again_changes_nothing(database: Any) -> None:
    """Indexes by name; the unique ones and the partial ones among them."""
    store = await store_of(database, unique=("person",))
    before = await store.records.index_information()
    await store.prepare()
    assert await store.records.index_information() == before
    assert {
        "indexed.person_1",
        "answered.key_1",
        "unrelayed_since_1_partition_1",
        "indexed.due_1_partition_1",
    } <= before.keys()
    assert before["indexed.person_1"]["unique"] and "partialFilterExpression" in before["answered.key_1"]


async def test_work_is_found_by_index(database: Any) -> None:
    """What is unsent and what is due: never by looking at every record."""
    store = await store_of(database)
    await execute_many(store, {f"p{n}": Register() for n in range(50)}, noon)
    for field in ("unrelayed_since", "indexed.due"):
        query = {"partition": {"$in": [1, 2, 3]}, field: {"$lte": machine_now()}}
        plan = await store.records.find(query).sort(field, 1).explain()
        assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])


async def test_older_rules_do_not_touch_what_newer_ones_wrote(database: Any) -> None:
    """Reading it raises; nothing can be decided or processed."""

    class Newer(Asking):
        VERSION = 2

    newer, older = await store_of(database, Newer), await store_of(database)
    await execute(newer, "p", Register(), noon)
    with pytest.raises(NewerRules):
        await execute(older, "p", Withdraw(), noon)
    with pytest.raises(NewerRules):
        await process(older, [message("screening", 1, subject="p"), message("screening", 1, subject="q")], {}, noon)
    assert not await newer.records.count_documents({"_id": "q"})
    await execute(newer, "p", Withdraw(), noon)


async def test_a_document_that_grows_too_large_is_one_subjects_trouble(database: Any) -> None:
    """The batch is halved down to it; the others are stored, it is parked."""

    class Large(Counting):
        @staticmethod
        def indexed(state: Any) -> dict[str, Any]:
            return {"scope": "x" * (17 << 20) if state.heard and state.province == "IR-99" else "y"}

    store = await store_of(database, Large)
    batch = [message("registration", 1, subject=f"p{n}") for n in range(5)]
    envelope = replace(batch[2].envelope, context=replace(batch[2].envelope.context, province="IR-99"))
    batch[2] = replace(batch[2], envelope=envelope)
    done = await process(store, batch, {}, noon)
    assert [fault.subject for fault in done.faults] == ["p2"]
    assert await store.records.count_documents({"indexed.scope": "y"}) == 4


async def test_a_foreign_unique_index_is_told_apart_from_a_lost_race(database: Any) -> None:
    """By the pattern of the key: one is for ever, the other is looked at again."""
    store = await store_of(database, unique=("person",))
    await execute(store, "p", Register(), noon, person("x"))
    with pytest.raises(DuplicateKeyError) as caught:
        await store.records.insert_one({"_id": "q", "indexed": {"person": "x"}})
    assert caught.value.details is not None and caught.value.details["keyPattern"] == {"indexed.person": 1}
    with pytest.raises(DuplicateKeyError) as caught:
        await store.records.insert_one({"_id": "p"})
    assert caught.value.details is not None and caught.value.details["keyPattern"] == {"_id": 1}


async def test_conflict_after_conflict_asks_for_a_smaller_one(database: Any) -> None:
    """A long transaction whose records others keep writing."""
    store = await store_of(database)
    people = [f"p{n}" for n in range(4)]
    await execute_many(store, dict.fromkeys(people, Register()), noon)

    async def disturb(changes: Any, session: Any) -> None:
        await store.records.update_one({"_id": "p0"}, {"$inc": {"disturbed": 1}})

    def change(known: Any) -> Any:
        return [(known["p1"], replace(known["p1"], version=known["p1"].version + 1))]

    async def conflicting(changes: Any, session: Any) -> None:
        await store.records.find_one({"_id": "p0"}, session=session)
        await disturb(changes, session)
        await store.records.update_one({"_id": "p0"}, {"$inc": {"mine": 1}}, session=session)

    with pytest.raises(Conflict):
        await store.transact(people, change, None, conflicting)
    assert (await store.read(["p1"]))["p1"].version == 1


async def test_topics_keep_the_id_they_were_first_read_with(database: Any) -> None:
    """However often another one is told."""
    store = await store_of(database)
    assert await store.topic_ids({"a": "1"}) == {"a": "1"}
    assert await store.topic_ids({"a": "2", "b": "3"}) == {"a": "1", "b": "3"}
    assert await store.topic_ids({}) == {}


async def test_the_databases_clock_is_compared_with_ours(database: Any) -> None:
    """With its zone."""
    store = await store_of(database)
    assert abs(await store.machine_time() - machine_now()) < timedelta(seconds=5)


async def test_what_waits_is_seen(database: Any) -> None:
    """Unsent, parked, stranded, due and long ones, per partition."""
    store = await store_of(database, Answering)
    people = [f"p{n}" for n in range(3)]
    await process(store, [message("registration", 1, subject=p) for p in people], {}, noon)
    early = [message("registration", n, subject="early") for n in range(2, 300)]
    await process(store, early, {}, noon)
    seen = await store.backlog(EVERYWHERE, NOON + 2 * PERIOD)
    assert (seen.unsent, seen.early, seen.faulty, seen.stranded) == (3, 1, 0, 0)
    assert seen.unsent_age >= 0 and seen.early_age > 0 and seen.due_age == PERIOD.total_seconds()
    assert seen.emitted_longest == 0
    await execute_many(store, dict.fromkeys(people, Tick(NOON + PERIOD)), noon)
    await store.records.update_one({"_id": "p0"}, {"$set": {"last_sequence": EVENTS_ALERT + 1}})
    await process(store, [message("registration", 1, subject="early")], {}, noon)
    seen = await store.backlog(EVERYWHERE, NOON + 2 * PERIOD)
    assert seen.stranded == 1 and seen.emitted_longest == EVENTS_ALERT + 1
    assert await store.backlog([], NOON) == type(seen)()


async def test_faulty_ones_are_seen(database: Any) -> None:
    """Apart from those that are merely early."""
    store = await store_of(database, Counting)
    await process(store, [message("registration", 1, subject="p", field=POISON)], {}, noon)
    seen = await store.backlog([partition_of("p")], NOON)
    assert (seen.early, seen.faulty) == (0, 1)


async def test_a_scope_is_a_whole_province_or_county(database: Any) -> None:
    """Never a prefix of another's name."""
    await database.records.insert_many(
        [{"_id": s, "indexed": {"scope": s}} for s in ("IR-2/1", "IR-20/2001", "IR-20/20010", "IR-20")]
    )
    found = {
        scope: sorted([d["_id"] async for d in database.records.find(within(scope))])
        for scope in ("", "IR-2", "IR-20", "IR-20/2001")
    }
    assert found["IR-2"] == ["IR-2/1"] and found["IR-20/2001"] == ["IR-20/2001"]
    assert found["IR-20"] == ["IR-20", "IR-20/2001", "IR-20/20010"] and len(found[""]) == 4


async def test_a_repeated_list_is_answered_again(database: Any) -> None:
    """A list whose answer was lost is sent again with its keys: nothing is registered twice."""
    store = await store_of(database, unique=("person",))
    asks = {f"p{n}": replace(person(f"x{n}"), key=f"k{n}", fingerprint=b"f") for n in range(20)}
    first = await execute_many(store, dict.fromkeys(asks, Register()), noon, asks)
    again = await execute_many(store, dict.fromkeys(asks, Register()), noon, asks)
    assert not any(getattr(o, "repeated", True) for o in first.values())
    assert all(getattr(o, "repeated", False) for o in again.values())
    elsewhere = {f"q{n}": ask for n, ask in enumerate(asks.values())}
    third = await execute_many(store, dict.fromkeys(elsewhere, Register()), noon, elsewhere)
    assert all(getattr(o, "repeated", False) for o in third.values())
    with pytest.raises(Refused):
        await execute(store, "p0", Register(), noon, CommandMetadata(key="another"))
