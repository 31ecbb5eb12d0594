"""After a restore from an older backup: is everything exact again, once each, and nobody served before?"""

import asyncio
import shutil
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from msgspec.structs import replace

from base.settings import Settings
from contracts.envelope import decode, digest, encode
from contracts.subjects import PARTITIONS
from kernel.commands import execute, execute_many
from kernel.kafka.log_reader import LogReader
from kernel.record import Parked, Record, emit, receive
from kernel.stores.mongodb import MongoStore, connect
from peyvand.store_backup import MANIFEST, Manifest, backup, read_manifest, restore
from peyvand.endpoints import CommandError
from recovery import restore as restore_mark
from recovery.missing_events import Forgotten, recall
from recovery.restore import Mark, closed_until_complete, mark, marked
from tests.kernel.test_record import message
from tests.support.servers import Servers
from tests.support.small_api import HERE, problem_of, routes
from tests.support.small_services import NOON, Answering, Asking, Counting, Decide, Register, Withdraw, noon
from tests.support.small_workers import SmallSystem
from web.app import create_app

ALL = ("registration", "screening", "reporting")
ASKING: Any = Asking
ANSWERING: Any = Answering
COUNTING: Any = Counting
PEOPLE = [f"p{n}" for n in range(60)]
LATER = [f"q{n}" for n in range(40)]


def nothing(*_: Any) -> None:
    """No bar."""


# The movement of one record


def told(subject: str = "p", n: int = 3) -> tuple[Record, dict[int, bytes]]:
    """A record that was asked n times, and the log of it."""
    record = Record(subject=subject, state=Asking.State())
    for i in range(n):
        command = Register() if i % 2 == 0 else Withdraw()
        record = emit(record, ASKING, "registration", Asking.decide(record.state, command, NOON), noon())
    return record, dict(enumerate(record.emitted, 1))


def test_what_the_store_forgot_is_taken_back_from_the_log() -> None:
    whole, own = told()
    old = told(n=1)[0]
    again, missing = recall(old, ASKING, "registration", own, {}, noon())
    assert (again.state, again.last_sequence, again.last_hash) == (whole.state, 3, whole.last_hash)
    assert again.emitted == whole.emitted and not missing
    assert recall(again, ASKING, "registration", own, {}, noon()) == (again, [])


def test_what_an_event_answers_is_known_and_not_answered_again() -> None:
    heard = message("registration", 1, subject="p")
    empty = Record(subject="p", state=Answering.State())
    answered = receive(empty, ANSWERING, "screening", heard, noon())
    own = dict(enumerate(answered.emitted, 1))
    again, missing = recall(empty, ANSWERING, "screening", own, {"registration": {1: heard.raw}}, noon())
    assert not missing and again.state == answered.state and again.inbox == {"registration": 1}
    assert receive(again, ANSWERING, "screening", heard, noon()) == again
    blind, missing = recall(empty, ANSWERING, "screening", own, {}, noon())
    assert missing == ["registration/p/1"] and blind.inbox == {"registration": 1} and blind.state.opened == 1


def test_what_was_parked_behind_it_goes_on() -> None:
    heard = [message("registration", n, subject="p") for n in (1, 2)]
    empty = Record(subject="p", state=Answering.State())
    first = receive(empty, ANSWERING, "screening", heard[0], noon())
    waits = Record(subject="p", state=Answering.State(), parked={"registration": Parked({2: heard[1].raw})})
    told_here = {"registration": {1: heard[0].raw}}
    again, _ = recall(waits, ANSWERING, "screening", dict(enumerate(first.emitted, 1)), told_here, noon())
    assert again.inbox == {"registration": 2} and again.last_sequence == 2 and not again.parked


def test_two_stories_are_not_joined() -> None:
    _, own = told()
    old, _ = told(n=1)
    with pytest.raises(Forgotten, match="not 2"):
        recall(old, ASKING, "registration", {1: own[1], 3: own[3]}, {}, noon())
    strange = encode(said_by_another(own[1]))
    with pytest.raises(Forgotten, match="another in the log"):
        recall(old, ASKING, "registration", {1: strange}, {}, noon())
    with pytest.raises(Forgotten, match="another than ours"):
        recall(old, ASKING, "registration", {2: own[3].replace(b'"sequence":3', b'"sequence":2')}, {}, noon())


def said_by_another(raw: bytes) -> Any:
    """The same event by somebody else."""
    return replace(decode(raw), actor="somebody else")


# On the real parts


async def ends(small_system: SmallSystem) -> dict[str, int]:
    """Where the log ends."""
    reader = LogReader(small_system.servers.kafka, "test")
    try:
        tps = [TopicPartition(t, p) for t in small_system.topics.values() for p in range(PARTITIONS)]
        return {f"{tp.topic}/{tp.partition}": end for tp, end in (await reader.ends(tps)).items()}
    finally:
        await reader.stop()


async def run(small_system: SmallSystem) -> None:
    """All three services, one worker each, until nothing is on its way."""
    for service in ALL:
        small_system.start(small_system.worker(service))

    async def rests() -> bool:
        unsent = [await small_system.store(s).waiting(range(PARTITIONS), 1) for s in ALL]
        return not any(unsent) and await small_system.at_end() and await heard_all()

    async def heard_all() -> bool:
        log = await ends(small_system)
        for service in ("registration", "screening"):
            cursors = {d["_id"]: d["next"] async for d in small_system.store(service).positions.find()}
            topics = small_system.hears[service]
            if any(cursors.get(tp) != end for tp, end in log.items() if tp.rpartition("/")[0] in topics):
                return False
        return True

    await small_system.until(rests)


async def rest(small_system: SmallSystem) -> None:
    """Ends them."""
    for worker in list(small_system.running):
        await small_system.stop(worker)


async def ask(small_system: SmallSystem, people: Collection[str]) -> None:
    """They register."""
    await execute_many(small_system.store("registration"), dict.fromkeys(people, Register()), noon)


async def decide(small_system: SmallSystem, people: Collection[str]) -> None:
    """An officer decides."""
    for person in people:
        await execute(small_system.store("screening"), person, Decide(), noon)


async def in_thread(call: Any, *arguments: Any) -> Any:
    """What is written for the command line."""
    with ThreadPoolExecutor(1) as elsewhere:
        return await asyncio.get_running_loop().run_in_executor(elsewhere, call, *arguments)


async def back_up(small_system: SmallSystem, folder: Path) -> Manifest:
    """A backup of all three."""
    topics = {f"{small_system.name}_{s}": small_system.topics.get(s, "") for s in ALL}
    at = await ends(small_system)
    found: Manifest = await in_thread(lambda: backup(small_system.servers.mongo, folder, topics, at, nothing))
    return found


async def lose(small_system: SmallSystem) -> None:
    """The stores are gone."""
    for service in ALL:
        await small_system.client.drop_database(f"{small_system.name}_{service}")


async def log_of(small_system: SmallSystem) -> dict[tuple[str, str], dict[int, set[bytes]]]:
    """Everything that was ever said: by source and subject, by sequence, each different telling."""
    reader, found = LogReader(small_system.servers.kafka, "test"), dict[tuple[str, str], dict[int, set[bytes]]]()
    try:
        tps = [TopicPartition(t, p) for t in small_system.topics.values() for p in range(PARTITIONS)]
        last = await reader.ends(tps)
        await reader.seek(await reader.begins(tps))
        records, _ = await reader.stride(last)
    finally:
        await reader.stop()
    for r in records:
        e = decode(r.value)
        found.setdefault((e.source, e.subject), {}).setdefault(e.sequence, set()).add(r.value)
    return found


async def exact(small_system: SmallSystem, people: Collection[str], decided: int) -> None:
    """Each event once and dense, each case once, tallies as a recount has them."""
    log = await log_of(small_system)
    for (source, subject), by in log.items():
        assert sorted(by) == list(range(1, len(by) + 1)), f"{source}/{subject} has a hole"
        assert all(len(raws) == 1 for raws in by.values()), f"{source}/{subject} was told in two ways"
    for service in ("registration", "screening"):
        async for d in small_system.store(service).records.find():
            assert d["emitted"] == [next(iter(log[service, d["_id"]][n])) for n in range(1, d["last_sequence"] + 1)]
            assert d["last_hash"] == digest(d["emitted"][-1]) and d["relayed"] == len(log[service, d["_id"]])
    screening = (await small_system.store("screening").read(people)).values()
    assert {r.state.opened for r in screening} == {1}, "a case was opened twice"
    assert sum(r.state.outcome == "approved" for r in screening) == decided
    recounted: Counter[str] = Counter()
    for by in log.values():
        for raws in by.values():
            e = decode(next(iter(raws)))
            recounted[f"{e.context.province}/{type(e.event).__name__}"] += 1
    assert await small_system.tallies().counts() == recounted


@pytest.mark.server
async def test_an_older_backup_and_the_log_make_it_exact_again(small_system: SmallSystem, tmp_path: Path) -> None:
    await ask(small_system, PEOPLE)
    await run(small_system)
    await decide(small_system, PEOPLE[:10])
    await rest(small_system)  # ten decisions are in the backup and not in the log yet
    manifest = await back_up(small_system, tmp_path / "b")
    assert manifest.documents > 150 and read_manifest(tmp_path / "b") == manifest
    await run(small_system)
    await ask(small_system, LATER)
    await execute(small_system.store("registration"), PEOPLE[0], Withdraw(), noon)
    await run_on(small_system)
    await decide(small_system, [*PEOPLE[10:30], *LATER[:5]])
    await run_on(small_system)
    await rest(small_system)
    before = await small_system.tallies().counts()
    await lose(small_system)

    await in_thread(restore, small_system.servers.mongo, tmp_path / "b", nothing)
    assert await marked(small_system.store("screening"))
    await run(small_system)
    assert await marked(small_system.store("screening")) is None
    await ask(small_system, ["late"])  # goes on under fresh sequences
    await decide(small_system, PEOPLE[30:32])
    await run_on(small_system)
    await exact(small_system, [*PEOPLE, *LATER, "late"], decided=10 + 20 + 5 + 2)
    after = Counter(await small_system.tallies().counts())
    after.subtract(before)
    assert +after == {"IR-20/ApplicantRegistered": 1, "IR-20/CaseOpened": 1, "IR-20/CaseDecided": 2}


async def run_on(small_system: SmallSystem) -> None:
    """Until nothing is on its way; the workers run already, or are started."""
    await rest(small_system)
    await run(small_system)


@pytest.mark.server
async def test_one_service_is_restored_and_the_others_stand_where_they_stood(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    await ask(small_system, PEOPLE)
    await run(small_system)
    await rest(small_system)
    topic = small_system.topics["screening"]
    at = await ends(small_system)
    name = f"{small_system.name}_screening"
    await in_thread(lambda: backup(small_system.servers.mongo, tmp_path / "s", {name: topic}, at, nothing))
    await run(small_system)
    await decide(small_system, PEOPLE[:20])
    await ask(small_system, LATER)
    await run_on(small_system)
    await rest(small_system)
    await small_system.client.drop_database(name)
    await in_thread(restore, small_system.servers.mongo, tmp_path / "s", nothing)
    await run(small_system)
    await exact(small_system, [*PEOPLE, *LATER], decided=20)


@pytest.mark.server
async def test_without_completion_sequences_are_told_in_two_ways(small_system: SmallSystem, tmp_path: Path) -> None:
    """The canary: what the mark protects from."""
    await ask(small_system, PEOPLE)
    await run(small_system)
    await rest(small_system)
    await back_up(small_system, tmp_path / "b")
    await decide(small_system, PEOPLE[:20])
    await run(small_system)
    await rest(small_system)
    await lose(small_system)
    await in_thread(restore, small_system.servers.mongo, tmp_path / "b", nothing)
    for service in ALL:
        await small_system.client[f"{small_system.name}_{service}"][restore_mark.MARK].drop()
    for person in PEOPLE[:20]:
        await execute(small_system.store("screening"), person, Decide("rejected"), noon)
    await run(small_system)
    with pytest.raises(AssertionError, match="told in two ways"):
        await exact(small_system, PEOPLE, decided=20)


@pytest.mark.server
async def test_a_backup_is_whole_or_none_and_never_over_data(small_system: SmallSystem, tmp_path: Path) -> None:
    await ask(small_system, PEOPLE)
    await back_up(small_system, tmp_path / "b")
    with pytest.raises(CommandError, match="not empty"):
        await back_up(small_system, tmp_path / "b")
    with pytest.raises(CommandError, match="is not empty"):
        await in_thread(restore, small_system.servers.mongo, tmp_path / "b", nothing)
    await lose(small_system)
    shutil.copytree(tmp_path / "b", tmp_path / "cut")
    (tmp_path / "cut" / MANIFEST).unlink()
    with pytest.raises(CommandError, match="no complete backup"):
        await in_thread(restore, small_system.servers.mongo, tmp_path / "cut", nothing)
    shutil.copytree(tmp_path / "b", tmp_path / "bad")
    file = tmp_path / "bad" / f"{small_system.name}_registration" / "records.bson"
    file.write_bytes(file.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(CommandError, match="digest"):
        await in_thread(restore, small_system.servers.mongo, tmp_path / "bad", nothing)
    assert await small_system.store("registration").records.count_documents({}) == 0, (
        "checked before anything is written"
    )

    database = small_system.client[f"{small_system.name}_registration"]
    half = Mark(at=NOON, made_at=NOON, topic=small_system.topics["registration"], whole=False)
    await mark(database, half)  # a restore that was interrupted
    await database.records.insert_one({"_id": "left"})
    worker = small_system.start(small_system.worker("registration"))

    async def says_so() -> bool:
        return any("restore it again" in each for each in await worker.ready())

    await small_system.until(says_so)
    await small_system.stop(worker)
    await in_thread(restore, small_system.servers.mongo, tmp_path / "b", nothing)
    assert await small_system.store("registration").records.count_documents({}) == len(PEOPLE)


@pytest.mark.server
async def test_an_api_is_closed_until_its_store_is_complete(servers: Servers, settings: Settings) -> None:
    client, name = connect(servers.mongo), servers.database()
    store = MongoStore(client[name], "reporting", {"applicant": COUNTING})

    async def ready() -> list[str]:
        return []

    app = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])
    try:
        await mark(client[name], Mark(at=datetime.now(UTC), made_at=NOON, topic=""))
        async with (
            closed_until_complete(app, store),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as caller,
        ):
            refused = await caller.get("/t/v1/things")
            assert refused.headers["Retry-After"] == "10" and "10" in problem_of(refused, 503, "restoring")["detail"]
            not_ready = await caller.get("/readyz")
            assert not_ready.status_code == 503 and "backup" in not_ready.json()["reasons"][0]
            assert (await caller.get("/healthz")).status_code == 200
            await client[name][restore_mark.MARK].drop()
            await asyncio.sleep(restore_mark.LOOK * 1.5)
            assert (await caller.get("/t/v1/things")).status_code == 200
            assert (await caller.get("/readyz")).status_code == 200
    finally:
        await client.drop_database(name)
        await client.close()
