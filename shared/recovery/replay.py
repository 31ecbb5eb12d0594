"""Repair of a log that lost events: consumers reset their cursors to its beginning, its owner republishes.

An operator requests it through the service's API (`replay_requests`), and the service's workers carry it out. Neither
changes a figure, since consumers recognise repeats. Neither skips an event: the worker asks the log where it begins.
"""

from typing import Any

import structlog
from aiokafka import TopicPartition
from pymongo import UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern

from contracts.subjects import PARTITIONS
from kernel.roles.worker import SWEEP, Worker
from kernel.store import Pending
from kernel.stores.mongodb import translate_errors
from recovery.replay_requests import REPUBLISH, RESET_CURSORS, ReplayRequests

RECORDS = 500  # republished at a time

log = structlog.get_logger(__name__)


class ReplayLoop:
    """A loop of the worker. Two workers that carry out the same request only repeat it."""

    def __init__(self, worker: Worker) -> None:
        self.topics, self.store, self.relay = worker.topics, worker.store, worker.relay
        self.reader, self.topic_ids = worker.reader, worker.topic_ids
        self.replays = ReplayRequests(worker.store).replays

    async def __call__(self) -> float:
        """Reset cursors as requested and republish one part; return the seconds until the next step.

        Raise Transient, KafkaError.
        """
        keys = [RESET_CURSORS + topic for topic in self.topics]
        async with translate_errors():
            requests = await self.replays.find({"_id": {"$in": keys}}).to_list()
        for request in requests:
            await self._reset_cursors(request)
        return 0 if await self._republish() else SWEEP

    async def _reset_cursors(self, request: dict[str, Any]) -> None:
        """Set the cursors of a topic and its id in one transaction; wait while it does not exist, or not all answer.

        The id is read first: if the topic is recreated meanwhile it is the old one, which the next sweep notices.
        """
        topic = request["_id"].removeprefix(RESET_CURSORS)
        ids = await self.topic_ids.read([topic])
        if topic not in ids:
            return
        begins = await self.reader.begins([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        if len(begins) < PARTITIONS:
            return  # a broker is away: what its partitions still have is not known
        cursors = [
            UpdateOne(
                {"_id": f"{topic}/{tp.partition}"}, {"$set": {"next": begin, "topic_id": ids[topic]}}, upsert=True
            )
            for tp, begin in begins.items()
        ]

        async def reset(session: AsyncClientSession) -> bool:
            if not (await self.replays.delete_one(request, session=session)).deleted_count:
                return False  # carried out by another worker meanwhile
            await self.store.positions.bulk_write(cursors, ordered=False, session=session)
            await self.store.topics.replace_one({"_id": topic}, {"id": ids[topic]}, upsert=True, session=session)
            return True

        async with translate_errors(), self.store.client.start_session() as session:
            if await session.with_transaction(reset, read_concern=ReadConcern("snapshot")):
                log.info("cursors reset", topic=topic, topic_id=ids[topic], offsets=sum(begins.values()))

    async def _republish(self) -> int:
        """Publish one part of the published events again; return how many."""
        async with translate_errors():
            request = await self.replays.find_one({"_id": REPUBLISH})
            if request is None:
                return 0
            query = {"_id": {"$gt": request["after"]}, "published": {"$gt": 0}}
            shown = {"events": {"$slice": ["$events", "$published"]}, "partition": 1}
            found = self.store.records.find(query, shown, limit=RECORDS, sort=[("_id", 1)])
            part = [Pending(d["_id"], d["partition"], 0, d["events"]) async for d in found]
            if not part:
                await self.replays.delete_one(request)
                return 0
        await self.relay.republish(part)
        async with translate_errors():
            await self.replays.update_one(request, {"$set": {"after": part[-1].subject}})
        events = sum(len(each.events) for each in part)
        log.info("republished", events=events, after=part[-1].subject)
        return events
