"""`peyvand events`: the platform's topics, read with kafka-python, live or from the beginning, one line an event."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
import typer

from base.kafka_access import KafkaAccess
from contracts.envelope import DecodeError, Envelope, InvalidEvent, UnhandledEvent, decode, type_of
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import TOPICS
from peyvand.commands.output import GROUP, Json, Url, to_json
from peyvand.endpoints import CommandError, find_endpoints
from programme.calendar import TEHRAN, jalali_text, tehran_day

POLL = 0.5  # seconds
CONNECT_TIMEOUT = 10.0  # seconds


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="The events of the platform, from Kafka.", **GROUP)
    group.command("tail")(tail_command)
    group.command("show")(show_command)
    app.add_typer(group, name="events")


def tail_command(
    start: Annotated[str, typer.Option("--from", help="beginning or end of the log.")] = "end",
    service: Annotated[str, typer.Option(help="Only events of this service.")] = "",
    subject: Annotated[str, typer.Option(help="Only about this subject, such as ledger:1404/IR-20.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0 for never.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on as the log grows.")] = True,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Show events as they come, one a line, until Ctrl-C."""
    if start not in ("beginning", "end"):
        raise typer.BadParameter("beginning or end", param_hint="--from")
    tail(
        find_endpoints(url).require_kafka(),
        lambda entry: print(to_json(cloud_event(entry)) if as_json else line(entry), flush=True),
        beginning=start == "beginning",
        follow=follow,
        service=service,
        subject=subject,
        limit=limit,
    )


def show_command(
    event: Annotated[str, typer.Argument(help="service/subject/sequence, as tail shows them.")],
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Show one event whole, and its position in the log; every record of its id, if there are several."""
    for entry in find(find_endpoints(url).require_kafka(), event):
        found = cloud_event(entry)
        print(to_json(found) if as_json else json.dumps(found, ensure_ascii=False, indent=2))


class LogEntry(msgspec.Struct, frozen=True):
    """One record of the log with its position: an event, or why it is none."""

    topic: str
    partition: int
    offset: int
    raw: bytes
    envelope: Envelope | None
    fault: str = ""


class EventLog:
    """All topics of the platform, or one service's, or one subject's partition of them."""

    def __init__(self, kafka: KafkaAccess, service: str = "", subject: str = "") -> None:
        """Connect. Raise CommandError."""
        from kafka import KafkaConsumer, TopicPartition
        from kafka.errors import KafkaError

        from kernel.kafka.authentication import refusal

        topics = [topic.name for topic in TOPICS if not service or topic.producer == service]
        if not topics:
            raise CommandError(
                f"no service {service!r} publishes events", f"one of {', '.join(t.producer for t in TOPICS)}"
            )
        partitions = [partition_of(subject)] if subject else range(PARTITIONS)
        if why := asyncio.run(refusal(kafka)):
            raise CommandError(why, "set PEYVAND_KAFKA_USER, PEYVAND_KAFKA_PASSWORD and PEYVAND_KAFKA_CA")
        self.subject = subject
        self.partitions = [TopicPartition(topic, p) for topic in topics for p in partitions]
        try:
            self.consumer: Any = KafkaConsumer(
                **kafka.options(),
                enable_auto_commit=False,
                auto_offset_reset="none",
                bootstrap_timeout_ms=int(CONNECT_TIMEOUT * 1000),
            )
            self.consumer.assign(self.partitions)
        except (KafkaError, OSError, ValueError) as e:
            raise CommandError(
                f"Kafka at {kafka.bootstrap} does not answer: {e}", "is the platform up? `peyvand status`"
            ) from e

    def close(self) -> None:
        """Close the connection."""
        self.consumer.close()

    def beginning_offsets(self) -> dict[Any, int]:
        """Return the first offset that the log still has, by topic and partition. Raise CommandError."""
        return self._offsets("beginning_offsets")

    def end_offsets(self) -> dict[Any, int]:
        """Return the offset of the next record, by topic and partition. Raise CommandError."""
        return self._offsets("end_offsets")

    def _offsets(self, method: str) -> dict[Any, int]:
        from kafka.errors import KafkaError

        try:
            if absent := {tp.topic for tp in self.partitions} - self.consumer.topics():
                raise CommandError(f"Kafka has no topic {', '.join(sorted(absent))}", "`peyvand apply` creates it")
            offsets: dict[Any, int] = getattr(self.consumer, method)(self.partitions)
        except (KafkaError, OSError, KeyError) as e:  # KeyError: a topic was deleted meanwhile
            raise CommandError(f"Kafka does not return the offsets of the log: {e!r}", "try again") from e
        return offsets

    def at(self, position: str) -> LogEntry | None:
        """Return the record at topic/partition@offset, None if the log has none there any more. Raise CommandError."""
        from kafka.errors import KafkaError

        place = re.fullmatch(r"(.+)/([0-9]+)@([0-9]+)", position)
        wanted = [each for each in self.partitions if place and each[:2] == (place[1], int(place[2]))]
        if not place or not wanted:
            return None
        tp, offset = wanted[0], int(place[3])
        if not self.beginning_offsets()[tp] <= offset < self.end_offsets()[tp]:
            return None
        try:
            self.consumer.assign([tp])
            self.consumer.seek(tp, offset)
            found = self.consumer.poll(timeout_ms=int(CONNECT_TIMEOUT * 1000), max_records=1).get(tp, ())
        except (KafkaError, OSError) as e:
            raise CommandError(f"Kafka does not return the record at {position}: {e!r}", "try again") from e
        return next((_entry(record) for record in found if record.offset == offset), None)

    def entries(self, *, beginning: bool, follow: bool) -> Iterator[LogEntry]:
        """Yield records from the beginning or the end of the log; go on as it grows, or stop at its present end."""
        ends = self.end_offsets()
        if beginning:
            self.consumer.seek_to_beginning(*self.partitions)
        else:
            for tp, end in ends.items():
                self.consumer.seek(tp, end)
        while follow or any(self.consumer.position(tp) < end for tp, end in ends.items()):
            for records in self.consumer.poll(timeout_ms=int(POLL * 1000)).values():
                for record in records:
                    if not self.subject or record.key == self.subject.encode():
                        yield _entry(record)


def find(kafka: KafkaAccess, event_id: str) -> list[LogEntry]:
    """Return the records with this id, such as `screening/0199…/2`: one, its repeats, or a forgery beside it.

    Raise CommandError if the log has none.
    """
    service, _, rest = event_id.partition("/")
    subject, _, number = rest.rpartition("/")
    if not (service and subject and number.isdigit()):
        raise CommandError(
            f"{event_id} is no event id", "it is service/subject/sequence, as `peyvand events tail` shows"
        )
    log = EventLog(kafka, service, subject)
    try:
        found = [
            entry
            for entry in log.entries(beginning=True, follow=False)
            if entry.envelope is not None and entry.envelope.sequence == int(number)
        ]
    finally:
        log.close()
    if found:
        return found
    raise CommandError(f"the log has no event {event_id}", "is it still pending? `peyvand status` shows it")


def line(entry: LogEntry) -> str:
    """Return an event on one line: time (Tehran), source, type, place, subject and sequence, data."""
    if entry.envelope is None:
        return f"{entry.topic}/{entry.partition}@{entry.offset}  undecodable: {entry.fault}"
    e = entry.envelope
    if isinstance(e.event, UnhandledEvent):
        why = f"invalid: {e.event.why} at {e.event.where}" if isinstance(e.event, InvalidEvent) else "unknown"
        position = f"{entry.topic}/{entry.partition}@{entry.offset}"
        return f"{position}  {e.source:<12}  {e.event.type}  {e.subject}/{e.sequence}  {why}"
    at = f"{jalali_text(tehran_day(e.time))} {e.time.astimezone(TEHRAN):%H:%M:%S}"
    place = "/".join(filter(None, (e.context.province, e.context.county))) or "-"
    data = " ".join(f"{name}={_short(value)}" for name, value in msgspec.structs.asdict(e.event).items())
    kind = type_of(e.event).removeprefix(f"ir.peyvand.{e.source}.").removesuffix(".v1")
    return f"{at}  {e.source:<12}  {kind:<24}  {place:<10}  {e.subject}/{e.sequence}  {data}".rstrip()


def cloud_event(entry: LogEntry) -> dict[str, Any]:
    """Return the event as JSON, with its position in the log."""
    position = {"topic": entry.topic, "partition": entry.partition, "offset": entry.offset}
    if entry.envelope is None:
        return {**position, "undecodable": entry.fault}
    event: dict[str, Any] = msgspec.json.decode(entry.raw)
    return {**position, "event": event}


def tail(
    kafka: KafkaAccess,
    show: Callable[[LogEntry], None],
    *,
    beginning: bool,
    follow: bool,
    service: str = "",
    subject: str = "",
    limit: int = 0,
) -> int:
    """Show event after event until the limit, the end or Ctrl-C; return how many. Raise CommandError."""
    log, shown = EventLog(kafka, service, subject), 0
    try:
        for entry in log.entries(beginning=beginning, follow=follow):
            show(entry)
            shown += 1
            if shown == limit:
                break
    except KeyboardInterrupt:
        pass
    finally:
        log.close()
    return shown


def _entry(record: Any) -> LogEntry:
    raw = record.value or b""
    try:
        return LogEntry(record.topic, record.partition, record.offset, raw, decode(raw))
    except DecodeError as e:
        return LogEntry(record.topic, record.partition, record.offset, raw, None, str(e))


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
