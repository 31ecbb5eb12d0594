"""`peyvand replay`: after a topic lost records, reset its consumers' cursors, republish its producer's events."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from base.kafka_access import KafkaAccess
from contracts.topics import TOPICS, topics_consumed_by
from peyvand.commands.events import EventLog
from peyvand.commands.output import GROUP, DryRun, Json, Url, print_result, signed_in_client
from peyvand.endpoints import CommandError, find_endpoints
from peyvand.local_cluster.topology import SERVICES, prefix

if TYPE_CHECKING:
    from peyvand.api_client import ApiClient

Reason = Annotated[str, typer.Option(help="Why; it stays on record.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="Recover from a topic that lost records: truncated, wiped, recreated.", **GROUP)
    group.command("reset-cursors")(reset_cursors_command)
    group.command("republish")(republish_command)
    app.add_typer(group, name="replay")


def reset_cursors_command(
    topic: Annotated[str, typer.Argument(help="Such as peyvand.registration.")],
    reason: Reason,
    service: Annotated[str, typer.Option(help="Only this service; else all that consume the topic.")] = "",
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Consume a topic again from the present beginning of its log; events that were handled are recognised."""
    kafka = find_endpoints(url).require_kafka()
    client = signed_in_client(url, "operator")
    resets = reset_cursors(client, kafka, topic, service, reason, dry_run=dry_run)
    print_result(resets, as_json, _reset_lines)


def republish_command(
    service: Annotated[str, typer.Argument(help="registration, screening or market.")],
    reason: Reason,
    dry_run: DryRun = False,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Publish all events of a service again, from its records; consumers recognise those that they have handled."""
    republication = republish(signed_in_client(url, "operator"), service, reason, dry_run=dry_run)
    print_result(republication, as_json, _republication_line)


class CursorResetResult(msgspec.Struct, frozen=True):
    """One service's cursors of a topic, and the beginning of its log: sums over the partitions."""

    service: str
    topic: str
    partitions: int
    cursors: int
    beginning: int
    dry_run: bool


class RepublicationResult(msgspec.Struct, frozen=True):
    """What a service publishes again."""

    service: str
    records: int
    events: int
    dry_run: bool


def beginning_offsets(kafka: KafkaAccess, topic: str) -> dict[int, int]:
    """Return the first offset of each partition of a topic. Raise CommandError."""
    producer = next((each.producer for each in TOPICS if each.name == topic), "")
    if not producer:
        raise CommandError(f"there is no topic {topic}", f"one of {', '.join(each.name for each in TOPICS)}")
    log = EventLog(kafka, producer)
    try:
        return {tp.partition: offset for tp, offset in log.beginning_offsets().items()}
    finally:
        log.close()


def reset_cursors(
    client: "ApiClient", kafka: KafkaAccess, topic: str, service: str, reason: str, *, dry_run: bool
) -> list[CursorResetResult]:
    """Request a cursor reset of every service that consumes the topic, or of one; workers carry it out within seconds.

    Raise CommandError.
    """
    beginnings = beginning_offsets(kafka, topic)
    consumers = [each for each in SERVICES if topic in topics_consumed_by(each) and service in ("", each)]
    if not consumers:
        consumed = ", ".join(topics_consumed_by(service)) or "nothing"
        raise CommandError(f"{service} does not consume {topic}", f"it consumes {consumed}")
    resets = []
    for each in consumers:
        path = f"{prefix(each)}/v1/replays/cursor-resets"
        cursors = _post(client, path, topic=topic, reason=reason, dry_run=dry_run)["cursors"].values()
        resets.append(CursorResetResult(each, topic, len(cursors), sum(cursors), sum(beginnings.values()), dry_run))
    return resets


def republish(client: "ApiClient", service: str, reason: str, *, dry_run: bool) -> RepublicationResult:
    """Request that a service publishes all its events again. Raise CommandError."""
    producers = [each.producer for each in TOPICS]
    if service not in producers:
        raise CommandError(f"{service} publishes nothing", f"one of {', '.join(producers)}")
    path = f"{prefix(service)}/v1/replays/republications"
    response = _post(client, path, reason=reason, dry_run=dry_run)
    return RepublicationResult(service, response["records"], response["events"], dry_run)


def _post(client: "ApiClient", path: str, **body: Any) -> dict[str, Any]:
    response: dict[str, Any] = client.post(path, json.dumps(body).encode(), "application/json").json()
    return response


def _reset_lines(resets: list[CursorResetResult]) -> str:
    verb = "would be" if resets[0].dry_run else "are, within seconds,"
    return "\n".join(
        f"{each.service}: the cursors of {each.partitions} partitions of {each.topic} {verb} reset "
        f"(sum of offsets {each.cursors:,} -> {each.beginning:,})"
        for each in resets
    )


def _republication_line(republication: RepublicationResult) -> str:
    verb = "would be published again" if republication.dry_run else "are published again by its workers, from now on"
    return f"{republication.service}: {republication.events:,} events about {republication.records:,} subjects {verb}"
