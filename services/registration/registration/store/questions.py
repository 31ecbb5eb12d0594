"""What registration asks about many records: the same questions of MongoDB, and of memory in tests."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

from kernel.record import Record
from registration.domain import applicant, ledger
from registration.domain import round as rounds

SERVICE = "registration"
UNIQUE = ("person", "tracking")  # one application per person and round, in the whole country; one code each
RULES = {"applicant": applicant, "ledger": ledger, "round": rounds}


class Questions(Protocol):
    """Everything that is looked up by something else than its subject."""

    async def rounds(self) -> list[Record]:
        """Every round, in the order of their names."""

    async def ledgers(self, round_id: str) -> list[Record]:
        """The seat ledgers of a round, in the order of the provinces."""

    async def waiting(self, round_id: str) -> dict[str, int]:
        """How many wait for a seat, by ledger."""

    async def applications(self, round_id: str, scope: str, status: str, after: str, limit: int) -> list[Record]:
        """Applicants of a round within a scope, by id, after this one; `status` may be empty."""

    async def unseated(self) -> set[str]:
        """Ledgers of which somebody awaits a seat or gives one back."""

    async def promotable(self) -> set[str]:
        """Ledgers with a seat to give and somebody on the waiting list."""

    async def line(self, ledger: str, seating: str, limit: int) -> list[str]:
        """The first of those awaiting, waiting or releasing, in the published order: class, registered_at, id."""

    async def ahead(self, record: Record) -> int:
        """How many stand before this applicant on the waiting list."""

    async def unchecked(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Applicants of these partitions whose identity is to be asked for, the longest due first."""
