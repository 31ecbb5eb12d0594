"""A record as a document of MongoDB: everything of one subject in one place, and nothing twice."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from base.clock import machine_now
from contracts.subjects import kind_of, partition_of
from kernel.errors import NewerRules
from kernel.record import NEVER, Discarded, LogPosition, Parked, Private, Record, StoredResponse, stranded
from kernel.rules import Rules

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
        answered=tuple(StoredResponse(**each) for each in d.get("answered", ())),
        discarded=tuple(Discarded(**each) for each in d.get("discarded", ())),
    )


def document_of(rules: Rules, r: Record) -> dict[str, Any]:
    """A record that was never stored, as a document."""
    place = {"kind": kind_of(r.subject), "partition": partition_of(r.subject), "relayed": 0}
    found: dict[str, Any] = {"_id": r.subject, **place, "version": r.version, "rules": rules.VERSION}
    for part in _PARTS.values():
        for name, value in part(r).items():
            if value is not None:
                found[name] = value
    if stranded(r):
        found["stranded"] = True
    if r.emitted:
        found |= {"emitted": list(r.emitted), "unrelayed_since": machine_now()}
    return found


def movement_of(rules: Rules, before: Record, after: Record) -> dict[str, Any]:
    """What changes of its document when a record moves, from as it is stored: what did not move is not written."""
    kept: dict[str, Any] = {"version": after.version, "rules": rules.VERSION}
    gone: dict[str, str] = {}
    for attribute, part in _PARTS.items():
        was, now = getattr(before, attribute), getattr(after, attribute)
        if was is now or was == now:
            continue
        for name, value in part(after).items():
            if value is None:
                gone[name] = ""
            else:
                kept[name] = value
    if stranded(after):  # by the inbox as well: whose turn has come
        kept["stranded"] = True
    elif before.parked:
        gone["stranded"] = ""
    movement: dict[str, Any] = {"$set": kept}
    if gone:
        movement["$unset"] = gone
    if after.emitted:
        movement["$push"] = {"emitted": {"$each": list(after.emitted)}}
        movement["$min"] = {"unrelayed_since": machine_now()}
    return movement


def _parked(r: Record) -> dict[str, Any]:
    waits = r.parked.values()
    return {
        "parked": {source: _parked_document(each) for source, each in r.parked.items()},
        "early_since": min((each.since for each in waits if not each.fault), default=None),
        "faulty_since": min((each.since for each in waits if each.fault), default=None),
    }


def _private(r: Record) -> dict[str, Any]:
    found = {"indexed": dict(r.private.indexed), "content": dict(r.private.content)}
    return {"private": found if any(found.values()) else None}


_PARTS: Mapping[str, Callable[[Record], dict[str, Any]]] = {  # attribute of a record -> fields; None: not there
    "state": lambda r: {"state": _state(r.state).decode()},
    "indexed": lambda r: {"indexed": dict(r.indexed)},
    "last_hash": lambda r: {
        "last_sequence": r.last_sequence,
        "last_time": r.last_time,
        "last_hash": r.last_hash,
    },
    "inbox": lambda r: {"inbox": r.inbox},
    "parked": _parked,
    "private": _private,
    "answered": lambda r: {"answered": [msgspec.structs.asdict(each) for each in r.answered] or None},
    "discarded": lambda r: {"discarded": [msgspec.structs.asdict(each) for each in r.discarded] or None},
}


def _parked_document(each: Parked) -> dict[str, Any]:
    envelopes = [
        {"n": n, "raw": waits} if isinstance(waits, bytes) else {"n": n, **msgspec.structs.asdict(waits)}
        for n, waits in each.envelopes.items()
    ]
    return {"envelopes": envelopes, "fault": each.fault, "since": each.since}


def parked_of(d: Mapping[str, Any]) -> Parked:
    """What waits, from a document."""
    envelopes: dict[int, bytes | LogPosition] = {
        each["n"]: each["raw"] if "raw" in each else LogPosition(each["topic"], each["partition"], each["offset"])
        for each in d["envelopes"]
    }
    return Parked(envelopes, d["fault"], d["since"])
