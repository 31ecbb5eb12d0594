"""Endpoints of the running platform: from the supervisor's state file, the command line, or the environment."""

import os
from collections.abc import Mapping

import msgspec

from base.kafka_access import KafkaAccess
from peyvand.local_cluster.processes import alive
from peyvand.local_cluster.topology import kafka_from, read_state
from peyvand.local_cluster.workspace import current_workspace


class CommandError(Exception):
    """A command cannot do what it was asked to: `message` is what failed, `hint` what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class ProcessEndpoint(msgspec.Struct, frozen=True):
    """One process of the platform, such as `screening-worker`, and the port of its health and metrics."""

    name: str
    pid: int = 0
    port: int = 0
    restarts: int = 0  # since the platform was started
    host: str = "127.0.0.1"


class Endpoints(msgspec.Struct, frozen=True):
    """Endpoints of a platform; those of Kafka and MongoDB are empty where only the public URL is known."""

    public_url: str
    kafka: KafkaAccess = KafkaAccess("")
    mongo: str = ""
    processes: tuple[ProcessEndpoint, ...] = ()

    def require_kafka(self) -> KafkaAccess:
        """Return how a user that may read all topics connects to Kafka. Raise CommandError if it is unknown."""
        if not self.kafka.bootstrap:
            raise CommandError(
                "Kafka's address is not known",
                "set PEYVAND_KAFKA to its host:port, with PEYVAND_KAFKA_USER, _PASSWORD and _CA, or run `make up` here",
            )
        return self.kafka

    def require_mongo(self) -> str:
        """Return MongoDB's URL with a user that may read all four stores. Raise CommandError if it is unknown."""
        if not self.mongo:
            raise CommandError(
                "MongoDB's address is not known",
                "set PEYVAND_MONGO to a URL with a reading user, or run `make up` here",
            )
        return self.mongo


def parse_processes(text: str) -> tuple[ProcessEndpoint, ...]:
    """Parse `name=host:port,...`. Raise CommandError."""
    processes = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, address = item.partition("=")
        host, _, port = address.rpartition(":")
        if not (name and host and port.isdigit()):
            raise CommandError(f"{item} names no process", "write name=host:port, such as market-api=10.0.0.3:8103")
        processes.append(ProcessEndpoint(name, port=int(port), host=host))
    return tuple(processes)


def find_endpoints(url: str = "", environment: Mapping[str, str] = os.environ) -> Endpoints:
    """Return the endpoints of the platform at this URL, else of the one that runs from this clone.

    Raise CommandError if none runs.
    """
    kafka, mongo = kafka_from(environment, "PEYVAND_KAFKA", "PEYVAND_KAFKA"), environment.get("PEYVAND_MONGO", "")
    public_url = url or environment.get("PEYVAND_PUBLIC_URL", "")
    if public_url:
        return Endpoints(public_url.rstrip("/"), kafka, mongo)
    workspace = current_workspace()
    state = read_state(workspace)
    if state is None or not state.public_url or not alive(state.supervisor):
        raise CommandError("no platform runs from this clone", "start one with `make up`, or name one with --url")
    processes = tuple(
        ProcessEndpoint(name, each.identity.pid, each.port, each.starts - 1) for name, each in state.processes.items()
    )
    return Endpoints(
        state.public_url.rstrip("/"),
        kafka if kafka.bootstrap else state.kafka,
        mongo or state.mongo,
        processes,
    )
