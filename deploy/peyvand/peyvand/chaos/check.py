"""Verify the stores and the log after the faults, without the code under test."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pymongo import MongoClient

from base.kafka_access import KafkaAccess
from peyvand.commands.events import EventLog, LogEntry
from peyvand.databases import database_of
from peyvand.local_cluster.topology import PROJECTION
from peyvand.verify.recount import OWNERS

# Types of events that occur at most once per subject, by producer: the load has no withdrawals.
ONCE = {
    "registration": ("applicant.registered",),
    "screening": ("case.decided", "capacity.identified"),
    "market": ("producer.connected",),
}


def counted(mongo: str) -> list[str]:
    """Return the applicants that reporting has a record of."""
    with _client(mongo) as client:
        return [d["_id"] for d in database_of(client, PROJECTION).records.find({"kind": "applicant"}, {"_id": 1})]


def stored_events(mongo: str) -> dict[str, dict[str, Sequence[bytes]]]:
    """Return the events in each service's records, by owner and subject."""
    with _client(mongo) as client:
        return {
            owner: {d["_id"]: d.get("events", ()) for d in client[owner].records.find({}, {"events": 1})}
            for owner in OWNERS
        }


def logged(kafka: KafkaAccess) -> list[LogEntry]:
    """Return all records of the topics, in the order of each partition."""
    log = EventLog(kafka)
    try:
        return list(log.entries(beginning=True, follow=False))
    finally:
        log.close()


def duplicates(stored: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """Return the subjects with two events of a type that occurs once."""
    return [f"{subject}: {name}" for (subject, name), n in _counts(stored).items() if n > 1]


def missing_acts(acts: Iterable[tuple[str, str]], stored: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """Return the acts of officers (subject, type of event) that were acknowledged and have no event."""
    counts = _counts(stored)
    return [f"{subject}: {name}" for subject, name in sorted(set(acts)) if not counts[subject, name]]


def _counts(stored: Mapping[str, Mapping[str, Sequence[bytes]]]) -> Counter[tuple[str, str]]:
    counts = Counter[tuple[str, str]]()
    for owner, names in ONCE.items():
        types = {f"ir.peyvand.{owner}.{name}.v1": name for name in names}
        for subject, events in stored.get(owner, {}).items():
            counts.update((subject, types[t]) for raw in events if (t := _decoded(raw)["type"]) in types)
    return counts


def log_defects(log: Iterable[LogEntry], stored: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """Return where the log differs from the stores: per source and subject the sequences must be 1, 2, 3, all of them.

    Repeated events must be identical to the last byte.
    """
    last: dict[tuple[str, str], int] = defaultdict(int)
    defects: list[str] = []
    for each in log:
        e = _decoded(each.raw)
        source, n = (e["source"], e["subject"]), e["sequence"]
        at = f"{each.topic}/{each.partition}@{each.offset}"
        if n > last[source] + 1:
            defects.append(f"{at}: {source} {last[source]} -> {n}")
        last[source] = max(last[source], n)
        events = stored.get(source[0], {}).get(source[1], ())
        if n > len(events) or bytes(events[n - 1]) != each.raw:
            defects.append(f"{at}: {source} has not emitted this as {n}")
    for owner, subjects in stored.items():
        for subject, events in subjects.items():
            if len(events) != last[owner, subject]:
                defects.append(f"{owner} {subject}: emitted {len(events)}, the log has {last[owner, subject]}")
    return defects


def lost(acknowledged: Collection[str], found: Collection[str]) -> list[str]:
    """Return the acknowledged applications that are not counted."""
    return sorted(set(acknowledged) - set(found))


def _client(mongo: str) -> "MongoClient[dict[str, Any]]":
    return MongoClient(mongo)


def _decoded(raw: bytes) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(raw)
    return event
