"""A record batch that aiokafka cannot unpack ends no reader: one record, with the reason for a value, stands for it.

Such a batch has a codec that is not installed, or a header whose name is not UTF-8. aiokafka has no setting for this:
it raises, and again after every restart. `tests/kernel/test_unreadable_batches.py` keeps what is relied upon here.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.structs import ConsumerRecord


class UnreadableBatch(bytes):
    """Why a batch cannot be unpacked, in place of a value."""


class _OneBatch:
    def __init__(self, batch: Any) -> None:
        self.batches = [batch]
        self.next_batch = self.batches.pop

    def has_next(self) -> bool:
        return bool(self.batches)


class SkippingRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetch. The record that stands for a batch, or the rest of one, has the batch's last offset."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        fetched = self._records
        while fetched.has_next():
            batch = fetched.next_batch()
            self._records = _OneBatch(batch)
            try:
                yield from super()._unpack_records()
            except Exception as e:
                self.next_fetch_offset = batch.next_offset
                why = UnreadableBatch(f"{type(e).__name__}: {e}"[:200].encode())
                last = batch.next_offset - 1
                yield ConsumerRecord(self._tp.topic, self._tp.partition, last, 0, 0, None, why, None, -1, len(why), ())


def skip_unreadable_batches() -> None:
    """Make every aiokafka client of this process, faust's included, read on after an unreadable batch."""
    fetcher.PartitionRecords = SkippingRecords
