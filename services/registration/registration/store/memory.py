"""The questions, asked of records in memory."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from contracts.subjects import kind_of, partition_of
from kernel.record import Record
from kernel.stores.memory import MemoryStore
from registration.store.questions import RULES, SERVICE, UNIQUE


def memory_store() -> MemoryStore:
    """Registration's records, in memory."""
    return MemoryStore(SERVICE, RULES, UNIQUE)


class MemoryQuestions:
    """What MongoQuestions answers, without a database."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    async def rounds(self) -> list[Record]:
        """Every round."""
        return [r for r in self.store.find(lambda _: True) if kind_of(r.subject) == "round"]

    async def ledgers(self, round_id: str) -> list[Record]:
        """The seat ledgers of a round."""
        return [r for r in self.store.find(lambda i: i.get("round") == round_id) if kind_of(r.subject) == "ledger"]

    async def waiting(self, round_id: str) -> dict[str, int]:
        """How many wait for a seat, by ledger."""
        return Counter(
            r.indexed["ledger"]
            for r in self.store.find(lambda i: i.get("seating") == "waiting")
            if r.indexed["ledger"].startswith(f"ledger:{round_id}/")
        )

    async def applications(self, round_id: str, scope: str, status: str, after: str, limit: int) -> list[Record]:
        """Applicants of a round within a scope."""

        def wanted(i: Mapping[str, Any]) -> bool:
            inside = not scope or f"{i.get('scope')}/".startswith(f"{scope}/")
            return i.get("round") == round_id and "status" in i and inside and (not status or i["status"] == status)

        return [r for r in self.store.find(wanted) if r.subject > after][: limit or None]

    async def unseated(self) -> set[str]:
        """Ledgers of which somebody awaits a seat or gives one back."""
        found = self.store.find(lambda i: i.get("seating") in ("awaiting", "releasing"))
        return {r.indexed["ledger"] for r in found}

    async def promotable(self) -> set[str]:
        """Ledgers with a seat to give and somebody on the waiting list."""
        free = {r.subject for r in self.store.find(lambda i: i.get("available", 0) > 0)}
        return {r.indexed["ledger"] for r in self.store.find(lambda i: i.get("seating") == "waiting")} & free

    async def line(self, ledger: str, seating: str, limit: int) -> list[str]:
        """The first in the published order."""
        found = self.store.find(lambda i: i.get("seating") == seating and i.get("ledger") == ledger)
        found.sort(key=lambda r: (r.indexed["priority"], r.indexed["registered_at"], r.subject))
        return [r.subject for r in found[:limit]]

    async def ahead(self, record: Record) -> int:
        """How many stand before this applicant."""
        line = await self.line(record.indexed["ledger"], "waiting", len(self.store.kept))
        return line.index(record.subject)

    async def unchecked(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Applicants whose identity is to be asked for."""
        found = self.store.find(lambda i: "check_due" in i and i["check_due"] <= now)
        found.sort(key=lambda r: (r.indexed["check_due"], r.subject))
        return [r.subject for r in found if partition_of(r.subject) in partitions][:limit]
