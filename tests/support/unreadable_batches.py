"""Record batches that a broker accepts and that a reader must not unpack, or must not believe."""

import gzip
import struct
from itertools import groupby
from typing import Any

from kafka import KafkaProducer, codec
from kafka.record import default_records

from base.kafka_access import KafkaAccess


class RunLengths:
    """Zstandard with one block a run of the same byte (RFC 8878, 3.1.1)."""

    class ZstdCompressor:
        """In place of the library of this name, which is not installed."""

        def compress(self, content: bytes) -> bytes:
            """Return a frame with this content."""
            runs = [(byte, len(list(run))) for byte, run in groupby(content)]
            blocks = [struct.pack("<I", n << 3 | 2)[:3] + bytes([byte]) for byte, n in runs]
            blocks[-1] = bytes([blocks[-1][0] | 1]) + blocks[-1][1:]  # the last one
            return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content)) + b"".join(blocks)


class NotText(str):
    """The name of a header that is not UTF-8."""

    def encode(self, *_: Any) -> bytes:
        """Return what is sent."""
        return b"\xff\xfe"


def send_zstd(kafka: KafkaAccess, topic: str, records: int) -> int:
    """Send one batch of records of zeros with the codec zstd; return the offset after it."""
    original, codec.zstd = codec.zstd, RunLengths
    try:
        return _send(kafka, topic, [b"\0" * 1_000] * records, compression_type="zstd", linger_ms=500)
    finally:
        codec.zstd = original


def send_gzip(kafka: KafkaAccess, topic: str, value: bytes) -> int:
    """Send one record with the codec gzip; return the offset after it. Raise KafkaError."""
    return _send(kafka, topic, [value], compression_type="gzip", max_request_size=1 << 30)


def send_header_not_text(kafka: KafkaAccess, topic: str) -> int:
    """Send one record with a header whose name is not UTF-8; return the offset after it."""
    return _send(kafka, topic, [b"{}"], headers=[(NotText("name"), b"")])


def send_claim(kafka: KafkaAccess, topic: str, claimed: int) -> int:
    """Send one batch of a hundred bytes, with the codec gzip, whose record claims to have so many bytes."""
    original = default_records.gzip_encode
    default_records.gzip_encode = lambda _: gzip.compress(_varint(claimed) + b"\0" * 40)
    try:
        return send_gzip(kafka, topic, b"\0" * 1_000)
    finally:
        default_records.gzip_encode = original


def send_misnumbered(kafka: KafkaAccess, topic: str, records: int, last: int) -> None:
    """Send one batch whose last record names another place, so many behind the first."""
    builder = default_records.DefaultRecordBatchBuilder
    original = builder.append

    def append(self: Any, offset: int, *args: Any, **options: Any) -> Any:
        appended = original(self, last if offset == records - 1 else offset, *args, **options)
        self._last_offset = offset
        return appended

    builder.append = append
    try:
        _send(kafka, topic, [b"{}"] * records, linger_ms=500, enable_idempotence=False)
    finally:
        builder.append = original


def _varint(n: int) -> bytes:
    """Return a length as Kafka writes it: zigzag, seven bits a byte."""
    n, encoded = n << 1, bytearray()
    while n > 127:
        encoded.append(n & 127 | 128)
        n >>= 7
    return bytes([*encoded, n])


def _send(kafka: KafkaAccess, topic: str, values: Any, headers: Any = (), **options: Any) -> int:
    producer = KafkaProducer(**kafka.options(), retries=0, **options)
    try:
        sent = [producer.send(topic, key=b"k", value=value, partition=0, headers=list(headers)) for value in values]
        return int([each.get(30).offset for each in sent][-1]) + 1
    finally:
        producer.close()
