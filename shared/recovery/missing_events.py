"""After a restore: take back the events that a record emitted after its backup, from the log."""

from collections.abc import Mapping

from msgspec.structs import replace

from contracts.envelope import UnhandledEvent, decode, digest
from kernel.record import Record, reindex
from kernel.rules import Rules

SKIPPED_LIMIT = 10_000  # consumed events about one subject that a reaction implies: far more than any has


class Inconsistent(Exception):
    """The log and a restored record contradict each other: one lacks what the other continues from."""


def take_back(
    record: Record, rules: Rules, own: Mapping[int, bytes], consumed: Mapping[str, Mapping[int, bytes]]
) -> tuple[Record, list[str]]:
    """Return the record after its own events that its store has lost; nothing is reacted to twice.

    `own` are the log's events of the service about the subject, by sequence; `consumed` those of other services, by
    source. The cause of a reaction, and what precedes it, counts as handled. Also return which of these the log does
    not have (source/subject/sequence). Raise Inconsistent.
    """
    missing: list[str] = []
    if (last := own.get(record.last_sequence)) and digest(last) != record.last_hash:
        raise Inconsistent(f"{record.subject}: event {record.last_sequence} in the log differs from the stored one")
    while raw := own.get(record.last_sequence + 1):
        e = decode(raw)
        if e.previous != record.last_hash:
            raise Inconsistent(f"{record.subject}: event {e.sequence} in the log does not follow the stored one")
        state, inbox, hashes = record.state, record.inbox, record.inbox_hashes
        source, _, number = e.cause.rpartition("/")
        if source and int(number) > inbox.get(source, 0):
            if int(number) - inbox.get(source, 0) > SKIPPED_LIMIT:
                raise Inconsistent(f"{record.subject}: event {e.sequence} in the log names {e.cause} as its cause")
            for sequence in range(inbox.get(source, 0) + 1, int(number) + 1):
                try:
                    before = decode(consumed[source][sequence])
                    if isinstance(before.event, UnhandledEvent):
                        raise TypeError(before.event.type)
                    state = rules.evolve(state, before)
                except Exception:  # not in the log, not valid, or discarded before
                    missing.append(f"{source}/{record.subject}/{sequence}")
            inbox = {**inbox, source: int(number)}
            cause = consumed.get(source, {}).get(int(number))
            hashes = {**hashes, source: digest(cause) if cause else ""}
        record = replace(
            record,
            state=rules.evolve(state, e),
            inbox=inbox,
            inbox_hashes=hashes,
            last_sequence=e.sequence,
            last_time=max(e.time, record.last_time),
            last_hash=digest(raw),
            new_events=(*record.new_events, raw),
        )
        record = reindex(record, rules)
    if later := [sequence for sequence in own if sequence > record.last_sequence]:
        raise Inconsistent(f"{record.subject}: the log has event {min(later)} but not {record.last_sequence + 1}")
    return record, missing
