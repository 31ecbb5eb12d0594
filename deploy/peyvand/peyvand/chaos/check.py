"""What the stores and the log hold after the storm, read with none of the code that is under test."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pymongo import MongoClient

from peyvand.commands.events import Heard, Log
from peyvand.verify.recount import OWNERS

# What must be told once of a subject, by who tells it: nobody withdraws in a storm.
ONCE = {
    "registration": ("applicant.registered",),
    "screening": ("case.decided", "capacity.identified"),
    "market": ("producer.connected",),
}


def counted(mongo: str) -> list[str]:
    """The applicants that are a fact in reporting."""
    with _client(mongo) as client:
        return [d["_id"] for d in client.reporting.records.find({"kind": "applicant"}, {"_id": 1})]


def emitted(mongo: str) -> dict[str, dict[str, Sequence[bytes]]]:
    """What each service's records say they emitted, by owner and subject."""
    with _client(mongo) as client:
        return {
            owner: {d["_id"]: d.get("emitted", ()) for d in client[owner].records.find({}, {"emitted": 1})}
            for owner in OWNERS
        }


def logged(kafka: str) -> list[Heard]:
    """Everything on the topics, in the order of each partition."""
    log = Log(kafka)
    try:
        return list(log.heard(beginning=True, follow=False))
    finally:
        log.close()


def twice(kept: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """The subjects of which something was told again that happens once."""
    return [f"{subject}: {what}" for (subject, what), n in _told(kept).items() if n > 1]


def untold(acts: Iterable[tuple[str, str]], kept: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """The acts of officers, as subject and what was told, that were acknowledged and never told."""
    told = _told(kept)
    return [f"{subject}: {what}" for subject, what in sorted(set(acts)) if not told[subject, what]]


def _told(kept: Mapping[str, Mapping[str, Sequence[bytes]]]) -> Counter[tuple[str, str]]:
    found = Counter[tuple[str, str]]()
    for owner, names in ONCE.items():
        types = {f"ir.peyvand.{owner}.{name}.v1": name for name in names}
        for subject, said in kept.get(owner, {}).items():
            found.update((subject, types[t]) for raw in said if (t := _of(raw)["type"]) in types)
    return found


def holes(log: Iterable[Heard], kept: Mapping[str, Mapping[str, Sequence[bytes]]]) -> list[str]:
    """Where the log is not dense: by speaker and subject the first copies must be 1, 2, 3, as many as were emitted.

    A repeat must be the same to the last byte.
    """
    last: dict[tuple[str, str], int] = defaultdict(int)
    wrong: list[str] = []
    for each in log:
        e = _of(each.raw)
        who, n = (e["source"], e["subject"]), e["sequence"]
        at = f"{each.topic}/{each.partition}@{each.offset}"
        if n > last[who] + 1:
            wrong.append(f"{at}: {who} {last[who]} -> {n}")
        last[who] = max(last[who], n)
        said = kept.get(who[0], {}).get(who[1], ())
        if n > len(said) or bytes(said[n - 1]) != each.raw:
            wrong.append(f"{at}: {who} never emitted this as {n}")
    for owner, subjects in kept.items():
        for subject, said in subjects.items():
            if len(said) != last[owner, subject]:
                wrong.append(f"{owner} {subject}: emitted {len(said)}, the log has {last[owner, subject]}")
    return wrong


def lost(acknowledged: Collection[str], found: Collection[str]) -> list[str]:
    """What was acknowledged and is not counted."""
    return sorted(set(acknowledged) - set(found))


def _client(mongo: str) -> "MongoClient[dict[str, Any]]":
    return MongoClient(mongo)


def _of(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found
