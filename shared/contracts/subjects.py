"""What events are about, and where that lives: `round:1404`, `ledger:1404/IR-20`, a bare UUIDv7 for an applicant."""

from zlib import crc32

PARTITIONS = 32  # for ever, on every topic


def kind_of(subject: str) -> str:
    """The kind of a subject: what stands before the colon, or `applicant` for a bare id."""
    return subject.partition(":")[0] if ":" in subject else "applicant"


def partition_of(subject: str) -> int:
    """librdkafka's `consistent` partitioner. The relay names the partition, so no client's default matters."""
    return crc32(subject.encode()) % PARTITIONS


def round_subject(round_id: str) -> str:
    """`1404` -> `round:1404`."""
    return f"round:{round_id}"


def ledger_subject(round_id: str, province: str) -> str:
    """(`1404`, `IR-20`) -> `ledger:1404/IR-20`, the seats of one province in one round."""
    return f"ledger:{round_id}/{province}"


def lead_subject(lead: str) -> str:
    """The subject of a lead enterprise's id (a UUIDv7)."""
    return f"lead:{lead}"
