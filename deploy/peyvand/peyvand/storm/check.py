"""What the stores and the log hold after the storm, read with none of the code that is under test."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

from pymongo import MongoClient

from peyvand.events import Log
from peyvand.recount import OWNERS


def counted(mongo: str) -> list[str]:
    """The applicants that are a fact in reporting."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo)
    with client:
        return [d["_id"] for d in client.reporting.records.find({"kind": "applicant"}, {"_id": 1})]


def twice(mongo: str) -> list[str]:
    """The applicants that registration tells more than once that they registered."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo)
    with client:
        told = Counter(
            d["_id"]
            for d in client.registration.records.find({"kind": "applicant"}, {"emitted": 1})
            for raw in d["emitted"]
            if json.loads(raw)["type"].endswith(".applicant.registered.v1")
        )
    return [subject for subject, n in told.items() if n > 1]


def holes(mongo: str, kafka: str) -> list[str]:
    """Where the log is not dense: by speaker and subject the first copies must be 1, 2, 3, as many as were emitted."""
    last: dict[tuple[str, str], int] = defaultdict(int)
    wrong: list[str] = []
    log = Log(kafka)
    try:
        for each in log.heard(beginning=True, follow=False):
            e = json.loads(each.raw)
            who = (e["source"], e["subject"])
            if e["sequence"] > last[who] + 1:
                wrong.append(f"{each.topic}/{each.partition}@{each.offset}: {who} {last[who]} -> {e['sequence']}")
            last[who] = max(last[who], e["sequence"])
    finally:
        log.close()
    client: MongoClient[dict[str, Any]] = MongoClient(mongo)
    with client:
        for owner in OWNERS:
            for d in client[owner].records.find({}, {"emitted": 1}):
                if (n := len(d.get("emitted", ()))) != last[owner, d["_id"]]:
                    wrong.append(f"{owner} {d['_id']}: emitted {n}, the log has {last[owner, d['_id']]}")
    return wrong


def lost(acknowledged: Collection[str], found: Collection[str]) -> list[str]:
    """What was acknowledged and is not counted."""
    return sorted(set(acknowledged) - set(found))
