"""The archive of real databases: what it restores is what they held, whatever happened to it meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.database import Database

from peyvand.archive import restore
from peyvand.archive.archiver import Archiver
from peyvand.archive.folders import COLLECTION, lines
from peyvand.archive.frames import archive_key
from peyvand.endpoints import CommandError
from peyvand.local_cluster.processes import free_ports, start, stop, wait_until
from tests.support.servers import Servers

pytestmark = pytest.mark.server

SECRET = "of-this-test"
TIMEOUT = 60.0  # seconds
Content = dict[str, list[dict[str, Any]]]


class Archived:
    """A database with its archive, as a process of its own."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers, self.folder, self.name = servers, folder, servers.database()
        self.client: MongoClient[dict[str, Any]] = MongoClient(servers.mongo, w="majority", journal=True)
        self.database: Database[dict[str, Any]] = self.client[self.name]
        self.process: subprocess.Popen[bytes] | None = None
        self.port = free_ports({"archive": None})["archive"]

    @property
    def archive(self) -> Path:
        """Return the folder of the database."""
        return self.folder / "archive" / self.name

    def start(self, **settings: str) -> None:
        """Start the process."""
        environment = {
            **os.environ,
            "PEYVAND_ENVIRONMENT": "development",
            "PEYVAND_MONGO": self.servers.mongo,
            "PEYVAND_DATABASES": self.name,
            "PEYVAND_ARCHIVE": str(self.folder / "archive"),
            "PEYVAND_ARCHIVE_KEY": SECRET,
            "PEYVAND_PORT": str(self.port),
            **settings,
        }
        command = [sys.executable, "-m", "peyvand.archive"]
        self.process = start(command, self.folder / "log", environment, parent_death_signal=signal.SIGKILL)

    def kill(self) -> None:
        """Kill the process."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def point(self, instant: datetime | None = None) -> restore.RestorePoint:
        """Return what would be restored. Raise CommandError."""
        return restore.restore_point(self.archive, archive_key(SECRET), instant)

    def until_archived(self) -> datetime:
        """Wait until what is stored now is archived; return the archived instant."""
        now = datetime.now(UTC)

        def archived() -> bool:
            try:
                return self.point().archived_at > now
            except CommandError:
                return False

        assert wait_until(archived, TIMEOUT), (self.folder / "log").read_text()
        return self.point().archived_at

    def content(self) -> Content:
        """Return all documents but the heartbeat."""
        names = sorted(self.database.list_collection_names())
        return {name: list(self.database[name].find(sort=[("_id", 1)])) for name in names if name != COLLECTION}

    def restored(self, instant: datetime | None = None) -> Content:
        """Drop the database, restore it, and return what it then holds."""
        point = self.point(instant)
        self.client.drop_database(self.name)
        restore.write(self.database, point, lambda *_: None)
        return {name: documents for name, documents in self.content().items() if documents}


@pytest.fixture
def archived(servers: Servers, tmp_path: Path) -> Iterator[Archived]:
    archived = Archived(servers, tmp_path)
    yield archived
    if archived.process:
        stop(archived.process, 20)
    archived.client.drop_database(archived.name)
    archived.client.close()


def change(database: Database[dict[str, Any]], chance: Random) -> None:
    """Change something, as the services do: alone, or several documents of several collections in a transaction."""

    def one(session: Any = None) -> None:
        key, other = f"s{chance.randrange(60)}", f"n{chance.randrange(4)}"
        records, cursors = database.records, database.cursors
        match chance.randrange(8):
            case 0:
                records.delete_one({"_id": key}, session=session)
            case 1:
                new = {"events": [], "inbox": {}, "state": "x" * chance.randrange(400)}
                records.replace_one({"_id": key}, new, upsert=True, session=session)
            case 2 | 3 | 4:
                more = {"$push": {"events": os.urandom(8)}, "$set": {f"inbox.{other}": chance.random()}}
                records.update_one({"_id": key, "inbox": {"$type": "object"}}, more, session=session)
            case 5:
                records.update_one({"_id": key}, {"$unset": {f"inbox.{other}": ""}}, session=session)
            case 6:
                cut = [{"$set": {"events": {"$slice": [{"$ifNull": ["$events", []]}, 5]}, "inbox": None}}]
                records.update_one({"_id": key}, cut, session=session)
            case _:
                at = datetime.now(UTC)
                cursors.update_one({"_id": other}, {"$inc": {"next": 1}, "$set": {"at": at}}, True, session=session)

    if chance.random() < 0.7:
        one()
        return

    def several(session: Any) -> None:
        account, amount = chance.randrange(5), chance.randrange(9)
        for n, more in ((account, -amount), (account + 1, amount)):
            database.accounts.update_one({"_id": n % 5}, {"$inc": {"sum": more}}, True, session=session)
        one(session)

    with database.client.start_session() as session:
        session.with_transaction(several)  # again, where the server could not lock something in time


class Load:
    """Changes a database all the time, in a thread of its own."""

    def __init__(self, servers: Servers, name: str) -> None:
        self.stopping, self.changes = Event(), 0
        self.thread = Thread(target=self._run, args=(servers.mongo, name))

    def _run(self, url: str, name: str) -> None:
        with MongoClient[dict[str, Any]](url) as client:
            chance = Random(name)
            while not self.stopping.is_set():
                change(client[name], chance)
                self.changes += 1
                time.sleep(0.002)

    def __enter__(self) -> "Load":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self.thread.join()


def _sum(content: Content) -> int:
    return sum(each["sum"] for each in content.get("accounts", ()))


def test_a_database_is_restored_exactly_although_the_archive_was_killed_all_the_time(
    archived: Archived, servers: Servers
) -> None:
    archived.database.records.insert_many({"_id": f"a{n:05}", "state": "y" * 500} for n in range(15_000))
    chance = Random(8)
    with Load(servers, archived.name) as load:
        for _ in range(5):
            archived.start()
            assert wait_until(archived.archive.exists, TIMEOUT)
            time.sleep(chance.random())
            archived.kill()
        archived.start()
        early = archived.until_archived()
        before = load.changes
        time.sleep(3)  # instants have seconds
        assert wait_until(lambda: load.changes > before + 100, TIMEOUT)
    last = archived.until_archived()
    point, content = archived.point(), archived.content()
    assert len(lines(archived.archive, archive_key(SECRET))) == 1 and point.archived_at >= last
    assert not any(b"yyyyyyyy" in file.read_bytes() for file in archived.archive.rglob("0*")), "encrypted"
    archived.kill()
    assert archived.restored() == content and _sum(content) == 0
    assert archived.restored() == content, "again, and nothing is applied twice"
    between = archived.restored(early + timedelta(seconds=1))
    assert _sum(between) == 0 and between != content, "whole transactions only"
    with pytest.raises(CommandError, match="holds no state"):
        archived.point(early - timedelta(hours=1))


def test_a_database_that_was_set_back_behind_its_archive_begins_a_new_line(archived: Archived) -> None:
    """A snapshot of its disk was restored, say: the oplog lacks what follows the archive, and no error shows it."""
    archived.database.records.insert_one({"_id": 1})
    archived.start()
    archived.until_archived()
    archived.kill()
    archived.database[COLLECTION].update_one({}, {"$set": {"at": datetime.now(UTC) - timedelta(minutes=5)}})
    archived.database.records.insert_one({"_id": 2})
    archived.start()
    archived.until_archived()
    assert len(lines(archived.archive, archive_key(SECRET))) == 2
    archived.kill()
    assert archived.restored() == {"records": [{"_id": 1}, {"_id": 2}]}


async def test_a_new_line_is_the_last_one_although_the_clock_was_set_back(
    archived: Archived, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a restore would take the former one for the newest."""
    key = archive_key(SECRET)
    async with AsyncMongoClient[dict[str, Any]](servers.mongo) as client:
        archiver = Archiver(client, archived.name, archived.folder / "archive", key)
        first = await archiver._line()
        monkeypatch.setattr("peyvand.archive.archiver.machine_now", lambda: datetime.now(UTC) - timedelta(hours=1))
        archiver._ended = True
        second = await archiver._line()
        assert [each.name for each in lines(archived.archive, key)] == [first.name, second.name]
        assert (await archiver._line()).name == second.name


def test_an_interrupted_restore_begins_again_with_all_databases(archived: Archived, servers: Servers) -> None:
    """It ends in the second database: the first one is not taken for one that holds other data."""
    archived.database.records.insert_many({"_id": n} for n in range(10))
    archived.start()
    archived.until_archived()
    archived.kill()
    first, second = names = servers.database(), servers.database()
    points, topics = dict.fromkeys(names, archived.point()), {first: "its topic"}

    def end_in_the_second(what: str, *_: int) -> None:
        if what.startswith(second):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore.restore(servers.mongo, points, topics, end_in_the_second)
    assert archived.client[first].restore.find_one({"whole": False}), "its service does not complete it, nor open"
    restore.restore(servers.mongo, points, topics, lambda *_: None)
    for name in names:
        assert archived.client[name].records.count_documents({}) == 10
    marks = [archived.client[name].restore.find_one({}, {"_id": 0, "whole": 1, "topic": 1}) for name in names]
    assert marks == [{"whole": True, "topic": "its topic"}, None]
    for name in names:
        archived.client.drop_database(name)
