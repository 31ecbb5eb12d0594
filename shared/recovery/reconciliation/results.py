"""What reconciliation has found, stored in the collection `reconciliation` until the next comparison."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from pymongo.asynchronous.database import AsyncDatabase

from base.clock import machine_now
from kernel.stores.mongodb import translate_errors
from recovery.reconciliation.findings import Disagreement

REQUEST = "request"  # id of the document of an operator's request
DISAGREEMENTS_KEPT = 100  # of one comparison


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison of one partition with the owner of a source, and what was repaired ever since."""

    source: str
    partition: int
    at: datetime | None = None  # of the last one that was complete
    subjects: int = 0  # of the partition that the consumer knows
    buckets: int = 0  # that differed, also by what was on its way
    repaired: int = 0  # events, ever
    repaired_at: datetime | None = None
    disagreements: Sequence[Disagreement] = ()  # at most DISAGREEMENTS_KEPT
    disagreement_count: int = 0
    failed_at: datetime | None = None  # of an attempt since
    failure: str = ""


class Results:
    """The comparisons of one consumer. Each method raises Transient."""

    def __init__(self, database: AsyncDatabase[dict[str, Any]]) -> None:
        self.collection = database.reconciliation

    async def all(self) -> list[Comparison]:
        """Return the comparisons, by source and partition."""
        async with translate_errors():
            found = await self.collection.find({"_id": {"$ne": REQUEST}}, {"_id": 0}).to_list()
        return sorted((msgspec.convert(d, Comparison) for d in found), key=lambda each: (each.source, each.partition))

    async def done(
        self, source: str, partition: int, repaired: int, disagreements: Sequence[Disagreement], **seen: int
    ) -> None:
        """Keep a complete comparison."""
        now = machine_now()
        values = {"source": source, "partition": partition, "at": now, "disagreement_count": len(disagreements), **seen}
        values["disagreements"] = [msgspec.structs.asdict(each) for each in disagreements[:DISAGREEMENTS_KEPT]]
        values |= {"repaired_at": now} if repaired else {}
        await self._write(
            source,
            partition,
            {"$set": values, "$inc": {"repaired": repaired}, "$unset": {"failed_at": "", "failure": ""}},
        )

    async def failed(self, source: str, partition: int, why: str) -> None:
        """Keep why a partition could not be compared."""
        values = {"source": source, "partition": partition, "failed_at": machine_now(), "failure": why}
        await self._write(source, partition, {"$set": values})

    async def request(self) -> datetime:
        """Let the workers compare everything now; return the time after which a comparison is one of those."""
        now = machine_now()
        async with translate_errors():
            await self.collection.replace_one({"_id": REQUEST}, {"at": now}, upsert=True)
        return now

    async def requested(self) -> datetime | None:
        """Return when an operator has last requested that everything is compared."""
        async with translate_errors():
            found = await self.collection.find_one({"_id": REQUEST})
        return found["at"] if found else None

    async def _write(self, source: str, partition: int, update: dict[str, Any]) -> None:
        async with translate_errors():
            await self.collection.update_one({"_id": f"{source}/{partition}"}, update, upsert=True)
