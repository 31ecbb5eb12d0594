"""Requests for a replay, stored in the collection `replays` until a worker has carried them out. See `replay`."""

from typing import Any

import msgspec

from base.clock import machine_now
from base.ids import uuid7
from contracts.subjects import PARTITIONS
from kernel.stores.mongodb import MongoStore, translate_errors
from recovery.dead_letter_store import Action, OperatorAction

REPUBLISH = "republish"  # id of the one request of its kind
RESET_CURSORS = "reset_cursors/"  # prefix of an id, followed by the topic


class ReplayRequests:
    """The requests in one service's store. Each method raises Transient."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.replays, self.actions = store, store.database.replays, store.database.operator_actions

    async def reset_cursors(self, topic: str, who: str, reason: str, *, dry_run: bool) -> dict[int, int]:
        """Request that a topic is consumed from where its log begins; return the present cursors by partition."""
        names = {f"{topic}/{partition}": partition for partition in range(PARTITIONS)}
        async with translate_errors():
            found = self.store.positions.find({"_id": {"$in": list(names)}})
            cursors = dict.fromkeys(names.values(), 0) | {names[d["_id"]]: d["next"] async for d in found}
        if not dry_run:
            await self._request(RESET_CURSORS + topic, "reset_cursors", who, reason, topic)
        return cursors

    async def republish(self, who: str, reason: str, *, dry_run: bool) -> tuple[int, int]:
        """Request that all published events are published again; return how many records and events those are."""
        group: dict[str, Any] = {"_id": None, "records": {"$sum": 1}, "events": {"$sum": "$published"}}
        async with translate_errors():
            found = await self.store.records.aggregate([{"$match": {"published": {"$gt": 0}}}, {"$group": group}])
            sums = next(iter(await found.to_list()), {"records": 0, "events": 0})
        if not dry_run:
            await self._request(REPUBLISH, "republish", who, reason, after="")
        return sums["records"], sums["events"]

    async def _request(self, key: str, action: Action, who: str, reason: str, *about: str, **progress: str) -> None:
        """Record the action, then the request: whatever is carried out is on record."""
        recorded = OperatorAction(at=machine_now(), who=who, action=action, reason=reason, letters=about)
        async with translate_errors():
            await self.actions.insert_one({"_id": uuid7(), **msgspec.structs.asdict(recorded)})
            await self.replays.replace_one({"_id": key}, progress, upsert=True)
