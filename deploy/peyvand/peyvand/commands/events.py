"""What the country says: its topics read with kafka-python, live or from the beginning, one line an event."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from contracts.envelope import DecodeError, Envelope, decode
from contracts.subjects import PARTITIONS, partition_of
from contracts.topics import TOPICS
from peyvand.endpoints import Trouble
from programme.calendar import TEHRAN, jalali_text, tehran_day

POLL = 0.5  # seconds
CONNECT = 10.0  # seconds for a broker to answer


class Heard(msgspec.Struct, frozen=True):
    """One record of the log: an event, or why it is none, and where it lies."""

    topic: str
    partition: int
    offset: int
    raw: bytes
    envelope: Envelope | None
    fault: str = ""


class Log:
    """All topics of the country, or one service's, or one subject's partition of them. Raises Trouble."""

    def __init__(self, bootstrap: str, service: str = "", subject: str = "") -> None:
        from kafka import KafkaConsumer, TopicPartition
        from kafka.errors import KafkaError

        topics = [topic.name for topic in TOPICS if not service or topic.producer == service]
        if not topics:
            raise Trouble(f"no service {service!r} speaks", f"one of {', '.join(t.producer for t in TOPICS)}")
        partitions = [partition_of(subject)] if subject else range(PARTITIONS)
        self.subject = subject
        self.partitions = [TopicPartition(topic, p) for topic in topics for p in partitions]
        try:
            self.consumer: Any = KafkaConsumer(
                bootstrap_servers=bootstrap,
                enable_auto_commit=False,
                auto_offset_reset="none",
                bootstrap_timeout_ms=int(CONNECT * 1000),
            )
            self.consumer.assign(self.partitions)
        except (KafkaError, OSError, ValueError) as e:
            raise Trouble(f"Kafka at {bootstrap} does not answer: {e}", "is the country up? `peyvand status`") from e

    def close(self) -> None:
        """Closes the connection."""
        self.consumer.close()

    def begins(self) -> dict[Any, int]:
        """The offset of the first event that the log still has, by topic and partition. Raises Trouble."""
        return self._asked("beginning_offsets")

    def ends(self) -> dict[Any, int]:
        """The offset of the next event to come, by topic and partition. Raises Trouble."""
        return self._asked("end_offsets")

    def _asked(self, what: str) -> dict[Any, int]:
        from kafka.errors import KafkaError

        try:
            if absent := {tp.topic for tp in self.partitions} - self.consumer.topics():
                raise Trouble(f"Kafka has no topic {', '.join(sorted(absent))}", "`peyvand apply` makes it")
            found: dict[Any, int] = getattr(self.consumer, what)(self.partitions)
        except (KafkaError, OSError, KeyError) as e:  # KeyError: a topic went away meanwhile
            raise Trouble(f"Kafka does not say where the log begins and ends: {e!r}", "try again") from e
        return found

    def heard(self, *, beginning: bool, follow: bool) -> Iterator[Heard]:
        """From the beginning or the end of the log; on as it grows, or only to where it ends now."""
        ends = self.ends()
        if beginning:
            self.consumer.seek_to_beginning(*self.partitions)
        else:
            for tp, end in ends.items():
                self.consumer.seek(tp, end)
        while follow or any(self.consumer.position(tp) < end for tp, end in ends.items()):
            for records in self.consumer.poll(timeout_ms=int(POLL * 1000)).values():
                for record in records:
                    if not self.subject or record.key == self.subject.encode():
                        yield _heard(record)


def find(bootstrap: str, event_id: str) -> Heard:
    """The event of this id, such as `screening/0199…/2`. Raises Trouble where the log has none."""
    service, _, rest = event_id.partition("/")
    subject, _, number = rest.rpartition("/")
    if not (service and subject and number.isdigit()):
        raise Trouble(f"{event_id} is no event id", "it is service/subject/sequence, as `peyvand events tail` shows")
    log = Log(bootstrap, service, subject)
    try:
        for each in log.heard(beginning=True, follow=False):
            if each.envelope is not None and each.envelope.sequence == int(number):
                return each
    finally:
        log.close()
    raise Trouble(f"the log has no event {event_id}", "is it unsent still? `peyvand status` tells")


def line(each: Heard) -> str:
    """One event on one line: when (Tehran), who, what, where, about whom, as which, and what it says."""
    if each.envelope is None:
        return f"{each.topic}/{each.partition}@{each.offset}  unreadable: {each.fault}"
    e = each.envelope
    at = f"{jalali_text(tehran_day(e.time))} {e.time.astimezone(TEHRAN):%H:%M:%S}"
    where = "/".join(filter(None, (e.context.province, e.context.county))) or "-"
    told = " ".join(f"{name}={_short(value)}" for name, value in msgspec.structs.asdict(e.event).items())
    what = e.event.TYPE.removeprefix(f"ir.peyvand.{e.source}.").removesuffix(".v1")
    return f"{at}  {e.source:<12}  {what:<24}  {where:<10}  {e.subject}/{e.sequence}  {told}".rstrip()


def cloud_event(each: Heard) -> dict[str, Any]:
    """The event as its bytes say, with where the log holds it."""
    place = {"topic": each.topic, "partition": each.partition, "offset": each.offset}
    if each.envelope is None:
        return {**place, "unreadable": each.fault}
    told: dict[str, Any] = msgspec.json.decode(each.raw)
    return {**place, "event": told}


def tail(
    bootstrap: str,
    show: Callable[[Heard], None],
    *,
    beginning: bool,
    follow: bool,
    service: str = "",
    subject: str = "",
    limit: int = 0,
) -> int:
    """Shows event after event until the limit, the end or Ctrl-C; returns how many. Raises Trouble."""
    log, shown = Log(bootstrap, service, subject), 0
    try:
        for each in log.heard(beginning=beginning, follow=follow):
            show(each)
            shown += 1
            if shown == limit:
                break
    except KeyboardInterrupt:
        pass
    finally:
        log.close()
    return shown


def _heard(record: Any) -> Heard:
    raw = record.value or b""
    try:
        return Heard(record.topic, record.partition, record.offset, raw, decode(raw))
    except DecodeError as e:
        return Heard(record.topic, record.partition, record.offset, raw, None, str(e))


def _short(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
