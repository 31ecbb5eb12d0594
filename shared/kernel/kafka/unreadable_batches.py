"""A record batch that must not be unpacked ends no reader: one record, with the reason for a value, stands for it.

aiokafka unpacks every codec, to any length, and believes the offset that each record names, which no broker checks:
a record could hide others, or move a reader to where nothing is. A header whose name is not UTF-8 makes it raise, and
again after every restart. It has no setting for any of this; `tests/kernel/test_unreadable_batches.py` keeps what is
relied upon here. Our relay writes batches without a codec, and offsets that rise by one.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka.consumer import fetcher


class UnreadableBatch(bytes):
    """Why a batch is not unpacked, in place of a value."""


class CompressedBatch(ValueError):
    """A batch has a codec."""


class MisnumberedBatch(ValueError):
    """The records of a batch do not have the offsets that the broker gave it."""


class _Checked:
    """A batch that yields its records if they have its own offsets, one after the other, and no codec."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batch, name)

    def __iter__(self) -> Iterator[Any]:
        first, end = self.batch.base_offset, self.batch.next_offset
        if self.batch.compression_type:
            raise CompressedBatch(f"codec {self.batch.compression_type}")
        records = list(self.batch)
        if len(records) != end - first or any(each.offset != n for n, each in enumerate(records, first)):
            raise MisnumberedBatch(f"{len(records)} records for the offsets {first} to {end - 1}")
        return iter(records)


class FetchedRecord(msgspec.Struct, gc=False):
    """A record with the attributes of aiokafka's ConsumerRecord, made in a quarter of the time."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    checksum: int | None
    serialized_key_size: int
    serialized_value_size: int
    headers: tuple[tuple[str, bytes], ...]


class _OneBatch:
    def __init__(self, batch: Any) -> None:
        self.batches = [_Checked(batch)]
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
                yield FetchedRecord(self._tp.topic, self._tp.partition, last, 0, 0, None, why, None, -1, len(why), ())

    def _consumer_record(self, tp: Any, record: Any) -> FetchedRecord:
        key, value, headers = record.key, record.value, record.headers
        return FetchedRecord(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            key,
            value,
            record.checksum,
            -1 if key is None else len(key),
            -1 if value is None else len(value),
            tuple(headers) if headers else (),
        )


def skip_unreadable_batches() -> None:
    """Make every aiokafka client of this process, faust's included, read on after an unreadable batch."""
    fetcher.PartitionRecords = SkippingRecords
