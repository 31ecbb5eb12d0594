"""Subjects of events and their partitions: `round:1404`, `ledger:1404/IR-20`, a bare UUIDv7 for an applicant."""

from zlib import crc32

PARTITIONS = 32  # of every topic; can never change, since it decides where a subject's events are

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ROUND = "1[34][0-9]{2}(-[0-9]{1,2})?"  # Jalali year, and the number of the round where a year has several
PROVINCE = "IR-(0[0-9]|[12][0-9]|30)"

# Kind -> pattern of its subjects. The kind of an event's subject is the KIND of its type.
SUBJECTS = {
    "applicant": UUID,
    "round": f"round:{ROUND}",
    "ledger": f"ledger:{ROUND}/{PROVINCE}",
    "lead": f"lead:{UUID}",
    "proposal": f"proposal:{ROUND}/{UUID}",
}


def kind_of(subject: str) -> str:
    """Return the kind of a subject: the part before the colon, or `applicant` for a bare id."""
    return subject.partition(":")[0] if ":" in subject else "applicant"


def partition_of(subject: str) -> int:
    """Return the partition of a subject, as librdkafka's `consistent` partitioner computes it.

    The relay sends to an explicit partition, so the default partitioner of a client has no effect.
    """
    return crc32(subject.encode()) % PARTITIONS


def round_subject(round_id: str) -> str:
    """`1404` -> `round:1404`."""
    return f"round:{round_id}"


def ledger_subject(round_id: str, province: str) -> str:
    """(`1404`, `IR-20`) -> `ledger:1404/IR-20`, the seats of one province in one round."""
    return f"ledger:{round_id}/{province}"


def proposal_subject(round_id: str, proposal: str) -> str:
    """Return the subject of a proposal about the seats of a round, given its id (a UUIDv7)."""
    return f"proposal:{round_id}/{proposal}"


def lead_subject(lead: str) -> str:
    """Return the subject of a lead enterprise, given its id (a UUIDv7)."""
    return f"lead:{lead}"
