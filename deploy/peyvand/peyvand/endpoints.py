"""Where the running country is: what the supervisor wrote down, or what the command line and the environment name."""

import os
from collections.abc import Mapping

import msgspec

from peyvand.local_cluster.processes import alive
from peyvand.local_cluster.topology import read_state
from peyvand.local_cluster.workspace import here


class Trouble(Exception):
    """A command cannot do what it was asked: what is wrong, and what to do about it."""

    def __init__(self, what: str, then: str = "") -> None:
        super().__init__(what)
        self.what, self.then = what, then


class Part(msgspec.Struct, frozen=True):
    """One process of the country, such as `screening-worker`, and the port of its health and metrics."""

    name: str
    pid: int = 0
    port: int = 0
    restarts: int = 0  # since the country was started
    host: str = "127.0.0.1"


class Addresses(msgspec.Struct, frozen=True):
    """The addresses of a country; `kafka` and `mongo` are empty where only its public address is known."""

    public_url: str
    kafka: str = ""
    mongo: str = ""
    processes: tuple[Part, ...] = ()

    def needs_kafka(self) -> str:
        """Kafka's bootstrap servers. Raises Trouble where they are not known."""
        if not self.kafka:
            raise Trouble("Kafka's address is not known", "set PEYVAND_KAFKA to its host:port, or run `make up` here")
        return self.kafka

    def needs_mongo(self) -> str:
        """MongoDB's address with a user that reads all four stores. Raises Trouble where it is not known."""
        if not self.mongo:
            raise Trouble(
                "MongoDB's address is not known",
                "set PEYVAND_MONGO to a URL with a reading user, or run `make up` here",
            )
        return self.mongo


def parts(told: str) -> tuple[Part, ...]:
    """The processes in `name=host:port,...`. Raises Trouble."""
    found = []
    for each in filter(None, (part.strip() for part in told.split(","))):
        name, _, where = each.partition("=")
        host, _, port = where.rpartition(":")
        if not (name and host and port.isdigit()):
            raise Trouble(f"{each} names no process", "write name=host:port, such as market-api=10.0.0.3:8103")
        found.append(Part(name, port=int(port), host=host))
    return tuple(found)


def addresses(url: str = "", environment: Mapping[str, str] = os.environ) -> Addresses:
    """The country at this address, else the one that runs from this clone. Raises Trouble where none does."""
    kafka, mongo = environment.get("PEYVAND_KAFKA", ""), environment.get("PEYVAND_MONGO", "")
    named = url or environment.get("PEYVAND_PUBLIC_URL", "")
    if named:
        return Addresses(named.rstrip("/"), kafka, mongo)
    state = read_state(here())
    if state is None or not state.public_url or not alive(state.supervisor):
        raise Trouble("no country runs from this clone", "start one with `make up`, or name one with --url")
    parts = tuple(Part(name, each.who.pid, each.port, each.starts - 1) for name, each in state.processes.items())
    return Addresses(state.public_url.rstrip("/"), kafka or state.kafka, mongo or state.mongo, parts)
