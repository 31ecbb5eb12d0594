"""After a restore from an older backup: is everything exact again, once each, and is the API closed until then?"""

import asyncio
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts.envelope import decode
from kernel.commands import execute, execute_many
from kernel.errors import Transient, UnreadableRecord
from kernel.kafka.log_reader import LogReader
from kernel.record import Message
from kernel.store import read_snapshot
from kernel.stores.mongodb import MongoStore, connect
from peyvand.endpoints import CommandError
from recovery import completion, restore_mark
from recovery.restore_mark import new_mark, read_mark, set_mark
from tests.support.restored_system import back_up, lose, restore, start_all, stop_all, until_ready, until_reason
from tests.support.servers import Servers
from tests.support.small_services import NOON, Decide, Register, Withdraw, noon
from tests.support.small_workers import EVERY_PARTITION, RULES, SmallSystem, exact, log_of

pytestmark = pytest.mark.server

PEOPLE = [f"p{n}" for n in range(60)]
LATER = [f"q{n}" for n in range(40)]


async def register(small_system: SmallSystem, people: Collection[str]) -> None:
    await execute_many(small_system.store("registration"), dict.fromkeys(people, Register()), noon)


async def decide(small_system: SmallSystem, people: Collection[str], outcome: str = "approved") -> None:
    for person in people:
        await execute(small_system.store("screening"), person, Decide(outcome), noon)


async def settles(small_system: SmallSystem, registered: int, decided: int = 0, withdrawn: int = 0) -> None:
    """Wait until every service has settled, with a case for each registration."""
    expected = {"ApplicantRegistered": registered, "CaseOpened": registered}
    expected |= {"CaseDecided": decided, "ApplicantWithdrawn": withdrawn}
    await until_ready(small_system)
    await small_system.settles(expected, services=RULES, within=60)


async def until_published(small_system: SmallSystem) -> None:
    """Wait until Kafka has every event of registration."""

    async def published() -> bool:
        return not await small_system.store("registration").pending(EVERY_PARTITION, 1)

    await small_system.until(published)


async def test_an_older_backup_and_the_log_make_everything_exact_again(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    await register(small_system, PEOPLE)
    await start_all(small_system)
    await settles(small_system, 60)
    await stop_all(small_system)
    await decide(small_system, PEOPLE[:10])  # ten decisions are in the backup and not in the log yet
    points = await back_up(small_system, tmp_path / "b")
    assert sum(each.documents for each in points.values()) > 150
    await register(small_system, LATER)
    await execute(small_system.store("registration"), PEOPLE[0], Withdraw(), noon)
    await start_all(small_system)
    await settles(small_system, 100, 10, 1)
    await decide(small_system, [*PEOPLE[10:30], *LATER[:5]])
    await settles(small_system, 100, 35, 1)
    await stop_all(small_system)
    await lose(small_system)

    await restore(small_system, tmp_path / "b")
    assert (await small_system.store("screening").read(PEOPLE[10:11]))[PEOPLE[10]].state.outcome == ""
    assert await read_mark(small_system.store("screening"))
    await start_all(small_system)
    await settles(small_system, 100, 35, 1)
    assert await read_mark(small_system.store("screening")) is None
    await exact(small_system, [*PEOPLE, *LATER], decided=35)
    await register(small_system, ["late"])  # goes on under new sequences
    await decide(small_system, PEOPLE[30:32])
    await settles(small_system, 101, 37, 1)
    await exact(small_system, [*PEOPLE, *LATER, "late"], decided=37)


async def test_one_service_is_restored_while_the_others_stay_as_they_are(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    await register(small_system, PEOPLE)
    await start_all(small_system)
    await settles(small_system, 60)
    await stop_all(small_system)
    await back_up(small_system, tmp_path / "s", "screening")
    await start_all(small_system)
    await decide(small_system, PEOPLE[:20])
    await register(small_system, LATER)
    await settles(small_system, 100, 20)
    await stop_all(small_system)
    await lose(small_system, "screening")
    await restore(small_system, tmp_path / "s")
    await start_all(small_system)
    await settles(small_system, 100, 20)
    await exact(small_system, [*PEOPLE, *LATER], decided=20)


async def test_without_completion_two_different_events_have_one_sequence(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    """The canary: this is what the mark protects from."""
    await register(small_system, PEOPLE)
    await start_all(small_system)
    await settles(small_system, 60)
    await stop_all(small_system)
    await back_up(small_system, tmp_path / "b")
    await decide(small_system, PEOPLE[:20])
    await start_all(small_system)
    await settles(small_system, 60, 20)
    await stop_all(small_system)
    await lose(small_system)
    await restore(small_system, tmp_path / "b")
    for service in RULES:
        await small_system.store(service).database[restore_mark.COLLECTION].drop()
    await decide(small_system, PEOPLE[:20], "rejected")
    await start_all(small_system)
    await settles(small_system, 60, 20)
    with pytest.raises(AssertionError, match="two different events"):
        await exact(small_system, PEOPLE, decided=20)


async def test_the_log_lacks_what_a_restored_record_needs(
    small_system: SmallSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stays unready and changes nothing, instead of using a sequence twice."""
    monkeypatch.setattr(completion, "PAUSE", 0.2)
    await register(small_system, ["p"])
    await back_up(small_system, tmp_path / "b", "registration")
    await execute(small_system.store("registration"), "p", Withdraw(), noon)
    await execute(small_system.store("registration"), "p", Register(), noon)
    first = small_system.start(small_system.worker("registration"))
    await until_ready(small_system)
    await until_published(small_system)
    await small_system.stop(first)
    await lose(small_system, "registration")
    topic = small_system.topics["registration"]
    (raw,) = (await log_of(small_system))["registration", "p"][3]
    await asyncio.to_thread(small_system.delete_topic, topic)
    await asyncio.to_thread(small_system.create_topics, topic)
    await small_system.publish("registration", Message(decode(raw), raw))
    await restore(small_system, tmp_path / "b")
    worker = small_system.start(small_system.worker("registration"))
    await until_reason(small_system, worker, "the log has event 3 but not 2")
    store = small_system.store("registration")
    assert (await store.read(["p"]))["p"].last_sequence == 1 and await read_mark(store)


async def test_an_archive_is_whole_or_refused_and_never_restored_over_data(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    await register(small_system, PEOPLE)
    await back_up(small_system, tmp_path / "b")
    with pytest.raises(CommandError, match="is not empty"):
        await restore(small_system, tmp_path / "b")
    await lose(small_system)
    shutil.copytree(tmp_path / "b", tmp_path / "damaged")
    file = max((tmp_path / "damaged" / f"{small_system.name}_registration").glob("*/stream/*"))
    file.write_bytes(file.read_bytes()[:100] + b"0123456789" + file.read_bytes()[110:])
    with pytest.raises(CommandError, match="damaged"):
        await restore(small_system, tmp_path / "damaged")
    for file in (tmp_path / "b" / f"{small_system.name}_registration").glob("*/2*/*"):
        file.unlink()
    with pytest.raises(CommandError, match="holds no state"):
        await restore(small_system, tmp_path / "b")
    records = small_system.store("registration").records
    assert await records.count_documents({}) == 0, "an archive is verified before anything is written"


async def test_an_interrupted_restore_is_not_completed_but_repeated(small_system: SmallSystem, tmp_path: Path) -> None:
    await register(small_system, PEOPLE)
    await back_up(small_system, tmp_path / "b")
    await lose(small_system)
    store = small_system.store("registration")
    await set_mark(store.database, replace(new_mark(small_system.topics["registration"], {}, NOON), whole=False))
    await store.records.insert_one({"_id": "left by the interrupted restore"})
    worker = small_system.start(small_system.worker("registration"))
    await until_reason(small_system, worker, "the restore was interrupted: restore again")
    await small_system.stop(worker)
    await restore(small_system, tmp_path / "b")
    assert await store.records.count_documents({}) == len(PEOPLE)
    await start_all(small_system)
    await settles(small_system, 60)
    await exact(small_system, PEOPLE, decided=0)


async def test_a_record_of_a_newer_version_keeps_the_worker_unready(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "PAUSE", 0.2)
    await register(small_system, PEOPLE)
    worker = small_system.start(small_system.worker("registration"))
    await until_ready(small_system)
    store = small_system.store("registration")
    await until_published(small_system)
    await small_system.stop(worker)
    await set_mark(store.database, new_mark(small_system.topics["registration"], {}, NOON))
    await store.records.update_one({"_id": "p7"}, {"$set": {"rules_version": 9}})
    worker = small_system.start(small_system.worker("registration"))
    await until_reason(small_system, worker, "written by version 9")
    await store.records.update_one({"_id": "p7"}, {"$set": {"rules_version": 1}})
    await until_ready(small_system)
    assert await read_mark(store) is None


async def test_a_damaged_record_stays_as_it_is_and_the_others_are_completed(
    small_system: SmallSystem, tmp_path: Path
) -> None:
    """Nothing reads it, so that it emits nothing under a sequence that others have."""
    await register(small_system, PEOPLE[:10])
    await back_up(small_system, tmp_path / "b", "registration")
    await execute_many(small_system.store("registration"), dict.fromkeys(PEOPLE[:10], Withdraw()), noon)
    worker = small_system.start(small_system.worker("registration"))
    await until_ready(small_system)
    await until_published(small_system)
    await small_system.stop(worker)
    await lose(small_system, "registration")
    await restore(small_system, tmp_path / "b")
    store = small_system.store("registration")
    await store.records.update_one({"_id": PEOPLE[3]}, {"$set": {"state": "{"}})
    worker = small_system.start(small_system.worker("registration"))
    await until_ready(small_system)
    assert await read_mark(store) is None
    snapshot = await read_snapshot(store, PEOPLE[:10])
    assert list(snapshot.unreadable) == [PEOPLE[3]]
    assert {snapshot.records[each].last_sequence for each in PEOPLE[:10] if each != PEOPLE[3]} == {2}
    with pytest.raises(UnreadableRecord):
        await execute(store, PEOPLE[3], Withdraw(), noon)


async def test_the_mark_is_removed_only_after_what_the_service_itself_has_to_do(servers: Servers) -> None:
    """Registration erases again whom the log shows as erased: until that is done, no API is open."""
    client, name = connect(servers.mongo), servers.database()
    store, marked = MongoStore(client[name], "reporting", {"applicant": RULES["reporting"]}), list[bool]()
    reader = LogReader(servers.kafka, "test")

    async def fail() -> None:
        raise Transient("the keys cannot be written")

    async def erase_again() -> None:
        marked.append(await read_mark(store) is not None)

    try:
        await set_mark(client[name], new_mark("", {}, NOON))
        with pytest.raises(Transient):
            await completion.complete(store, (), reader, noon, fail)
        assert await completion.complete(store, (), reader, noon, erase_again) is not None
        assert marked == [True] and await read_mark(store) is None
        assert await completion.complete(store, (), reader, noon, fail) is None, "a store that was not restored"
    finally:
        await reader.stop()
        await client.drop_database(name)
        await client.close()
