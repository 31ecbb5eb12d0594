"""What a person orders about a log that lost something: readers read it from where it begins, its owner says it again.

Orders lie in the service's own store, on record with who gave them and why; its workers carry them out. Neither can
change a figure: readers know repeats.
"""

from collections.abc import Mapping, Sequence

import msgspec
from pymongo import UpdateOne

from plumbing.clock import machine_now
from plumbing.held import Act, Action
from plumbing.ids import uuid7
from plumbing.mongo import MongoStore, transience
from plumbing.relay import Relay
from plumbing.store import Waiting

SLICE = 500  # records said again at a time
REPUBLICATION = "republication"  # the one order of its kind


class Orders:
    """The orders in one service's store."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.orders, self.acts = store, store.database.orders, store.database.acts

    async def reread(
        self, topic: str, at: Mapping[int, int], who: str, reason: str, *, dry_run: bool
    ) -> dict[int, int]:
        """Sets the cursors of a topic and takes it for the topic that it is now; where they stood. Raises Transient.

        The cursors first: a worker that took the topic for its own with the old ones might pass over what is new.
        """
        names = {f"{topic}/{partition}": partition for partition in at}
        async with transience():
            found = self.store.positions.find({"_id": {"$in": list(names)}})
            before = dict.fromkeys(at, 0) | {names[d["_id"]]: d["next"] async for d in found}
            if dry_run:
                return before
            await self._note("reread", who, reason, [f"{name}@{at[partition]}" for name, partition in names.items()])
            moves = [
                UpdateOne({"_id": name}, {"$set": {"next": at[partition]}}, upsert=True)
                for name, partition in names.items()
            ]
            await self.store.positions.bulk_write(moves, ordered=False)
            await self.store.topics.delete_one({"_id": topic})
        return before

    async def republish(self, who: str, reason: str, *, dry_run: bool) -> tuple[int, int]:
        """Orders that all that Kafka was told is told again; of how many records, how many events. Raises Transient."""
        counted = {"$group": {"_id": None, "records": {"$sum": 1}, "events": {"$sum": "$relayed"}}}
        async with transience():
            found = await self.store.records.aggregate([{"$match": {"relayed": {"$gt": 0}}}, counted])
            sums = next(iter(await found.to_list()), {"records": 0, "events": 0})
            if not dry_run:
                await self._note("republish", who, reason, ())
                await self.orders.replace_one({"_id": REPUBLICATION}, {"after": ""}, upsert=True)
        return sums["records"], sums["events"]

    async def carry_out(self, relay: Relay) -> int:
        """Says one slice again; how many events. Two workers may say the same: it is a repeat. Raises Transient."""
        async with transience():
            order = await self.orders.find_one({"_id": REPUBLICATION})
            if order is None:
                return 0
            query = {"_id": {"$gt": order["after"]}, "relayed": {"$gt": 0}}
            shown = {"emitted": {"$slice": ["$emitted", "$relayed"]}, "partition": 1}
            found = self.store.records.find(query, shown, limit=SLICE, sort=[("_id", 1)])
            slice_ = [Waiting(d["_id"], d["partition"], 0, d["emitted"]) async for d in found]
            if not slice_:
                await self.orders.delete_one(order)
                return 0
        await relay.repeat(slice_)
        async with transience():
            await self.orders.update_one(order, {"$set": {"after": slice_[-1].subject}})
        return sum(len(each.emitted) for each in slice_)

    async def _note(self, action: Action, who: str, reason: str, what: Sequence[str]) -> None:
        act = Act(at=machine_now(), who=who, action=action, reason=reason, letters=what)
        await self.acts.insert_one({"_id": uuid7(), **msgspec.structs.asdict(act)})
