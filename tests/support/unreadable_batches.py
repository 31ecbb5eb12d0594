"""Record batches that a broker accepts and aiokafka cannot unpack."""

import struct
from itertools import groupby
from typing import Any

from kafka import KafkaProducer, codec

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


def _send(kafka: KafkaAccess, topic: str, values: Any, headers: Any = (), **options: Any) -> int:
    producer = KafkaProducer(**kafka.options(), retries=0, **options)
    try:
        sent = [producer.send(topic, key=b"k", value=value, partition=0, headers=list(headers)) for value in values]
        return int([each.get(30).offset for each in sent][-1]) + 1
    finally:
        producer.close()
