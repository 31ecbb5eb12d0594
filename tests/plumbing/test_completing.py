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

from contracts.envelope import digest, read, write
from contracts.subjects import PARTITIONS
from peyvand.backup import MANIFEST, Manifest, backup, read_manifest, restore
from peyvand.running import Trouble
from plumbing import restored
from plumbing.mongo import MongoStore, connect
from plumbing.reader import LogReader
from plumbing.recalling import Forgotten, recall
from plumbing.record import Parked, Record, emit, receive
from plumbing.restored import Mark, closed_until_complete, mark, marked
from plumbing.settings import Settings
from plumbing.store import execute, execute_many
from plumbing.web import create_app
from tests.parts import Parts
from tests.plumbing.country import NOON, Answering, Asking, Counting, Decide, Register, Withdraw, noon
from tests.plumbing.running import Country
from tests.plumbing.test_record import message
from tests.plumbing.things import HERE, routes, said

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
    strange = write(said_by_another(own[1]))
    with pytest.raises(Forgotten, match="another in the log"):
        recall(old, ASKING, "registration", {1: strange}, {}, noon())
    with pytest.raises(Forgotten, match="another than ours"):
        recall(old, ASKING, "registration", {2: own[3].replace(b'"sequence":3', b'"sequence":2')}, {}, noon())


def said_by_another(raw: bytes) -> Any:
    """The same event by somebody else."""
    return replace(read(raw), actor="somebody else")


# On the real parts


async def ends(country: Country) -> dict[str, int]:
    """Where the log ends."""
    reader = LogReader(country.parts.kafka, "test")
    try:
        tps = [TopicPartition(t, p) for t in country.topics.values() for p in range(PARTITIONS)]
        return {f"{tp.topic}/{tp.partition}": end for tp, end in (await reader.ends(tps)).items()}
    finally:
        await reader.stop()


async def run(country: Country) -> None:
    """All three services, one worker each, until nothing is on its way."""
    for service in ALL:
        country.start(country.worker(service))

    async def rests() -> bool:
        unsent = [await country.store(s).waiting(range(PARTITIONS), 1) for s in ALL]
        return not any(unsent) and await country.at_end() and await heard_all()

    async def heard_all() -> bool:
        log = await ends(country)
        for service in ("registration", "screening"):
            cursors = {d["_id"]: d["next"] async for d in country.store(service).positions.find()}
            topics = country.hears[service]
            if any(cursors.get(tp) != end for tp, end in log.items() if tp.rpartition("/")[0] in topics):
                return False
        return True

    await country.until(rests)


async def rest(country: Country) -> None:
    """Ends them."""
    for worker in list(country.running):
        await country.stop(worker)


async def ask(country: Country, people: Collection[str]) -> None:
    """They register."""
    await execute_many(country.store("registration"), dict.fromkeys(people, Register()), noon)


async def decide(country: Country, people: Collection[str]) -> None:
    """An officer decides."""
    for person in people:
        await execute(country.store("screening"), person, Decide(), noon)


async def in_thread(call: Any, *arguments: Any) -> Any:
    """What is written for the command line."""
    with ThreadPoolExecutor(1) as elsewhere:
        return await asyncio.get_running_loop().run_in_executor(elsewhere, call, *arguments)


async def back_up(country: Country, folder: Path) -> Manifest:
    """A backup of all three."""
    topics = {f"{country.name}_{s}": country.topics.get(s, "") for s in ALL}
    at = await ends(country)
    found: Manifest = await in_thread(lambda: backup(country.parts.mongo, folder, topics, at, nothing))
    return found


async def lose(country: Country) -> None:
    """The stores are gone."""
    for service in ALL:
        await country.client.drop_database(f"{country.name}_{service}")


async def log_of(country: Country) -> dict[tuple[str, str], dict[int, set[bytes]]]:
    """Everything that was ever said: by source and subject, by sequence, each different telling."""
    reader, found = LogReader(country.parts.kafka, "test"), dict[tuple[str, str], dict[int, set[bytes]]]()
    try:
        tps = [TopicPartition(t, p) for t in country.topics.values() for p in range(PARTITIONS)]
        last = await reader.ends(tps)
        await reader.seek(await reader.begins(tps))
        records, _ = await reader.stride(last)
    finally:
        await reader.stop()
    for r in records:
        e = read(r.value)
        found.setdefault((e.source, e.subject), {}).setdefault(e.sequence, set()).add(r.value)
    return found


async def exact(country: Country, people: Collection[str], decided: int) -> None:
    """Each event once and dense, each case once, tallies as a recount has them."""
    log = await log_of(country)
    for (source, subject), by in log.items():
        assert sorted(by) == list(range(1, len(by) + 1)), f"{source}/{subject} has a hole"
        assert all(len(raws) == 1 for raws in by.values()), f"{source}/{subject} was told in two ways"
    for service in ("registration", "screening"):
        async for d in country.store(service).records.find():
            assert d["emitted"] == [next(iter(log[service, d["_id"]][n])) for n in range(1, d["last_sequence"] + 1)]
            assert d["last_hash"] == digest(d["emitted"][-1]) and d["relayed"] == len(log[service, d["_id"]])
    screening = (await country.store("screening").read(people)).values()
    assert {r.state.opened for r in screening} == {1}, "a case was opened twice"
    assert sum(r.state.outcome == "approved" for r in screening) == decided
    recounted: Counter[str] = Counter()
    for by in log.values():
        for raws in by.values():
            e = read(next(iter(raws)))
            recounted[f"{e.context.province}/{type(e.event).__name__}"] += 1
    assert await country.tallies().counts() == recounted


@pytest.mark.server
async def test_an_older_backup_and_the_log_make_it_exact_again(country: Country, tmp_path: Path) -> None:
    await ask(country, PEOPLE)
    await run(country)
    await decide(country, PEOPLE[:10])
    await rest(country)  # ten decisions are in the backup and not in the log yet
    manifest = await back_up(country, tmp_path / "b")
    assert manifest.documents > 150 and read_manifest(tmp_path / "b") == manifest
    await run(country)
    await ask(country, LATER)
    await execute(country.store("registration"), PEOPLE[0], Withdraw(), noon)
    await run_on(country)
    await decide(country, [*PEOPLE[10:30], *LATER[:5]])
    await run_on(country)
    await rest(country)
    before = await country.tallies().counts()
    await lose(country)

    await in_thread(restore, country.parts.mongo, tmp_path / "b", nothing)
    assert await marked(country.store("screening"))
    await run(country)
    assert await marked(country.store("screening")) is None
    await ask(country, ["late"])  # goes on under fresh sequences
    await decide(country, PEOPLE[30:32])
    await run_on(country)
    await exact(country, [*PEOPLE, *LATER, "late"], decided=10 + 20 + 5 + 2)
    after = Counter(await country.tallies().counts())
    after.subtract(before)
    assert +after == {"IR-20/ApplicantRegistered": 1, "IR-20/CaseOpened": 1, "IR-20/CaseDecided": 2}


async def run_on(country: Country) -> None:
    """Until nothing is on its way; the workers run already, or are started."""
    await rest(country)
    await run(country)


@pytest.mark.server
async def test_one_service_is_restored_and_the_others_stand_where_they_stood(country: Country, tmp_path: Path) -> None:
    await ask(country, PEOPLE)
    await run(country)
    await rest(country)
    topic = country.topics["screening"]
    at = await ends(country)
    name = f"{country.name}_screening"
    await in_thread(lambda: backup(country.parts.mongo, tmp_path / "s", {name: topic}, at, nothing))
    await run(country)
    await decide(country, PEOPLE[:20])
    await ask(country, LATER)
    await run_on(country)
    await rest(country)
    await country.client.drop_database(name)
    await in_thread(restore, country.parts.mongo, tmp_path / "s", nothing)
    await run(country)
    await exact(country, [*PEOPLE, *LATER], decided=20)


@pytest.mark.server
async def test_without_completion_sequences_are_told_in_two_ways(country: Country, tmp_path: Path) -> None:
    """The canary: what the mark protects from."""
    await ask(country, PEOPLE)
    await run(country)
    await rest(country)
    await back_up(country, tmp_path / "b")
    await decide(country, PEOPLE[:20])
    await run(country)
    await rest(country)
    await lose(country)
    await in_thread(restore, country.parts.mongo, tmp_path / "b", nothing)
    for service in ALL:
        await country.client[f"{country.name}_{service}"][restored.MARK].drop()
    for person in PEOPLE[:20]:
        await execute(country.store("screening"), person, Decide("rejected"), noon)
    await run(country)
    with pytest.raises(AssertionError, match="told in two ways"):
        await exact(country, PEOPLE, decided=20)


@pytest.mark.server
async def test_a_backup_is_whole_or_none_and_never_over_data(country: Country, tmp_path: Path) -> None:
    await ask(country, PEOPLE)
    await back_up(country, tmp_path / "b")
    with pytest.raises(Trouble, match="not empty"):
        await back_up(country, tmp_path / "b")
    with pytest.raises(Trouble, match="is not empty"):
        await in_thread(restore, country.parts.mongo, tmp_path / "b", nothing)
    await lose(country)
    shutil.copytree(tmp_path / "b", tmp_path / "cut")
    (tmp_path / "cut" / MANIFEST).unlink()
    with pytest.raises(Trouble, match="no whole backup"):
        await in_thread(restore, country.parts.mongo, tmp_path / "cut", nothing)
    shutil.copytree(tmp_path / "b", tmp_path / "bad")
    file = tmp_path / "bad" / f"{country.name}_registration" / "records.bson"
    file.write_bytes(file.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(Trouble, match="digest"):
        await in_thread(restore, country.parts.mongo, tmp_path / "bad", nothing)
    assert await country.store("registration").records.count_documents({}) == 0, "checked before anything is written"

    database = country.client[f"{country.name}_registration"]
    half = Mark(at=NOON, made_at=NOON, topic=country.topics["registration"], whole=False)
    await mark(database, half)  # a restore that was interrupted
    await database.records.insert_one({"_id": "left"})
    worker = country.start(country.worker("registration"))

    async def says_so() -> bool:
        return any("restore it again" in each for each in await worker.ready())

    await country.until(says_so)
    await country.stop(worker)
    await in_thread(restore, country.parts.mongo, tmp_path / "b", nothing)
    assert await country.store("registration").records.count_documents({}) == len(PEOPLE)


@pytest.mark.server
async def test_an_api_is_closed_until_its_store_is_complete(parts: Parts, settings: Settings) -> None:
    client, name = connect(parts.mongo), parts.database()
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
            assert refused.headers["Retry-After"] == "10" and "10" in said(refused, 503, "restoring")["detail"]
            not_ready = await caller.get("/readyz")
            assert not_ready.status_code == 503 and "backup" in not_ready.json()["reasons"][0]
            assert (await caller.get("/healthz")).status_code == 200
            await client[name][restored.MARK].drop()
            await asyncio.sleep(restored.LOOK * 1.5)
            assert (await caller.get("/t/v1/things")).status_code == 200
            assert (await caller.get("/readyz")).status_code == 200
    finally:
        await client.drop_database(name)
        await client.close()
