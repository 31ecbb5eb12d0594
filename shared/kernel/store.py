"""Where records are kept, and the first of the two ways they move: somebody asks (`execute`)."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec

from kernel.record import Record, Undecodable
from kernel.rules import Rules

Known = Mapping[str, Record]
Changes = Sequence[tuple[Record, Record]]  # each record before and after
Change = Callable[[Known], Changes]  # pure: it may be asked again
Projection = Callable[[Changes, Any], Awaitable[None]]  # what else must move in the same transaction
TopicPartition = tuple[str, int]
OffsetRanges = Mapping[TopicPartition, tuple[int, int]]  # the offsets a batch goes from and to

T = TypeVar("T")


class Pending(msgspec.Struct, frozen=True):
    """What one record emitted and Kafka does not have yet."""

    subject: str
    partition: int
    relayed: int
    emitted: Sequence[bytes]


class Store(Protocol):
    """Where a service keeps its records: MongoDB, or memory in tests."""

    service: str
    rules: Mapping[str, Rules]  # by kind of subject
    unique: tuple[str, ...]  # fields of `indexed` that no two records share

    async def read(self, subjects: Collection[str]) -> Known:
        """The records; one never stored comes fresh, at version 0. Raises NewerRules."""

    async def swap(self, before: Record, after: Record) -> bool:
        """Stores one record if it is still as it was read. Raises Taken, Transient."""

    async def transact(
        self,
        subjects: Collection[str],
        change: Change,
        ranges: OffsetRanges | None = None,
        projection: Projection | None = None,
    ) -> None:
        """Reads, changes and stores many records, moves cursors and whatever else, all or nothing.

        Raises Fenced, Taken, Transient.
        """

    async def holders(self, field: str, values: Collection[Any]) -> dict[Any, str]:
        """The subjects that hold these values of a unique field; `answered` is the one of idempotency keys."""

    async def cursors(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """The next offset to be handled of each partition; one never read stands at 0."""

    async def due(self, partitions: Collection[int], now: datetime, limit: int) -> list[str]:
        """Subjects whose time has come, the longest overdue first."""

    async def waiting(self, partitions: Collection[int], limit: int) -> list[Pending]:
        """Records with events that Kafka does not have, the longest waiting first."""

    async def mark_relayed(self, relayed: Mapping[str, int]) -> None:
        """Raises how many of its events Kafka has, per subject; never lowers it, and touches nothing else."""

    async def stranded(self, partitions: Collection[int], limit: int) -> list[str]:
        """Subjects that wait for a parked event of which only the place in the log was kept."""

    async def quarantine(self, unread: Sequence[Undecodable]) -> None:
        """Keeps what nobody can read, once."""


def unique_values(record: Record, field: str) -> tuple[Any, ...]:
    """The values of a unique field that a record claims; while keys are rotated it claims several."""
    value = record.indexed.get(field)
    return tuple(value) if isinstance(value, list | tuple) else () if value is None else (value,)
