"""What a record's store forgot, from the log: after a restore from a backup that is older than what was told."""

from collections.abc import Mapping

from msgspec.structs import replace

from base.clock import Moment
from contracts.envelope import decode, digest
from kernel.record import Record, drain, reindex
from kernel.rules import Rules


class Forgotten(Exception):
    """The log and this record do not tell the same story: one of them lacks what the other goes on from."""


def recall(
    record: Record,
    rules: Rules,
    service: str,
    own: Mapping[int, bytes],
    heard: Mapping[str, Mapping[int, bytes]],
    moment: Moment,
) -> tuple[Record, list[str]]:
    """The record after events of its own that its store forgot and the log has; nothing is reacted to twice.

    `own` are the log's, by sequence; `heard` what other services said about the subject. Of an event that answers
    another, that one and those before it count as handled. Gives also which of those the log does not have
    (source/sequence). Raises Forgotten.
    """
    missing: list[str] = []
    if (known := own.get(record.last_sequence)) and digest(known) != record.last_hash:
        raise Forgotten(f"{record.subject}: event {record.last_sequence} is another in the log")
    while raw := own.get(record.last_sequence + 1):
        e = decode(raw)
        if e.previous != record.last_hash:
            raise Forgotten(f"{record.subject}: event {e.sequence} in the log follows another than ours")
        state, inbox = record.state, record.inbox
        source, _, number = e.cause.rpartition("/")
        if source and int(number) > inbox.get(source, 0):
            for sequence in range(inbox.get(source, 0) + 1, int(number) + 1):
                try:
                    state = rules.evolve(state, decode(heard[source][sequence]))
                except Exception:  # not in the log, or one that had been given up
                    missing.append(f"{source}/{record.subject}/{sequence}")
            inbox = {**inbox, source: int(number)}
        state = rules.evolve(state, e)
        record = replace(
            record,
            state=state,
            inbox=inbox,
            last_sequence=e.sequence,
            last_time=max(e.time, record.last_time),
            last_hash=digest(raw),
            emitted=(*record.emitted, raw),
        )
        record = reindex(record, rules)
    if later := [sequence for sequence in own if sequence > record.last_sequence]:
        raise Forgotten(f"{record.subject}: the log has event {min(later)} and not {record.last_sequence + 1}")
    for source, parked in record.parked.items():
        if not parked.fault:
            record = drain(record, rules, service, source, moment)
    return record, missing
