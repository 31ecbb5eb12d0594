"""A record as a document, and a change of a record as an update of what has changed."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from base.clock import machine_now
from contracts.subjects import kind_of, partition_of
from kernel.errors import NewerRules, UnreadableRecord
from kernel.record import Fault, LogPosition, Parked, Reason, Record
from kernel.rules import Rules
from kernel.store import Unreadable

WRITTEN = {"indexed", "version", "last_sequence", "last_hash", "inbox"}  # fields that every document has

_encode_state = msgspec.json.Encoder().encode


def record_of(rules: Mapping[str, Rules], d: Mapping[str, Any]) -> Record:
    """Return the record in a document. Raise NewerRules, UnreadableRecord."""
    try:
        if d["kind"] not in rules:
            raise NewerRules(f"{d['_id']}: a kind without rules")
        version, written = rules[d["kind"]].VERSION, d["rules_version"]
        if written > version:
            raise NewerRules(f"{d['_id']}: written by version {written} of the rules, this is {version}")
        if not d.keys() >= WRITTEN or d["version"] < 1:
            raise ValueError("fields are missing")
        state = msgspec.json.decode(d["state"], type=rules[d["kind"]].State)
        return msgspec.convert({**d, "subject": d["_id"], "state": state}, Record)
    except NewerRules:
        raise
    except Exception as e:  # whatever a newer or a broken writer has stored concerns this subject alone
        raise UnreadableRecord(f"{d['_id']}: {e!r}") from e


def unreadable_of(d: Mapping[str, Any], e: Exception) -> Unreadable:
    """Return what can be read of a record whose state cannot."""
    reason: Reason = "newer_rules" if isinstance(e, NewerRules) else "unreadable_record"
    inbox, indexed = d.get("inbox"), d.get("indexed")
    try:
        inbox = msgspec.convert(inbox, dict[str, int])
    except msgspec.ValidationError:
        inbox = {}
    return Unreadable(inbox, reason, str(e), indexed if isinstance(indexed, dict) else {})


def document_of(rules: Rules, r: Record) -> dict[str, Any]:
    """Return a new record as a document."""
    d: dict[str, Any] = {
        "_id": r.subject,
        "kind": kind_of(r.subject),
        "partition": partition_of(r.subject),
        "version": 1,
        "rules_version": rules.VERSION,
        "published": 0,
    }
    for fields in _FIELDS.values():
        d |= {name: value for name, value in fields(r).items() if value is not None}
    if r.new_events:
        d |= {"events": list(r.new_events), "pending_since": machine_now()}
    return d


def update_of(rules: Rules, before: Record, after: Record) -> dict[str, Any]:
    """Return the update of a document that writes what has changed."""
    values: dict[str, Any] = {"version": before.version + 1, "rules_version": rules.VERSION}
    removed: dict[str, str] = {}
    for attribute, fields in _FIELDS.items():
        old, new = getattr(before, attribute), getattr(after, attribute)
        if old is new or old == new:
            continue
        for name, value in fields(after).items():
            if value is None:
                removed[name] = ""
            else:
                values[name] = value
    update: dict[str, Any] = {"$set": values}
    if removed:
        update["$unset"] = removed
    if after.new_events:
        update["$push"] = {"events": {"$each": list(after.new_events)}}
        update["$min"] = {"pending_since": machine_now()}
    return update


def _private(r: Record) -> dict[str, Any]:
    found = {"indexed": dict(r.private.indexed), "content": dict(r.private.content)}
    return {"private": found if any(found.values()) else None}


# Attribute of a record -> fields of its document. A field without a value is left out.
_FIELDS: Mapping[str, Callable[[Record], dict[str, Any]]] = {
    "state": lambda r: {"state": _encode_state(r.state).decode()},
    "indexed": lambda r: {"indexed": dict(r.indexed)},
    "last_hash": lambda r: {"last_sequence": r.last_sequence, "last_time": r.last_time, "last_hash": r.last_hash},
    "inbox": lambda r: {"inbox": dict(r.inbox), "inbox_hashes": dict(r.inbox_hashes)},
    "private": _private,
    "stored_responses": lambda r: {
        "stored_responses": [msgspec.structs.asdict(each) for each in r.stored_responses] or None
    },
    "counted_as": lambda r: {"counted_as": None if r.counted_as is None else [list(each) for each in r.counted_as]},
    "discarded": lambda r: {"discarded": [msgspec.structs.asdict(each) for each in r.discarded] or None},
}


def parked_id(subject: str, source: str, sequence: int) -> str:
    """Return the id of a parked event; ids of one subject and source sort by sequence."""
    return f"{subject}/{source}/{sequence:010}"


def parked_document(p: Parked) -> dict[str, Any]:
    """Return a parked event as a document."""
    position = msgspec.structs.asdict(p.position) if p.position else None
    return {
        **msgspec.structs.asdict(p),
        "fault": msgspec.structs.asdict(p.fault),
        "position": position,
        "partition": partition_of(p.subject),
    }


def parked_of(d: Mapping[str, Any]) -> Parked:
    """Return the parked event in a document; its bytes are missing where they were not read."""
    values = {name: d.get(name, b"") for name in Parked.__struct_fields__}
    position = LogPosition(**d["position"]) if d.get("position") else None
    return Parked(**(values | {"fault": Fault(**d["fault"]), "position": position}))
