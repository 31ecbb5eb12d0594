"""A record as a document of MongoDB: everything of one subject in one place, and nothing twice."""

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts.subjects import kind_of, partition_of
from plumbing.clock import machine_now
from plumbing.record import NEVER, Answer, Discarded, Parked, Place, Private, Record, Rules, stranded
from plumbing.store import NewerRules

_state = msgspec.json.Encoder().encode


def record_of(rules: Rules, d: Mapping[str, Any]) -> Record:
    """The record in one document. Raises NewerRules."""
    if d["rules"] > rules.VERSION:
        raise NewerRules(f"{d['_id']} was written by rules {d['rules']}, these are {rules.VERSION}")
    return Record(
        subject=d["_id"],
        state=msgspec.json.decode(d["state"], type=rules.State),
        indexed=d["indexed"],
        private=Private(**d["private"]) if "private" in d else Private(),
        version=d["version"],
        last_sequence=d["last_sequence"],
        last_time=d.get("last_time", NEVER),
        last_hash=d["last_hash"],
        inbox=d["inbox"],
        parked={source: parked_of(each) for source, each in d["parked"].items()},
        answered=tuple(Answer(**each) for each in d.get("answered", ())),
        discarded=tuple(Discarded(**each) for each in d.get("discarded", ())),
    )


def document_of(rules: Rules, r: Record) -> dict[str, Any]:
    """A record that was never stored, as a document."""
    first = movement_of(rules, r)
    emitted = {"emitted": first["$push"]["emitted"]["$each"], **first["$min"]} if r.emitted else {}
    place = {"kind": kind_of(r.subject), "partition": partition_of(r.subject), "relayed": 0}
    return {"_id": r.subject, **place, **first["$set"], **emitted}


def movement_of(rules: Rules, r: Record) -> dict[str, Any]:
    """What changes of its document when a record moves."""
    kept: dict[str, Any] = {
        "version": r.version,
        "rules": rules.VERSION,
        "state": _state(r.state).decode(),
        "indexed": dict(r.indexed),
        "last_sequence": r.last_sequence,
        "last_time": r.last_time,
        "last_hash": r.last_hash,
        "inbox": r.inbox,
        "parked": {source: _parked_document(each) for source, each in r.parked.items()},
    }
    marks = {
        "stranded": True if r.parked and stranded(r) else None,
        "early_since": min((p.since for p in r.parked.values() if not p.fault), default=None),
        "faulty_since": min((p.since for p in r.parked.values() if p.fault), default=None),
    }
    optional: dict[str, Any] = {
        "private": {"indexed": dict(r.private.indexed), "content": dict(r.private.content)}
        if r.private.indexed or r.private.content
        else None,
        "answered": [msgspec.structs.asdict(each) for each in r.answered],
        "discarded": [msgspec.structs.asdict(each) for each in r.discarded],
        **marks,
    }
    movement: dict[str, Any] = {"$set": {**kept, **{name: value for name, value in optional.items() if value}}}
    if r.version > 1 and (gone := {name: "" for name, value in optional.items() if not value}):
        movement["$unset"] = gone
    if r.emitted:
        movement["$push"] = {"emitted": {"$each": list(r.emitted)}}
        movement["$min"] = {"unrelayed_since": machine_now()}
    return movement


def _parked_document(each: Parked) -> dict[str, Any]:
    envelopes = [
        {"n": n, "raw": waits} if isinstance(waits, bytes) else {"n": n, **msgspec.structs.asdict(waits)}
        for n, waits in each.envelopes.items()
    ]
    return {"envelopes": envelopes, "fault": each.fault, "since": each.since}


def parked_of(d: Mapping[str, Any]) -> Parked:
    """What waits, from a document."""
    envelopes: dict[int, bytes | Place] = {
        each["n"]: each["raw"] if "raw" in each else Place(each["topic"], each["partition"], each["offset"])
        for each in d["envelopes"]
    }
    return Parked(envelopes, d["fault"], d["since"])
