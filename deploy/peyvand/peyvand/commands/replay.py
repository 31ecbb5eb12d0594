"""A log that lost something: its readers read it again from where it begins now, its owner says everything again."""

import json
from typing import Any

import msgspec

from contracts.topics import TOPICS, topics_consumed_by
from peyvand.api_client import Client
from peyvand.endpoints import Trouble
from peyvand.local_cluster.topology import SERVICES, prefix


class Reread(msgspec.Struct, frozen=True):
    """Where one service's cursors of a topic stand, and where its log begins: sums over its partitions."""

    service: str
    topic: str
    partitions: int
    cursors: int
    begins: int
    dry_run: bool


class Republished(msgspec.Struct, frozen=True):
    """What a service says again."""

    service: str
    records: int
    events: int
    dry_run: bool


def begins(bootstrap: str, topic: str) -> dict[int, int]:
    """The offset at which each partition of a topic begins now. Raises Trouble."""
    from peyvand.commands.events import Log

    speaker = next((each.producer for each in TOPICS if each.name == topic), "")
    if not speaker:
        raise Trouble(f"there is no topic {topic}", f"one of {', '.join(each.name for each in TOPICS)}")
    log = Log(bootstrap, speaker)
    try:
        return {tp.partition: at for tp, at in log.begins().items()}
    finally:
        log.close()


def reread(client: Client, bootstrap: str, topic: str, service: str, reason: str, *, dry_run: bool) -> list[Reread]:
    """Every service that hears the topic, or one, reads it again, within seconds. Raises Trouble."""
    log = begins(bootstrap, topic)
    hearing = [each for each in SERVICES if topic in topics_consumed_by(each) and service in ("", each)]
    if not hearing:
        raise Trouble(
            f"{service} does not hear {topic}", f"it hears {', '.join(topics_consumed_by(service)) or 'nothing'}"
        )
    done = []
    for each in hearing:
        told = _ask(client, f"{prefix(each)}/v1/log/rereading", topic=topic, reason=reason, dry_run=dry_run)
        stand = told["cursors"].values()
        done.append(Reread(each, topic, len(stand), sum(stand), sum(log.values()), dry_run))
    return done


def republish(client: Client, service: str, reason: str, *, dry_run: bool) -> Republished:
    """A service says again what it ever said. Raises Trouble."""
    speakers = [each.producer for each in TOPICS]
    if service not in speakers:
        raise Trouble(f"{service} says nothing", f"one of {', '.join(speakers)}")
    told = _ask(client, f"{prefix(service)}/v1/log/republication", reason=reason, dry_run=dry_run)
    return Republished(service, told["records"], told["events"], dry_run)


def _ask(client: Client, path: str, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.post(path, json.dumps(body).encode(), "application/json").json()
    return found
