"""What a rotation has left to do, counted in the database: metrics may be old, or of a worker that is gone."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from pymongo import MongoClient

from peyvand.local_cluster.topology import DATABASES
from registration.service import service

EXAMPLES = 10


class Remainder(msgspec.Struct, frozen=True):
    """What still needs former keys."""

    keys: int  # of persons, wrapped with a former master key
    applicants: int  # with a blind index under a former index key
    erased: int  # likewise, of rounds that take applications: nothing is left to compute another one from
    until: datetime | None  # when the last of these rounds closes
    codes: int  # tracking codes issued under a former tracking key, which is kept
    examples: tuple[str, ...] = ()  # applicants, or ids of keys

    @property
    def done(self) -> bool:
        """Whether nothing needs a former master or index key."""
        return not (self.keys or self.applicants or self.erased)


def remainder(mongo: str, version: int, now: datetime) -> Remainder:
    """Count what is not under this version of the keys; `now` is programme time."""
    data, wrapped = DATABASES["registration"]
    with MongoClient[dict[str, Any]](mongo, readConcernLevel="majority", tz_aware=True, tzinfo=UTC) as client:
        records, keys = client[data].records, client[wrapped].keys
        kept = {"kind": "round", "indexed.round": {"$exists": True}}
        rounds = [
            msgspec.json.decode(d["state"], type=service.rules["round"].State) for d in records.find(kept, {"state": 1})
        ]
        closing = {each.round: closes for each in rounds if (closes := _closes(each)) > now}
        rotated = {"kind": "applicant", "indexed.index_version": {"$exists": True}}
        unrotated = {"kind": "applicant", "indexed.index_version": {"$exists": False}}
        outdated = {"wrapped": {"$exists": True}, "version": {"$ne": version}}
        applicants = {**rotated, "$or": _indexed((each.round for each in rounds), version)}
        erased = {name: records.count_documents({**unrotated, "$or": _indexed([name], version)}) for name in closing}
        examples = [d["_id"] for d in records.find(applicants, {"_id": 1}, limit=EXAMPLES)] if rounds else []
        examples += [f"key {d['_id']}" for d in keys.find(outdated, {"_id": 1}, limit=EXAMPLES)]
        codes = [{"indexed.tracking": {"$regex": f"^v{former}:"}} for former in _others(version)]
        return Remainder(
            keys=keys.count_documents(outdated),
            applicants=records.count_documents(applicants) if rounds else 0,
            erased=sum(erased.values()),
            until=max((closing[name] for name, n in erased.items() if n), default=None),
            codes=records.count_documents({"$or": codes}) if codes else 0,
            examples=tuple(examples[:EXAMPLES]),
        )


def _indexed(rounds: Iterable[str], version: int) -> list[dict[str, Any]]:
    """Match blind indexes under other keys, each by the beginning of its value: an index holds them in this order."""
    return [{"indexed.person": {"$regex": f"^{name}:v{other}:"}} for name in rounds for other in _others(version)] or [
        {"_id": {"$in": []}}
    ]


def _others(version: int) -> range:
    return range(1, version)


def _closes(found: Any) -> datetime:
    windows = [*found.windows.values(), *([found.window] if found.window else [])]
    return max((each.closes for each in windows), default=datetime.min.replace(tzinfo=UTC))
