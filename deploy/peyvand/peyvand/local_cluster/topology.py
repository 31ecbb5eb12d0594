"""The processes of a local platform: commands, ports and environments; and the state file that describes a run."""

import os
import sys
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from base.kafka_access import KafkaAccess
from contracts.topics import TOPICS
from peyvand.local_cluster.processes import ProcessIdentity
from peyvand.local_cluster.workspace import Secrets, Workspace, replace_file

SERVICES = ("registration", "screening", "market", "reporting")
DATABASES = {
    "registration": ("registration", "registration_keys"),  # wrapped keys have an archive of their own
    "screening": ("screening",),
    "market": ("market",),
    "reporting": ("reporting",),
}
PROJECTION = "reporting"  # has beside its own database one for each generation: see recovery.generations
READER = "reader"  # may read all topics and every service's data, but no keys: for recount, status, operations page
ARCHIVE, KEY_ARCHIVE = "archive", "key_archive"  # users that read what they archive, and write its heartbeat
ARCHIVED = {  # user -> databases; one that can be built from the log again is not archived
    ARCHIVE: tuple(service for service in SERVICES if service != PROJECTION),
    KEY_ARCHIVE: tuple(name for names in DATABASES.values() for name in names if name not in SERVICES),
}
AUDIENCE = "peyvand"
LOOPBACK = "127.0.0.1"
# Preferred ports; a free one is taken instead of one that is in use.
PORTS: Mapping[str, int] = {
    "gateway": 8080,
    "kafka": 9092,
    "controller": 9093,
    "mongod": 27017,
    "operations": 8120,
    "archive-data": 8121,
    "archive-keys": 8122,
    **{f"{service}-api": 8101 + n for n, service in enumerate(SERVICES)},
    **{f"{service}-worker": 8111 + n for n, service in enumerate(SERVICES)},
}

INDEXES = (sys.executable, "-m", "peyvand.commands.apply")
SIMULATION = (sys.executable, "-m", "peyvand", "simulate")


class RunningProcess(msgspec.Struct, frozen=True):
    """One process that was started."""

    identity: ProcessIdentity
    port: int
    starts: int = 1  # in this run of the platform


class ClusterState(msgspec.Struct, frozen=True):
    """The content of run/state.json: the addresses of the platform, and its processes."""

    supervisor: ProcessIdentity
    public_url: str = ""
    issuer: str = ""
    kafka: KafkaAccess = KafkaAccess("")  # with the user that may read every topic
    mongo: str = ""  # with the user that may read every service's data
    ready: bool = False
    ports: dict[str, int] = {}
    processes: dict[str, RunningProcess] = {}


class Role(msgspec.Struct, frozen=True):
    """How one process is run: its name, command, environment and port."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    port: int


class ClusterAddresses(msgspec.Struct, frozen=True):
    """The addresses that all roles share."""

    kafka: KafkaAccess  # with an administrator; services get users of their own
    mongo: str  # likewise
    ports: dict[str, int]
    own_users: bool = True  # false: a MongoDB on which users cannot be created
    own_kafka_users: bool = True  # likewise

    @property
    def public_url(self) -> str:
        """Return the public address of the platform."""
        return f"http://{LOOPBACK}:{self.ports['gateway']}"

    @property
    def issuer(self) -> str:
        """Return the issuer claim of the development issuer's tokens."""
        return f"{self.public_url}/issuer"

    def mongo_of(self, user: str, password: str) -> str:
        """Return the MongoDB URL of this user."""
        return as_user(self.mongo, user, password) if self.own_users else self.mongo

    def kafka_of(self, user: str, password: str) -> KafkaAccess:
        """Return how this user connects to Kafka."""
        return self.kafka.as_user(user, password) if self.own_kafka_users else self.kafka


def as_user(url: str, user: str, password: str) -> str:
    """Return the URL with another user, who authenticates against the database `admin`."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    options = [each for each in parts.query.split("&") if each and not each.lower().startswith("authsource=")]
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{hosts}"
    return urlunsplit((parts.scheme, netloc, "/", "&".join([*options, "authSource=admin"]), ""))


def kafka_from(environment: Mapping[str, str], prefix: str, address: str) -> KafkaAccess:
    """Return the access that these variables describe: `address`, and `prefix` with _USER, _PASSWORD and _CA."""
    return KafkaAccess(*(environment.get(name, "") for name in (address, *_kafka_names(prefix))))


def _kafka_names(prefix: str) -> tuple[str, ...]:
    return f"{prefix}_USER", f"{prefix}_PASSWORD", f"{prefix}_CA"


def kafka_environment(kafka: KafkaAccess) -> dict[str, str]:
    """Return the variables of a process that connects so."""
    values = msgspec.structs.astuple(kafka)
    return {
        name: value
        for name, value in zip(("PEYVAND_KAFKA", *_kafka_names("PEYVAND_KAFKA")), values, strict=True)
        if value
    }


def gateway(workspace: Workspace, addresses: ClusterAddresses, secrets: Secrets) -> Role:
    """Return the gateway with the development issuer."""
    upstreams = {
        f"PEYVAND_UPSTREAM_{service.upper()}": f"http://{LOOPBACK}:{addresses.ports[f'{service}-api']}"
        for service in SERVICES
    }
    environment = {
        **_common(workspace, addresses),
        "PEYVAND_PORT": str(addresses.ports["gateway"]),
        "PEYVAND_ISSUER_KEY": str(workspace.run / "issuer.jwk"),
        "PEYVAND_CLIENTS": msgspec.json.encode(secrets.clients).decode(),
        "PEYVAND_UPSTREAM_OPERATIONS": f"http://{LOOPBACK}:{addresses.ports['operations']}",
        **upstreams,
    }
    command = (sys.executable, "-m", "peyvand.gateway.server")
    return Role("gateway", command, environment, addresses.ports["gateway"])


def operations(workspace: Workspace, addresses: ClusterAddresses, secrets: Secrets) -> Role:
    """Return the operations page; it reads everything and writes nothing."""
    environment = {
        **_common(workspace, addresses),
        **kafka_environment(addresses.kafka_of(READER, secrets.kafka_reader)),
        "PEYVAND_MONGO": addresses.mongo_of(READER, secrets.mongo_reader),
        "PEYVAND_PORT": str(addresses.ports["operations"]),
        "PEYVAND_CLOCK": str(workspace.clock),
        "PEYVAND_HOME": str(workspace.installation),
        "PEYVAND_RUN": str(workspace.run),
    }
    command = (sys.executable, "-m", "peyvand.operations_page")
    return Role("operations", command, environment, addresses.ports["operations"])


def archives(workspace: Workspace, addresses: ClusterAddresses, secrets: Secrets) -> list[Role]:
    """Return the archive of the data and that of the wrapped keys: a user, a folder and a key for each."""
    return [
        Role(
            name,
            (sys.executable, "-m", "peyvand.archive"),
            {
                **inherited(os.environ),
                "PEYVAND_ENVIRONMENT": "development",
                "PEYVAND_MONGO": addresses.mongo_of(user, password),
                "PEYVAND_PORT": str(addresses.ports[name]),
                "PEYVAND_DATABASES": ",".join(ARCHIVED[user]),
                "PEYVAND_ARCHIVE": str(folder),
                "PEYVAND_ARCHIVE_KEY": key,
            },
            addresses.ports[name],
        )
        for name, user, password, folder, key in (
            ("archive-data", ARCHIVE, secrets.mongo_archive, workspace.archive, secrets.archive_key),
            ("archive-keys", KEY_ARCHIVE, secrets.mongo_key_archive, workspace.key_archive, secrets.key_archive_key),
        )
    ]


def worker_count(environment: Mapping[str, str] = os.environ) -> int:
    """Return the workers per service: PEYVAND_WORKERS, or one, which is the fastest on two cores."""
    return max(1, int(environment.get("PEYVAND_WORKERS") or 1))


def proxy_ports(environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """Return the ports of proxies before the embedded servers, by server: PEYVAND_PROXY_PORTS, name:port,..."""
    pairs = [each.partition(":") for each in environment.get("PEYVAND_PROXY_PORTS", "").split(",") if each]
    return {name: int(port) for name, _, port in pairs}


def prefix(service: str) -> str:
    """Return the path prefix of a service at the public address; reporting has none."""
    return "" if service == "reporting" else f"/{service}"


def role_name(service: str, kind: str, number: int = 1) -> str:
    """Return `market-worker`, or `market-worker-2` for the second one."""
    return f"{service}-{kind}" if number == 1 else f"{service}-{kind}-{number}"


def preferred_ports(workers: int) -> dict[str, int | None]:
    """Return the preferred port of each process; a second worker takes any free one."""
    more = {role_name(service, "worker", n): None for service in SERVICES for n in range(2, workers + 1)}
    return {**PORTS, **more}


def role(
    service: str, kind: str, workspace: Workspace, addresses: ClusterAddresses, secrets: Secrets, number: int = 1
) -> Role:
    """Return one of a service's roles: its `api`, or the worker with this number."""
    name = role_name(service, kind, number)
    environment = {
        **_common(workspace, addresses),
        "PEYVAND_SERVICE": service,
        **kafka_environment(addresses.kafka_of(service, secrets.kafka_services[service])),
        "PEYVAND_MONGO": addresses.mongo_of(service, secrets.mongo_services[service]),
        "PEYVAND_DATABASE": service,
        "PEYVAND_PORT": str(addresses.ports[name]),
        "PEYVAND_CLIENT_SECRET": secrets.clients[service],
        "PEYVAND_PRODUCERS": ",".join(
            f"{topic.producer}=http://{LOOPBACK}:{addresses.ports[f'{topic.producer}-api']}{prefix(topic.producer)}"
            for topic in TOPICS
            if service in topic.consumers
        ),
        "PEYVAND_CLOCK": str(workspace.clock),
        "PEYVAND_ASSETS": str(workspace.assets),
    }
    if service == "registration":  # the only service that stores identities
        environment |= {
            "PEYVAND_MASTER_KEY": secrets.master_key,
            "PEYVAND_INDEX_KEY": secrets.index_key,
            "PEYVAND_TRACKING_KEY": secrets.tracking_key,
            "PEYVAND_KEY_VERSION": str(secrets.key_version),
            "PEYVAND_OLDER_KEYS": msgspec.json.encode(secrets.older_keys).decode(),
            "PEYVAND_FORMER_TRACKING_KEYS": msgspec.json.encode(secrets.former_tracking_keys).decode(),
            "PEYVAND_SMS_FILE": str(workspace.sms),
        }
    return Role(name, (sys.executable, "-m", "run", service, kind), environment, addresses.ports[name])


def _common(workspace: Workspace, addresses: ClusterAddresses) -> dict[str, str]:
    return {
        **inherited(os.environ),
        "PEYVAND_ENVIRONMENT": "development",
        "PEYVAND_PUBLIC_URL": addresses.public_url,
        "PEYVAND_ISSUER": addresses.issuer,
        "PEYVAND_AUDIENCE": AUDIENCE,
        "PEYVAND_JWKS": str(workspace.jwks),
    }


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a role inherits of our environment: nothing that would configure it, or slow it down, by accident."""
    kept = ("HOME", "RUN", "LINGER", "LOG_LEVEL", "MAX_PENDING_EVENTS", "MAX_CONNECTIONS")
    return {
        name: value
        for name, value in environment.items()
        if (not name.startswith(("PEYVAND_", "MONGO_URL", "KAFKA_")) or name.removeprefix("PEYVAND_") in kept)
        and name != "PYTHONDONTWRITEBYTECODE"
    }


def read_state(workspace: Workspace) -> ClusterState | None:
    """Return the state of the present or last run; None if there is no file, or it cannot be read."""
    try:
        return msgspec.json.decode(workspace.state.read_bytes(), type=ClusterState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_state(workspace: Workspace, state: ClusterState) -> None:
    """Replace the state file atomically."""
    replace_file(workspace.state, msgspec.json.format(msgspec.json.encode(state)))
