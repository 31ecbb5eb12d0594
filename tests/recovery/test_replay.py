"""A log that lost events: is it repaired by request, without a restart, and is every figure exact afterwards?"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

import kernel.roles.worker
from base.settings import Settings
from contracts.subjects import PARTITIONS, partition_of
from kernel.commands import execute
from kernel.leases import MemoryLeases
from kernel.roles.worker import Worker
from kernel.service import Runtime
from observability.health import ReadinessReason
from recovery import replay
from recovery.dead_letters import EARLY
from recovery.replay_requests import REPUBLISH, ReplayRequests
from tests.support.messages import message
from tests.support.parked_events import parked
from tests.support.small_api import HERE
from tests.support.small_services import Register, noon
from tests.support.small_workers import SmallSystem, counted, exact
from tests.support.tokens import Issuer
from web.admin import replays
from web.app import create_app

pytestmark = pytest.mark.server

SERVICES = ("registration", "screening", "reporting")
OPERATOR = "operator:o1"
IN_PARTITION_0 = [subject for subject in (f"p{n}" for n in range(2_000)) if partition_of(subject) == 0]


async def register(small_system: SmallSystem, first: int, n: int, pause: float = 0) -> None:
    """Register n persons, at once or with a pause between them."""
    store = small_system.store("registration")
    commands = [execute(store, f"p{each}", Register(), noon) for each in range(first, first + n)]
    if not pause:
        await asyncio.gather(*commands)
        return
    for command in commands:
        await command
        await asyncio.sleep(pause)


async def until_reason(small_system: SmallSystem, worker: Worker, text: str) -> None:
    """Wait until a worker is not ready for this reason."""

    async def given() -> bool:
        return any(text in reason.text for reason in await worker.ready())

    await small_system.until(given, within=60)


async def until_ready(small_system: SmallSystem, *workers: Worker) -> None:
    async def ready() -> bool:
        return not [reason for worker in workers for reason in await worker.ready()]

    await small_system.until(ready, within=60)


async def until_carried_out(small_system: SmallSystem, *services: str) -> None:
    """Wait until these services have no request left."""

    async def carried_out() -> bool:
        return not any([await requests_of(small_system, each).replays.find_one({}) for each in services])

    await small_system.until(carried_out, within=60)


def requests_of(small_system: SmallSystem, service: str) -> ReplayRequests:
    return ReplayRequests(small_system.store(service))


def ends_of(small_system: SmallSystem, topic: str) -> dict[TopicPartition, int]:
    """Return the end offset of each partition."""
    consumer = KafkaConsumer(**small_system.servers.kafka.options())
    try:
        ends: dict[TopicPartition, int] = consumer.end_offsets([TopicPartition(topic, p) for p in range(PARTITIONS)])
        return ends
    finally:
        consumer.close()


async def recreate(small_system: SmallSystem, topic: str) -> None:
    await asyncio.to_thread(small_system.delete_topic, topic)
    await asyncio.to_thread(small_system.create_topics, topic)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_topic_is_deleted_and_recreated_under_its_consumers(small_system: SmallSystem, at_once: bool) -> None:
    """While people register: its consumers notice, its owner republishes, they consume it again; none restarts."""
    topic = small_system.topics["registration"]
    workers = [small_system.start(small_system.worker(service)) for service in SERVICES]
    await register(small_system, 0, 60)
    await small_system.until(counted(small_system, ApplicantRegistered=60, CaseOpened=60))
    registering = asyncio.create_task(register(small_system, 60, 40, pause=0.1))
    await asyncio.to_thread(small_system.delete_topic, topic)
    if not at_once:
        for consumer in workers[1:]:
            await until_reason(small_system, consumer, f"{topic}/0 and 31 more: the topic does not exist")
    await asyncio.to_thread(small_system.create_topics, topic)
    for consumer in workers[1:]:
        await until_reason(small_system, consumer, f"{topic}/0 and 31 more: the topic was recreated")
    await registering
    for service in ("screening", "reporting"):
        requests = requests_of(small_system, service)
        cursors = await requests.reset_cursors(topic, OPERATOR, "recreated", dry_run=True)
        assert 60 <= sum(cursors.values()) <= 100
        assert await requests.replays.find_one({}) is None, "a dry run requests nothing"
        assert await requests.reset_cursors(topic, OPERATOR, "recreated", dry_run=False) == cursors
    owner = requests_of(small_system, "registration")
    assert (await owner.republish(OPERATOR, "recreated", dry_run=True))[0] >= 60
    assert await owner.replays.find_one({}) is None, "a dry run requests nothing"
    await owner.republish(OPERATOR, "recreated", dry_run=False)
    await until_carried_out(small_system, *SERVICES)
    await until_ready(small_system, *workers)
    await small_system.settles({"ApplicantRegistered": 100, "CaseOpened": 100}, within=60)
    await exact(small_system, [f"p{n}" for n in range(100)], 0)
    for service, action in (("registration", "republish"), ("screening", "reset_cursors")):
        (recorded,) = await requests_of(small_system, service).actions.find({}).to_list()
        assert (recorded["who"], recorded["action"], recorded["reason"]) == (OPERATOR, action, "recreated")


async def test_an_event_that_was_parked_before_the_topic_was_recreated_is_handled_once(
    small_system: SmallSystem,
) -> None:
    """It arrived early; in the recreated topic something else is at its offset, and it comes again."""
    topic, subject = small_system.topics["registration"], IN_PARTITION_0[0]
    await small_system.publish("registration", message("registration", 2, subject=subject))
    worker = small_system.start(small_system.worker("reporting"))

    async def is_parked() -> bool:
        return bool(await worker.store.parked.heads(EARLY, subject))

    async def handled() -> bool:
        return (await worker.store.read([subject]))[subject].inbox == {"registration": 2}

    await small_system.until(is_parked)
    await recreate(small_system, topic)
    await small_system.publish("registration", raw=[(b"k", b"no event")])
    await small_system.publish("registration", message("registration", 1, subject=subject))
    await until_reason(small_system, worker, "the topic was recreated")
    await requests_of(small_system, "reporting").reset_cursors(topic, OPERATOR, "recreated", dry_run=False)
    await small_system.until(handled)
    await until_ready(small_system, worker)
    await small_system.publish("registration", message("registration", 2, subject=subject))
    await small_system.settles({"ApplicantRegistered": 2})
    assert not await parked(worker.store)


async def test_live_events_of_a_lost_log_are_not_taken_for_those_of_the_new_one(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker holds live events that it cannot store yet, while others come to be at their offsets."""
    topic, old, new = small_system.topics["registration"], IN_PARTITION_0[:30], IN_PARTITION_0[30:50]
    worker = small_system.start(small_system.worker("reporting"))
    monkeypatch.setattr(kernel.roles.worker, "BATCH", 1)  # so that the live events last for several batches
    await until_ready(small_system, worker)
    await small_system.publish("registration", message("registration", 1, subject=old[0]))
    await small_system.until(counted(small_system, ApplicantRegistered=1))

    async def reset() -> bool:
        return worker.consumer.cursors.get((topic, 0)) == 0

    async def arrived() -> bool:
        return worker.arrived.qsize() >= len(old) - 4

    async with worker.writing:  # as if the database did not answer
        for each in old[1:]:
            await small_system.publish("registration", message("registration", 1, subject=each))
        await small_system.until(arrived)
        await recreate(small_system, topic)
        for each in new[:10]:
            await small_system.publish("registration", message("registration", 1, subject=each))
        await until_reason(small_system, worker, "the topic was recreated")
        await requests_of(small_system, "reporting").reset_cursors(topic, OPERATOR, "recreated", dry_run=False)
        await small_system.until(reset)
    await small_system.until(counted(small_system, ApplicantRegistered=11))
    await asyncio.sleep(1)  # in which the worker might handle what it still held
    for each in new[10:]:
        await small_system.publish("registration", message("registration", 1, subject=each))
    await small_system.settles({"ApplicantRegistered": 21})


async def test_a_log_is_truncated_before_it_is_consumed(small_system: SmallSystem) -> None:
    """Its owner republishes what is gone, behind what is left; consumers start where the log begins."""
    topic = small_system.topics["registration"]
    owner = small_system.start(small_system.worker("registration"))
    await register(small_system, 0, 80)

    async def published() -> bool:
        return not await small_system.store("registration").pending(range(PARTITIONS), 1)

    await small_system.until(published)

    def truncate() -> int:
        """Delete the first two events of every other partition; return how many."""
        begins = {tp: min(2, end) for tp, end in ends_of(small_system, topic).items() if tp.partition % 2 and end}
        client = KafkaAdminClient(**small_system.servers.kafka.options())
        client.delete_records(begins)
        client.close()
        return sum(begins.values())

    assert await asyncio.to_thread(truncate) > 10
    consumers = [small_system.start(small_system.worker(service)) for service in ("screening", "reporting")]
    for consumer in consumers:
        await until_reason(small_system, consumer, "the log has")
    assert not await counted(small_system, ApplicantRegistered=80, CaseOpened=80)()
    await requests_of(small_system, "registration").republish(OPERATOR, "truncated", dry_run=False)
    for service in ("screening", "reporting"):
        await requests_of(small_system, service).reset_cursors(topic, OPERATOR, "truncated", dry_run=False)
    await until_carried_out(small_system, *SERVICES)
    await until_ready(small_system, owner, *consumers)
    await small_system.settles({"ApplicantRegistered": 80, "CaseOpened": 80}, within=60)
    await exact(small_system, [f"p{n}" for n in range(80)], 0)


async def test_a_republication_is_continued_by_another_worker(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Part by part. Pending events are left to the relay."""
    monkeypatch.setattr(replay, "RECORDS", 20)
    await register(small_system, 0, 30)
    first, second = (small_system.worker("registration") for _ in range(2))
    await first.relay.publish(range(PARTITIONS), asyncio.Lock())
    await register(small_system, 30, 5)  # these are pending
    requests = requests_of(small_system, "registration")
    assert await requests.republish(OPERATOR, "a test", dry_run=False) == (30, 30)
    topic, published = small_system.topics["registration"], list[int]()
    for worker in (first, second, first):
        pause = await worker.loops["replay"]()
        published.append(sum((await asyncio.to_thread(ends_of, small_system, topic)).values()) - 30)
        request = await requests.replays.find_one({"_id": REPUBLISH})
        assert (pause == 0) == (request is not None)
    assert published == [20, 30, 30] and request is None
    assert len(await requests.store.pending(range(PARTITIONS), 100)) == 5
    for worker in (first, second):
        worker.relay.close()
        await worker.reader.stop()
        worker.topic_ids.close()


async def test_an_intact_and_quiet_topic_is_consumed_again(small_system: SmallSystem) -> None:
    """No event arrives any more: the worker notices that its cursors were reset, and no figure changes."""
    topic = small_system.topics["registration"]
    small_system.start(small_system.worker("reporting"))
    await small_system.publish("registration", *(message("registration", 1, subject=f"p{n}") for n in range(60)))
    await small_system.settles({"ApplicantRegistered": 60})
    await requests_of(small_system, "reporting").reset_cursors(topic, OPERATOR, "a drill", dry_run=False)
    await until_carried_out(small_system, "reporting")
    await small_system.settles({"ApplicantRegistered": 60})


async def test_a_reset_waits_for_the_topic_and_is_carried_out_once(small_system: SmallSystem) -> None:
    """Two workers carry it out at the same time: cursors are where the log begins, with the id of that topic."""
    topic = small_system.topics["registration"]
    workers = [small_system.worker("screening") for _ in range(2)]
    requests = requests_of(small_system, "screening")
    store = requests.store
    ids = await workers[0].topic_ids.read([topic])
    assert await store.topic_ids(ids) == ids
    await store.positions.insert_one({"_id": f"{topic}/3", "next": 7})
    assert (await requests.reset_cursors(topic, OPERATOR, "a test", dry_run=False))[3] == 7
    await asyncio.to_thread(small_system.delete_topic, topic)
    await workers[0].loops["replay"]()
    assert await requests.replays.find_one({}) and await store.topic_ids(ids) == ids
    await asyncio.to_thread(small_system.create_topics, topic)
    await asyncio.gather(*(each.loops["replay"]() for each in workers))
    recreated = await workers[1].topic_ids.read([topic])
    assert await requests.replays.find_one({}) is None
    assert await store.topic_ids(ids) == recreated != ids
    assert await store.positions.distinct("next") == [0]
    for each in workers:
        await each.reader.stop()
        each.topic_ids.close()


# Over HTTP


@pytest.fixture
async def client(small_system: SmallSystem, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the replays of screening."""

    async def ready() -> list[ReadinessReason]:
        return []

    routers = [replays.cursor_resets, replays.republications]
    app = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=routers)
    store = small_system.store("screening")
    app.state.runtime = Runtime(settings=settings, store=store, leases=MemoryLeases(), clock=noon)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"{HERE}/t/v1/replays/") as client:
        yield client


async def changed(small_system: SmallSystem) -> list[str]:
    """Return the collections of screening that are not empty."""
    database = small_system.store("screening").database
    names = ("operator_actions", "replays", "cursors")
    return [name for name in names if await database[name].find_one({})]


async def test_a_request_is_recorded_and_a_dry_run_is_not(
    small_system: SmallSystem, client: httpx.AsyncClient, issuer: Issuer
) -> None:
    headers = issuer.bearer("operator", id="o1")
    for path, body in (("cursor-resets", {"topic": "peyvand.registration"}), ("republications", {})):
        request = {"reason": "a drill", **body}
        tried = await client.post(path, headers=headers, json={**request, "dry_run": True})
        assert tried.status_code == 200 and tried.json()["dry_run"], tried.text
    assert await changed(small_system) == []
    for path, body in (("cursor-resets", {"topic": "peyvand.registration"}), ("republications", {})):
        done = await client.post(path, headers=headers, json={"reason": "a drill", **body})
        assert done.status_code == 200 and not done.json()["dry_run"], done.text
    requests = requests_of(small_system, "screening")
    assert sorted(await requests.replays.distinct("_id")) == ["republish", "reset_cursors/peyvand.registration"]
    actions = await requests.actions.find({}, sort=[("_id", 1)]).to_list()
    assert [(each["who"], each["action"], each["letters"]) for each in actions] == [
        (OPERATOR, "reset_cursors", ["peyvand.registration"]),
        (OPERATOR, "republish", []),
    ]


@pytest.mark.parametrize(
    ("path", "role", "body", "status", "field", "text"),
    [
        ("cursor-resets", "auditor", {}, 403, "", ""),
        ("republications", "ministry_admin", {}, 403, "", ""),
        ("cursor-resets", "operator", {"topic": "peyvand.screening"}, 422, "topic", "peyvand.registration"),
        ("cursor-resets", "operator", {"topic": None}, 422, "topic", ""),
        ("cursor-resets", "operator", {"at": {"0": 7}}, 422, "at", ""),
        ("cursor-resets", "operator", {"reason": ""}, 422, "reason", ""),
        ("republications", "operator", {"reason": "x"}, 422, "reason", ""),
        ("republications", "operator", {"since": "2026"}, 422, "since", ""),
    ],
)
async def test_an_invalid_request_is_refused_and_changes_nothing(
    small_system: SmallSystem,
    client: httpx.AsyncClient,
    issuer: Issuer,
    path: str,
    role: str,
    body: Any,
    status: int,
    field: str,
    text: str,
) -> None:
    request = {"reason": "a test", **({"topic": "peyvand.registration"} if path == "cursor-resets" else {})}
    response = await client.post(path, headers=issuer.bearer(role), json={**request, **body})
    problem = response.json()
    assert response.status_code == status, problem
    if field:
        assert problem["errors"][0]["field"].split(".")[0] == field and text in str(problem["errors"]), problem
    assert await changed(small_system) == []
