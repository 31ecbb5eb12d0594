"""After a restore: what the log has of a service and its store forgot is put back, before anything else happens.

A restored store is older than the log. What it had said since, others have heard: said anew under the same sequence it
would be dropped as a repeat, silently. So the service first reads its own topic and takes back its own events; and what
those answer counts as handled, else it would be answered twice.

Whoever restores leaves a mark (`restored.mark`); the first worker completes and takes it away. Until then no API serves
and no worker consumes, relays or calls.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from msgspec.structs import replace

from base.clock import Clock
from contracts.envelope import DecodeError, decode
from contracts.subjects import PARTITIONS, kind_of
from kernel.errors import Transient
from kernel.kafka.log_reader import LogReader
from kernel.record import LogPosition, Record
from kernel.store import Changes, Known
from kernel.stores.mongodb import MongoStore, translate_errors
from recovery.missing_events import Forgotten, recall
from recovery.restore import MARK, Mark, marked

SUBJECTS = 500  # in one transaction
PAUSE = 5.0  # seconds before what failed is tried again

Raws = dict[str, dict[int, bytes]]  # of some subjects or sources, by sequence

log = structlog.get_logger(__name__)


class Completed(msgspec.Struct, frozen=True):
    """What the log gave back."""

    events: int = 0
    records: int = 0
    new: int = 0  # records that the backup did not have at all; what no event tells of them is lost
    missing: tuple[str, ...] = ()  # answered, and no longer in the log


async def complete(store: MongoStore, heard: Collection[str], reader: LogReader, clock: Clock) -> Completed | None:
    """Completes a restored store and takes the mark away; nothing where there is none. Doing it again changes nothing.

    Raises Forgotten, Transient, KafkaError.
    """
    found = await marked(store)
    if found is None:
        return None
    if not found.whole:
        raise Forgotten("the restore has not come to its end: restore it again")
    done = Completed()
    for partition in range(PARTITIONS) if found.topic else ():
        done = _sum(done, await _partition(store, found, heard, reader, clock, partition))
    async with translate_errors():
        await store.database[MARK].delete_one({"_id": MARK})
    told = {name: value for name, value in msgspec.structs.asdict(done).items() if name != "missing"}
    log.warning("completed", **told, missing=len(done.missing), first_missing=done.missing[:10])
    return done


async def until_complete(
    store: MongoStore,
    heard: Collection[str],
    reader: LogReader,
    clock: Clock,
    say: Callable[[str], None],
    stop: asyncio.Event,
) -> None:
    """Returns when the store is whole, or `stop` is set; says meanwhile why it is not."""
    while not stop.is_set():
        try:
            if await marked(store):
                say("the store was restored from a backup and is being completed from the log")
            await complete(store, heard, reader, clock)
            say("")
            return
        except (Forgotten, Transient, KafkaError, OSError, TimeoutError) as e:
            say(f"the store was restored from a backup and cannot be completed: {e}")
            log.error("completing", trouble=repr(e))
        try:
            await asyncio.wait_for(stop.wait(), PAUSE)
        except TimeoutError:
            continue


async def _partition(
    store: MongoStore, found: Mark, heard: Collection[str], reader: LogReader, clock: Clock, partition: int
) -> Completed:
    """One partition of the own topic: all that is said about a subject lies in it, and in that number of the others."""
    tp = TopicPartition(found.topic, partition)
    begin, end = (await reader.begins([tp]))[tp], (await reader.ends([tp]))[tp]
    since = found.begins.get(str(partition), 0)
    starts = [since, begin] if begin < since <= end else [begin]
    while True:
        own = await _events(reader, tp, starts.pop(0), end, lambda source, _: source == store.service)
        try:
            return await _complete(store, _by_subject(own), heard, reader, clock, partition)
        except Forgotten:
            if not starts:  # even the whole log does not tell
                raise


async def _complete(
    store: MongoStore, own: Raws, heard: Collection[str], reader: LogReader, clock: Clock, partition: int
) -> Completed:
    done, lacking = Completed(), []
    subjects = sorted(s for s in own if kind_of(s) in store.rules)
    for start in range(0, len(subjects), SUBJECTS):
        known = await store.read(subjects[start : start + SUBJECTS])
        lacking += [r for s, r in known.items() if max(own[s]) > r.last_sequence]
    if not lacking:
        return done
    told = await _heard(store, lacking, heard, reader, partition)
    for start in range(0, len(lacking), SUBJECTS):
        batch = [r.subject for r in lacking[start : start + SUBJECTS]]
        done = _sum(done, await _recall(store, batch, own, told, clock))
    return done


async def _recall(
    store: MongoStore, batch: Sequence[str], own: Raws, told: Mapping[str, Raws], clock: Clock
) -> Completed:
    done, relayed = Completed(), dict[str, int]()

    def change(known: Known) -> Changes:
        nonlocal done
        done, moment, changes = Completed(), clock(), []
        relayed.clear()
        for subject in batch:
            before = known[subject]
            rules = store.rules[kind_of(subject)]
            after, missing = recall(before, rules, store.service, own[subject], told.get(subject, {}), moment)
            if after is not before:
                changes.append((before, replace(after, version=before.version + 1)))
                relayed[subject] = max(own[subject])
                events = relayed[subject] - before.last_sequence
                done = _sum(done, Completed(events, 1, int(before.version == 0), tuple(missing)))
        return changes

    await store.transact(batch, change)
    if relayed:
        await store.mark_relayed(relayed)  # the log has them: nobody need be told again
    return done


async def _heard(
    store: MongoStore, lacking: Sequence[Record], heard: Collection[str], reader: LogReader, partition: int
) -> dict[str, Raws]:
    """What others said about these subjects since the store's cursors, and what of it the records had parked."""
    wanted = {r.subject for r in lacking}
    found: dict[str, Raws] = {s: {} for s in wanted}
    places: dict[TopicPartition, list[int]] = {}
    for record in lacking:
        for source, parked in record.parked.items():
            kept = found[record.subject].setdefault(source, {})
            for sequence, waits in parked.envelopes.items():
                if isinstance(waits, LogPosition):
                    places.setdefault(TopicPartition(waits.topic, waits.partition), []).append(waits.offset)
                else:
                    kept[sequence] = waits
    raws = [r.value for tp, offsets in places.items() for r in await reader.pick(tp, sorted(offsets))]
    tps = [TopicPartition(topic, partition) for topic in heard]
    cursors, begins, ends = await store.cursors(tps), await reader.begins(tps), await reader.ends(tps)
    for tp in tps:
        start = max(cursors[tp], begins[tp])
        raws += await _events(reader, tp, start, ends[tp], lambda _, subject: subject in wanted)
    for raw in raws:
        e = decode(raw)
        found[e.subject].setdefault(e.source, {})[e.sequence] = raw
    return found


async def _events(
    reader: LogReader, tp: TopicPartition, start: int, end: int, wanted: Callable[[str, str], bool]
) -> list[bytes]:
    """The events of one partition between two offsets whose (source, subject) is wanted; the rest is read past."""
    found: list[bytes] = []
    if start >= end:
        return found
    await reader.seek({tp: start})
    at = {tp: start}
    while at[tp] < end:
        records, at = await reader.stride({tp: end})
        for r in records:
            try:
                e = decode(r.value or b"")
            except DecodeError:
                continue
            if r.offset < end and wanted(e.source, e.subject):
                found.append(r.value)
    return found


def _by_subject(raws: Sequence[bytes]) -> Raws:
    found: Raws = {}
    for raw in raws:
        e = decode(raw)
        found.setdefault(e.subject, {}).setdefault(e.sequence, raw)
    return found


def _sum(one: Completed, other: Completed) -> Completed:
    return Completed(
        one.events + other.events, one.records + other.records, one.new + other.new, one.missing + other.missing
    )
