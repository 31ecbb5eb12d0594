"""A log is lost: it is noticed, a person orders it said and read again, and every figure is exact."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from kafka import KafkaAdminClient, TopicPartition

import kernel.roles.worker
from base.settings import Settings
from contracts.subjects import PARTITIONS, partition_of
from kernel import record
from kernel.commands import execute
from kernel.roles.worker import Worker
from recovery.replay import REPUBLICATION, Orders
from tests.kernel.test_record import message
from tests.kernel.test_worker import SUBJECT_OF_0, counted
from tests.recovery.test_completion import exact
from tests.support.small_api import HERE
from tests.support.small_services import Register, noon
from tests.support.small_workers import SmallSystem
from tests.support.tokens import Issuer
from web.admin import replays
from web.app import create_app

pytestmark = pytest.mark.server

SERVICES = ("registration", "screening", "reporting")


async def register(small_system: SmallSystem, first: int, n: int) -> None:
    store = small_system.store("registration")
    await asyncio.gather(*(execute(store, f"p{each}", Register(), noon) for each in range(first, first + n)))


async def until_said(small_system: SmallSystem, workers: list[Worker], why: str) -> None:
    """Waits until somebody is not ready for this reason."""

    async def said() -> bool:
        return any(why in reason for reasons in [await each.ready() for each in workers] for reason in reasons)

    await small_system.until(said, within=60)


async def until_ready(small_system: SmallSystem, workers: list[Worker]) -> None:
    async def ready() -> bool:
        return not [reason for worker in workers for reason in await worker.ready()]

    await small_system.until(ready, within=60)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_topic_is_deleted_and_made_anew_under_those_who_read_it(
    small_system: SmallSystem, at_once: bool
) -> None:
    """While people register: all that hear it notice, its owner says it again, it is read again; nobody restarts."""
    topic = small_system.topics["registration"]
    _, *readers = workers = [small_system.start(small_system.worker(service)) for service in SERVICES]
    await register(small_system, 0, 60)
    await small_system.until(counted(small_system, ApplicantRegistered=60, CaseOpened=60))
    await asyncio.to_thread(small_system.unmake, topic)
    if not at_once:
        for reader in readers:
            await until_said(small_system, [reader], f"{topic}/0 and 31 more: there is no such topic")
    await asyncio.to_thread(small_system.make, topic)
    await register(small_system, 60, 40)
    for reader in readers:
        await until_said(small_system, [reader], f"{topic}/0 and 31 more: the topic was made anew")
    for service in ("screening", "reporting"):
        orders = Orders(small_system.store(service))
        stand = await orders.reread(topic, "o1", "made anew", dry_run=True)
        assert sum(stand.values()) == 60
        assert await orders.orders.find_one({}) is None, "a rehearsal orders nothing"
        assert await orders.reread(topic, "o1", "made anew", dry_run=False) == stand
    owner = Orders(small_system.store("registration"))
    assert (await owner.republish("o1", "made anew", dry_run=True))[0] >= 60
    assert await owner.orders.find_one({}) is None, "a rehearsal orders nothing"
    await owner.republish("o1", "made anew", dry_run=False)
    await small_system.until(counted(small_system, ApplicantRegistered=100, CaseOpened=100), within=60)
    await until_ready(small_system, workers)

    async def carried_out() -> bool:
        return await owner.orders.find_one({"_id": REPUBLICATION}) is None

    await small_system.until(carried_out)
    await small_system.until(small_system.at_end)
    await exact(small_system, [f"p{n}" for n in range(100)], 0)
    acts = [d["action"] async for d in owner.acts.find()]
    assert acts == ["republish"] and await Orders(small_system.store("reporting")).acts.count_documents({}) == 1


async def test_a_place_in_a_lost_log_is_not_taken_for_one_in_another(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that came early was kept as its place; the topic is made anew, and something else lies there."""
    monkeypatch.setattr(record, "PARKED_EVENTS", 0)
    topic = small_system.topics["registration"]
    await small_system.say("registration", message("registration", 2, subject=SUBJECT_OF_0))
    worker = small_system.start(small_system.worker("reporting"))

    async def handled(n: int) -> bool:
        found = (await worker.store.read([SUBJECT_OF_0]))[SUBJECT_OF_0]
        return bool(found.parked) if not n else found.inbox.get("registration") == n

    await small_system.until(lambda: handled(0))
    await asyncio.to_thread(small_system.unmake, topic)
    await asyncio.to_thread(small_system.make, topic)
    await small_system.say("registration", raw=[(b"k", b"garbage")])
    await small_system.say("registration", message("registration", 1, subject=SUBJECT_OF_0))
    await until_said(small_system, [worker], "the topic was made anew")
    await Orders(worker.store).reread(topic, "o1", "made anew", dry_run=False)
    await small_system.until(lambda: handled(1))
    await until_ready(small_system, [worker])
    await small_system.say("registration", message("registration", 2, subject=SUBJECT_OF_0))
    await small_system.until(lambda: handled(2))
    assert await counted(small_system, ApplicantRegistered=2)()


async def test_what_came_from_a_lost_log_is_not_taken_for_the_new_one(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker holds live events that it cannot store yet; their topic is made anew, and others lie at their places."""
    topic, subjects = small_system.topics["registration"], [f"p{n}" for n in range(2_000) if partition_of(f"p{n}") == 0]
    old, new = subjects[:30], subjects[30:50]
    worker = small_system.start(small_system.worker("reporting"))
    monkeypatch.setattr(kernel.roles.worker, "BATCH", 1)  # what is held lasts for several batches
    await until_ready(small_system, [worker])
    await small_system.say("registration", message("registration", 1, subject=old[0]))
    await small_system.until(counted(small_system, ApplicantRegistered=1))

    async def mended() -> bool:
        return worker.consumer.cursors.get((topic, 0)) == 0

    async def held() -> bool:
        return worker.arrived.qsize() >= len(old) - 4

    async with worker.writing:  # as a database that does not answer
        for each in old[1:]:
            await small_system.say("registration", message("registration", 1, subject=each))
        await small_system.until(held)
        await asyncio.to_thread(small_system.unmake, topic)
        await asyncio.to_thread(small_system.make, topic)
        for each in new[:10]:
            await small_system.say("registration", message("registration", 1, subject=each))
        await until_said(small_system, [worker], "the topic was made anew")
        await Orders(worker.store).reread(topic, "o1", "made anew", dry_run=False)
        await small_system.until(mended)
    await small_system.until(counted(small_system, ApplicantRegistered=11))
    await asyncio.sleep(1)  # in which the worker might take what it still held
    for each in new[10:]:
        await small_system.say("registration", message("registration", 1, subject=each))
    await small_system.until(small_system.at_end)
    assert await counted(small_system, ApplicantRegistered=21)()


async def test_a_log_is_truncated_before_it_was_read(small_system: SmallSystem) -> None:
    """What is gone is said again by its owner, behind what is left; the reader goes on from where the log begins."""
    topic = small_system.topics["registration"]
    owner = small_system.start(small_system.worker("registration"))
    await register(small_system, 0, 80)

    async def left() -> bool:
        return not await small_system.store("registration").waiting(range(PARTITIONS), 1)

    await small_system.until(left)

    def truncate() -> dict[int, int]:
        """The first two events of every other partition are gone; where each begins now."""
        found = {tp.partition: min(2, end) if tp.partition % 2 else 0 for tp, end in _ends(small_system, topic).items()}
        client = KafkaAdminClient(bootstrap_servers=small_system.servers.kafka)
        client.delete_records({TopicPartition(topic, p): at for p, at in found.items() if at})
        client.close()
        return found

    begins = await asyncio.to_thread(truncate)
    assert sum(begins.values()) > 10
    readers = [small_system.start(small_system.worker(service)) for service in ("screening", "reporting")]
    await until_said(small_system, readers, "the log has")
    assert not await counted(small_system, ApplicantRegistered=80, CaseOpened=80)()
    await Orders(small_system.store("registration")).republish("o1", "truncated", dry_run=False)
    for service in ("screening", "reporting"):
        await Orders(small_system.store(service)).reread(topic, "o1", "truncated", dry_run=False)
    await small_system.until(counted(small_system, ApplicantRegistered=80, CaseOpened=80), within=60)
    await until_ready(small_system, [owner, *readers])
    await exact(small_system, [f"p{n}" for n in range(80)], 0)


def _ends(small_system: SmallSystem, topic: str) -> dict[TopicPartition, int]:
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(bootstrap_servers=small_system.servers.kafka)
    try:
        found: dict[TopicPartition, int] = consumer.end_offsets([TopicPartition(topic, p) for p in range(PARTITIONS)])
        return found
    finally:
        consumer.close()


async def test_an_order_that_was_begun_is_taken_up_by_whoever_comes(small_system: SmallSystem) -> None:
    """Slice by slice, each once more where a worker died in it; unsent events are left to the relay."""
    await register(small_system, 0, 30)
    first, second = (small_system.worker("registration") for _ in range(2))
    await first.relay.once(range(PARTITIONS), asyncio.Lock())
    await register(small_system, 30, 5)  # not sent yet
    orders = Orders(small_system.store("registration"))
    assert await orders.republish("o1", "why", dry_run=False) == (30, 30)
    assert await second.orders.once([]) == 30
    assert await orders.orders.find_one({"after": {"$ne": ""}}) is not None
    assert await first.orders.once([]) == 0 and await orders.orders.find_one({}) is None
    assert len(await orders.store.waiting(range(PARTITIONS), 100)) == 5
    ends = await asyncio.to_thread(_ends, small_system, small_system.topics["registration"])
    assert sum(ends.values()) == 60
    for worker in (first, second):
        worker.relay.close()


async def test_a_whole_and_quiet_topic_is_read_again_too(small_system: SmallSystem) -> None:
    """Nothing is said any more: the cursors that an order set back come to the end all the same, and nothing moves."""
    topic = small_system.topics["registration"]
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.say("registration", *(message("registration", 1, subject=f"p{n}") for n in range(60)))
    await small_system.until(counted(small_system, ApplicantRegistered=60))
    await small_system.until(small_system.at_end)
    orders = Orders(worker.store)
    await orders.reread(topic, "o1", "a rehearsal", dry_run=False)

    async def carried_out() -> bool:
        return await orders.orders.find_one({}) is None

    await small_system.until(carried_out)
    await small_system.until(small_system.at_end)
    assert await counted(small_system, ApplicantRegistered=60)()


async def test_an_order_waits_until_there_is_a_topic(small_system: SmallSystem) -> None:
    """Then two workers carry it out at once, once: the cursors stand where the log begins, and it is that topic."""
    topic = small_system.topics["registration"]
    workers = [small_system.worker("screening") for _ in range(2)]
    orders = Orders(small_system.store("screening"))
    ids = await workers[0].topic_ids.of([topic])
    await orders.store.topic_ids(ids)
    await orders.store.positions.insert_one({"_id": f"{topic}/3", "next": 7})
    assert (await orders.reread(topic, "o1", "why", dry_run=False))[3] == 7
    await asyncio.to_thread(small_system.unmake, topic)
    await workers[0].orders.once([topic])
    assert await orders.orders.find_one({}) and await orders.store.topic_ids(ids) == ids
    await asyncio.to_thread(small_system.make, topic)
    await asyncio.gather(*(each.orders.once([topic]) for each in workers))
    now = await workers[1].topic_ids.of([topic])
    assert not await orders.orders.find_one({}) and await orders.store.topic_ids(ids) == now != ids
    assert await orders.store.positions.distinct("next") == [0]
    for each in workers:
        await each.reader.stop()
        each.relay.close()
        each.topic_ids.close()


@pytest.mark.parametrize(
    ("path", "role", "body", "status", "field", "says"),
    [
        ("rereading", "auditor", {}, 403, None, ""),
        ("republication", "ministry_admin", {}, 403, None, ""),
        ("rereading", "operator", {"topic": "peyvand.screening"}, 422, "topic", "peyvand.registration"),
        ("rereading", "operator", {"topic": None}, 422, "topic", ""),
        ("rereading", "operator", {"at": {"0": 7}}, 422, "at", ""),
        ("rereading", "operator", {"reason": ""}, 422, "reason", ""),
        ("republication", "operator", {"reason": "x"}, 422, "reason", ""),
        ("republication", "operator", {"since": "2026"}, 422, "since", ""),
    ],
)
async def test_a_bad_order_is_refused_and_changes_nothing(
    small_system: SmallSystem,
    tmp_path: Path,
    path: str,
    role: str,
    body: Any,
    status: int,
    field: str | None,
    says: str,
) -> None:
    store, issuer = small_system.store("screening"), Issuer(tmp_path)
    settings = Settings(
        service="screening", environment="development", kafka="-", mongo="-", database="-",  # type: ignore[arg-type]
        jwks=issuer.jwks, issuer=issuer.name,
    )  # fmt: skip

    async def ready() -> list[str]:
        return []

    app = create_app(settings, "T", lifespan=None, ready=ready, prefix="", routers=[replays.router(store)])
    order = {"reason": "a try", **({"topic": "peyvand.registration"} if path == "rereading" else {})}
    async with AsyncClient(transport=ASGITransport(app), base_url=HERE, headers=issuer.bearer(role)) as client:
        answer = await client.post(f"/v1/log/{path}", json={**order, **body})
        told = answer.json()
        assert answer.status_code == status, told
        if field:
            assert told["errors"][0]["field"].split(".")[0] == field and says in str(told["errors"]), told
    assert not [name for name in ("acts", "orders", "cursors") if await store.database[name].find_one({})]
