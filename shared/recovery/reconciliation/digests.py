"""What a service holds of the subjects of one partition: a line for each, and a digest of the lines of each bucket.

A line is subject, sequence and digest of the last event of one source about it. Producer and consumer of a source have
the same lines once all events are handled.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any
from zlib import crc32

from contracts.subjects import PARTITIONS, kind_of, partition_of
from kernel.record import Record
from kernel.store import Store
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, translate_errors

BUCKETS = 1_024
BATCH = 2_000  # documents decoded at once: the event loop is free in between

Lines = dict[int, list[str]]  # by bucket


def bucket_of(subject: str) -> int:
    """Return the bucket of a subject, within its partition."""
    return crc32(subject.encode()) // PARTITIONS % BUCKETS


def digests(lines: Mapping[int, Collection[str]], kinds: Collection[str]) -> list[str]:
    """Return the digest of each bucket as far as it is about these kinds of subjects; "" of an empty one."""
    return [_digest(each for each in lines.get(bucket, ()) if kind_of(each) in kinds) for bucket in range(BUCKETS)]


def _digest(lines: Iterable[str]) -> str:
    whole = "\n".join(sorted(lines))
    return blake2b(whole.encode(), digest_size=8).hexdigest() if whole else ""


async def own_lines(store: Store, partition: int) -> Lines:
    """Return the lines of the events that a service has emitted. Raise Transient."""
    found = defaultdict[int, list[str]](list)
    async for d in _documents(store, partition, "last_sequence", "last_hash"):
        if last := d["last_sequence"]:
            subject = d["_id"]
            found[bucket_of(subject)].append(f"{subject} {last} {d['last_hash']}")
    return found


async def consumed_lines(store: Store, partition: int, sources: Collection[str]) -> dict[str, Lines]:
    """Return the lines of the events that a service has handled, by source. Raise Transient."""
    found = {source: defaultdict[int, list[str]](list) for source in sources}
    async for d in _documents(store, partition, "inbox", "inbox_hashes"):
        subject, hashes = d["_id"], d.get("inbox_hashes", {})
        bucket = bucket_of(subject)
        for source, last in d["inbox"].items():
            if source in found:
                found[source][bucket].append(f"{subject} {last} {hashes.get(source, '')}")
    return {source: lines for source, lines in found.items()}


async def _documents(store: Store, partition: int, *fields: str) -> AsyncIterator[Mapping[str, Any]]:
    """Yield these fields of each record of a partition, and its subject as `_id`."""
    if isinstance(store, MemoryStore):
        for record in _of_partition(store, partition):
            yield {"_id": record.subject, **{name: getattr(record, name) for name in fields}}
        return
    assert isinstance(store, MongoStore)
    async with translate_errors():
        cursor = store.records.find({"partition": partition}, dict.fromkeys(fields, 1), batch_size=BATCH)
        while documents := await cursor.to_list(BATCH):
            for d in documents:
                if isinstance(d.get(fields[0]), int | dict):  # a modified record is reported by those who read it
                    yield d


def _of_partition(store: MemoryStore, partition: int) -> list[Record]:
    return [record for subject, record in store.records.items() if partition_of(subject) == partition]
