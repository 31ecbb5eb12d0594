"""The two readers of the fold: `python -m tests.bench.support.folding raw|fold KAFKA` prints costs as JSON."""

import asyncio
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from base.clock import system_clock
from base.garbage import BATCHES, collect_rarely
from base.kafka_access import KafkaAccess
from contracts import envelope
from contracts.subjects import PARTITIONS, kind_of
from contracts.topics import topics_consumed_by
from kernel.kafka.log_reader import LogReader
from kernel.record import Message, Record, consume
from reporting.domain import RULES
from reporting.domain.contributions import Deltas, add_contributions
from tests.bench.support.bare_scripts import decode

CHUNK = 50_000
Stages = dict[str, float]  # CPU seconds by stage


def partitions() -> list[TopicPartition]:
    """Return every partition that reporting consumes."""
    return [TopicPartition(topic, n) for topic in topics_consumed_by("reporting") for n in range(PARTITIONS)]


async def raw(kafka: KafkaAccess) -> tuple[int, float, Stages]:
    """Decode every event and keep none; return how many in how many seconds."""
    async with AIOKafkaConsumer(
        **kafka.options(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 << 20,
    ) as consumer:
        consumer.assign(partitions())
        wanted = sum((await consumer.end_offsets(partitions())).values())
        n, began = 0, time.perf_counter()
        while n < wanted:
            for records in (await consumer.getmany(timeout_ms=1_000, max_records=CHUNK)).values():
                for r in records:
                    decode(r.value)
                n += len(records)
        return n, time.perf_counter() - began, {}


async def fold(kafka: KafkaAccess) -> tuple[int, float, Stages]:
    """Fold the whole log into facts per applicant, and tally all, partition by partition, in memory."""
    reader, moment = LogReader(kafka, "bench-fold"), system_clock()()
    ends: Mapping[Any, int] = await reader.ends(partitions())
    tallies: Deltas = {}
    stages = defaultdict[str, float](float)
    n, began, at_cpu = 0, time.perf_counter(), time.process_time()

    def finish(stage: str) -> None:
        nonlocal at_cpu
        now = time.process_time()
        stages[stage] += now - at_cpu
        at_cpu = now

    for number in range(PARTITIONS):
        mine = {tp: end for tp, end in ends.items() if tp.partition == number}
        at = dict.fromkeys(mine, 0)
        known: dict[str, Record] = {}
        await reader.seek(at)
        while any(at[tp] < end for tp, end in mine.items()):
            by_subject = defaultdict[str, list[Message]](list)

            def group(record: Any, into: defaultdict[str, list[Message]] = by_subject) -> None:
                message = Message(envelope.decode(record.value), record.value)
                into[message.envelope.subject].append(message)

            fetched, at = await reader.read_chunk(mine, CHUNK, group)
            finish("fetch, decode, group")
            for subject, messages in by_subject.items():
                rules = RULES[kind_of(subject)]
                before = known.get(subject) or Record(subject=subject, state=rules.State())
                known[subject], _ = consume(before, rules, "reporting", messages, moment)
            n += len(fetched)
            finish("consume")
        for record in known.values():
            add_contributions(tallies, record.state)
        finish("contributions")
    seconds = time.perf_counter() - began
    await reader.stop()
    if not tallies:
        raise RuntimeError("nothing was counted")
    return n, seconds, dict(stages)


def main(arguments: Sequence[str]) -> None:
    """Read, and print one line of JSON."""
    reader, kafka = arguments
    collect_rarely(BATCHES)
    before = time.process_time()
    n, seconds, stages = uvloop.run({"raw": raw, "fold": fold}[reader](msgspec.json.decode(kafka, type=KafkaAccess)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    print(json.dumps({"events": n, "seconds": seconds, "cpu": time.process_time() - before, "memory": peak, **stages}))


async def in_process(what: str, kafka: KafkaAccess) -> dict[str, float]:
    """Run one of the readers in a process of its own; return what it prints."""
    command = [sys.executable, "-m", "tests.bench.support.folding", what, msgspec.json.encode(kafka).decode()]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the reader {what!r} failed, see its output above")
    output: dict[str, float] = json.loads(out)
    return output


if __name__ == "__main__":
    main(sys.argv[1:])
