"""What a person orders about a log that lost something: readers read it from where it begins, its owner says it again.

Orders lie in the service's own store, on record with who gave them and why; its workers carry them out. Neither can
change a figure: readers know repeats. Nor can either skip anything: where a log begins the worker asks of the log.
"""

from collections.abc import Collection
from typing import Any

import msgspec
import structlog
from aiokafka import TopicPartition
from pymongo import UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern

from base.clock import machine_now
from base.ids import uuid7
from contracts.subjects import PARTITIONS
from kernel.kafka.log_reader import LogReader
from kernel.kafka.relay import Relay, TopicIds
from kernel.store import Pending
from kernel.stores.mongodb import MongoStore, translate_errors
from recovery.dead_letter_store import Act, Action

SLICE = 500  # records said again at a time
REPUBLICATION = "republication"  # the one order of its kind
REREAD = "reread/"  # and the topic

log = structlog.get_logger(__name__)


class Orders:
    """The orders in one service's store."""

    def __init__(self, store: MongoStore) -> None:
        self.store, self.orders, self.acts = store, store.database.orders, store.database.acts

    async def reread(self, topic: str, who: str, reason: str, *, dry_run: bool) -> dict[int, int]:
        """Orders that a topic is read from where its log begins; where the cursors stand now. Raises Transient."""
        names = {f"{topic}/{partition}": partition for partition in range(PARTITIONS)}
        async with translate_errors():
            found = self.store.positions.find({"_id": {"$in": list(names)}})
            stand = dict.fromkeys(names.values(), 0) | {names[d["_id"]]: d["next"] async for d in found}
        if not dry_run:
            await self._give(REREAD + topic, "reread", who, reason, topic)
        return stand

    async def republish(self, who: str, reason: str, *, dry_run: bool) -> tuple[int, int]:
        """Orders that all that Kafka was told is told again; of how many records, how many events. Raises Transient."""
        counted = {"$group": {"_id": None, "records": {"$sum": 1}, "events": {"$sum": "$relayed"}}}
        async with translate_errors():
            found = await self.store.records.aggregate([{"$match": {"relayed": {"$gt": 0}}}, counted])
            sums = next(iter(await found.to_list()), {"records": 0, "events": 0})
        if not dry_run:
            await self._give(REPUBLICATION, "republish", who, reason, after="")
        return sums["records"], sums["events"]

    async def _give(self, order: str, action: Action, who: str, reason: str, *what: str, **begun: str) -> None:
        """On record first: what is carried out has a name."""
        act = Act(at=machine_now(), who=who, action=action, reason=reason, letters=what)
        async with translate_errors():
            await self.acts.insert_one({"_id": uuid7(), **msgspec.structs.asdict(act)})
            await self.orders.replace_one({"_id": order}, begun, upsert=True)


class Carrier(Orders):
    """One of the workers that carry the orders out; two that carry out the same repeat it. Each raises Transient."""

    def __init__(self, store: MongoStore, relay: Relay, reader: LogReader, topic_ids: TopicIds) -> None:
        super().__init__(store)
        self.relay, self.reader, self.topic_ids = relay, reader, topic_ids

    async def once(self, topics: Collection[str]) -> int:
        """Has the topics read again for which it is ordered, and says one slice again; how many events that were."""
        async with translate_errors():
            ordered = await self.orders.find({"_id": {"$in": [REREAD + topic for topic in topics]}}).to_list()
        for order in ordered:
            await self._reread(order)
        return await self._republish()

    async def _reread(self, order: dict[str, Any]) -> None:
        """Sets the cursors and takes the topic for the topic that it is now, together; waits while there is none.

        The id is asked for first: of a topic made anew meanwhile it is the old one, which the next sweep notices.
        """
        topic = order["_id"].removeprefix(REREAD)
        ids = await self.topic_ids.of([topic])
        if topic not in ids:
            return
        begins = await self.reader.begins([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        moves = [
            UpdateOne({"_id": f"{topic}/{tp.partition}"}, {"$set": {"next": at}}, upsert=True)
            for tp, at in begins.items()
        ]

        async def together(session: AsyncClientSession) -> bool:
            if not (await self.orders.delete_one(order, session=session)).deleted_count:
                return False  # carried out by another meanwhile
            await self.store.positions.bulk_write(moves, ordered=False, session=session)
            await self.store.topics.replace_one({"_id": topic}, {"id": ids[topic]}, upsert=True, session=session)
            return True

        async with translate_errors(), self.store.client.start_session() as session:
            if await session.with_transaction(together, read_concern=ReadConcern("snapshot")):
                log.info("reread", topic=topic, id=ids[topic], begins=sum(begins.values()))

    async def _republish(self) -> int:
        async with translate_errors():
            order = await self.orders.find_one({"_id": REPUBLICATION})
            if order is None:
                return 0
            query = {"_id": {"$gt": order["after"]}, "relayed": {"$gt": 0}}
            shown = {"emitted": {"$slice": ["$emitted", "$relayed"]}, "partition": 1}
            found = self.store.records.find(query, shown, limit=SLICE, sort=[("_id", 1)])
            slice_ = [Pending(d["_id"], d["partition"], 0, d["emitted"]) async for d in found]
            if not slice_:
                await self.orders.delete_one(order)
                return 0
        await self.relay.repeat(slice_)
        async with translate_errors():
            await self.orders.update_one(order, {"$set": {"after": slice_[-1].subject}})
        said = sum(len(each.emitted) for each in slice_)
        log.info("republished", events=said)
        return said
