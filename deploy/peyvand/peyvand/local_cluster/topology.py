"""The country as processes: who runs where, told what by which environment; pure but for the file that says so."""

import os
import sys
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from peyvand.local_cluster.processes import Identity
from peyvand.local_cluster.workspace import Home, Secrets, write

SERVICES = ("registration", "screening", "market", "reporting")
DATABASES = {
    "registration": ("registration", "registration_keys"),  # wrapped keys stay out of data backups
    "screening": ("screening",),
    "market": ("market",),
    "reporting": ("reporting",),
}
READER = "reader"  # may read every service's data and change none: the recount, and whoever looks
AUDIENCE = "peyvand"
LOOPBACK = "127.0.0.1"
# Where everything is when nothing else is there; whoever is in the way keeps the place, and we take a free one.
PORTS: Mapping[str, int] = {
    "door": 8080,
    "kafka": 9092,
    "controller": 9093,
    "mongod": 27017,
    "operations": 8120,
    **{f"{service}-api": 8101 + n for n, service in enumerate(SERVICES)},
    **{f"{service}-worker": 8111 + n for n, service in enumerate(SERVICES)},
}

INDEXES = (sys.executable, "-m", "peyvand.commands.apply")
SIMULATION = (sys.executable, "-m", "peyvand", "simulate")


class Process(msgspec.Struct, frozen=True):
    """One process that was started."""

    who: Identity
    port: int
    starts: int = 1  # in this run of the country


class State(msgspec.Struct, frozen=True):
    """What run/state.json says: addresses for whoever wants to talk to the country, and who it consists of."""

    supervisor: Identity
    public_url: str = ""
    issuer: str = ""
    kafka: str = ""
    mongo: str = ""  # of the user who may read everything
    ready: bool = False
    ports: dict[str, int] = {}
    processes: dict[str, Process] = {}


class Role(msgspec.Struct, frozen=True):
    """One process of ours: its name, what runs it, and what its environment says."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    port: int


class Places(msgspec.Struct, frozen=True):
    """Where the parts are that all roles share."""

    kafka: str
    mongo: str  # of an administrator; services get users of their own
    ports: dict[str, int]
    own_users: bool = True  # false: a cluster that lets us make none

    @property
    def public_url(self) -> str:
        """The one address of the country."""
        return f"http://{LOOPBACK}:{self.ports['door']}"

    @property
    def issuer(self) -> str:
        """The development issuer, as the tokens name it."""
        return f"{self.public_url}/issuer"

    def mongo_of(self, user: str, password: str) -> str:
        """Where this user connects."""
        return as_user(self.mongo, user, password) if self.own_users else self.mongo


def as_user(url: str, user: str, password: str) -> str:
    """The same MongoDB for another user, known to the database `admin` as all of ours are."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    options = [each for each in parts.query.split("&") if each and not each.lower().startswith("authsource=")]
    netloc = f"{quote(user, safe='')}:{quote(password, safe='')}@{hosts}"
    return urlunsplit((parts.scheme, netloc, "/", "&".join([*options, "authSource=admin"]), ""))


def door(home: Home, places: Places) -> Role:
    """The front door, with the development issuer behind it."""
    upstreams = {
        f"PEYVAND_UPSTREAM_{service.upper()}": f"http://{LOOPBACK}:{places.ports[f'{service}-api']}"
        for service in SERVICES
    }
    environment = {
        **_common(home, places),
        "PEYVAND_PORT": str(places.ports["door"]),
        "PEYVAND_ISSUER_KEY": str(home.run / "issuer.jwk"),
        "PEYVAND_UPSTREAM_OPERATIONS": f"http://{LOOPBACK}:{places.ports['operations']}",
        **upstreams,
    }
    return Role("door", (sys.executable, "-m", "peyvand.gateway.server"), environment, places.ports["door"])


def operations(home: Home, places: Places, secrets: Secrets) -> Role:
    """The operators' page: reads everything, writes nothing."""
    environment = {
        **_common(home, places),
        "PEYVAND_KAFKA": places.kafka,
        "PEYVAND_MONGO": places.mongo_of(READER, secrets.mongo_reader),
        "PEYVAND_PORT": str(places.ports["operations"]),
        "PEYVAND_CLOCK": str(home.clock),
        "PEYVAND_HOME": str(home.parts),
        "PEYVAND_RUN": str(home.run),
    }
    return Role(
        "operations", (sys.executable, "-m", "peyvand.operations_page"), environment, places.ports["operations"]
    )


def workers(environment: Mapping[str, str] = os.environ) -> int:
    """How many workers each service has: PEYVAND_WORKERS, or one. On two cores one is the fastest."""
    return max(1, int(environment.get("PEYVAND_WORKERS") or 1))


def links(environment: Mapping[str, str] = os.environ) -> dict[str, int]:
    """By which ports clients reach the embedded parts where something stands between: PEYVAND_LINKS, name:port,..."""
    pairs = [each.partition(":") for each in environment.get("PEYVAND_LINKS", "").split(",") if each]
    return {name: int(port) for name, _, port in pairs}


def prefix(service: str) -> str:
    """Where a service lies behind the one address; reporting's pages are the front page."""
    return "" if service == "reporting" else f"/{service}"


def role_name(service: str, kind: str, number: int = 1) -> str:
    """`market-worker`, and `market-worker-2` for the one beside it."""
    return f"{service}-{kind}" if number == 1 else f"{service}-{kind}-{number}"


def ports_wanted(workers: int) -> dict[str, int | None]:
    """Where everything would like to be; a worker beside the first takes any free port."""
    beside = {role_name(service, "worker", n): None for service in SERVICES for n in range(2, workers + 1)}
    return {**PORTS, **beside}


def role(service: str, kind: str, home: Home, places: Places, secrets: Secrets, number: int = 1) -> Role:
    """One of a service's roles: its `api`, or the worker with this number."""
    name = role_name(service, kind, number)
    environment = {
        **_common(home, places),
        "PEYVAND_SERVICE": service,
        "PEYVAND_KAFKA": places.kafka,
        "PEYVAND_MONGO": places.mongo_of(service, secrets.mongo_services[service]),
        "PEYVAND_DATABASE": service,
        "PEYVAND_PORT": str(places.ports[name]),
        "PEYVAND_CLOCK": str(home.clock),
        "PEYVAND_ASSETS": str(home.assets),
    }
    if service == "registration":  # identity lives in no other
        environment |= {"PEYVAND_MASTER_KEY": secrets.master_key, "PEYVAND_INDEX_KEY": secrets.index_key}
    return Role(name, (sys.executable, "-m", f"{service}.main", kind), environment, places.ports[name])


def _common(home: Home, places: Places) -> dict[str, str]:
    return {
        **inherited(os.environ),
        "PEYVAND_ENVIRONMENT": "development",
        "PEYVAND_PUBLIC_URL": places.public_url,
        "PEYVAND_ISSUER": places.issuer,
        "PEYVAND_AUDIENCE": AUDIENCE,
        "PEYVAND_JWKS": str(home.jwks),
    }


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What a role gets of our own environment: nothing that would set it up, or slow it down, by accident."""
    kept = ("PEYVAND_HOME", "PEYVAND_RUN", "PEYVAND_LINGER", "PEYVAND_LOG_LEVEL", "PEYVAND_INTAKE_UNSENT")
    return {
        name: value
        for name, value in environment.items()
        if (not name.startswith(("PEYVAND_", "MONGO_URL", "KAFKA_")) or name in kept)
        and name != "PYTHONDONTWRITEBYTECODE"
    }


def read_state(home: Home) -> State | None:
    """Who runs, or ran last, in this folder; None where nobody ever did, or nothing readable is left of it."""
    try:
        return msgspec.json.decode(home.state.read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_state(home: Home, state: State) -> None:
    """Says who runs where, whole or not at all."""
    write(home.state, msgspec.json.format(msgspec.json.encode(state)))
