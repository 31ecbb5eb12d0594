"""Workers on real servers: events from a command to the tallies, and everything on a topic that can go wrong."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, TopicPartition
from msgspec.structs import replace

from base.clock import Moment
from contracts.envelope import Envelope
from contracts.subjects import PARTITIONS, partition_of
from kernel.batch import SUBJECTS_LIMIT
from kernel.commands import execute, execute_many
from kernel.errors import Transient
from kernel.roles.worker import Worker
from observability import metrics
from recovery.parked_events import discard_one
from tests.support.messages import message, unknown
from tests.support.small_services import NOON, PERIOD, POISON, Register, ReportingRules, noon
from tests.support.small_workers import WITHIN, SmallSystem, counted

pytestmark = pytest.mark.server
SERVICES = ("registration", "screening", "reporting")
SUBJECT_OF_0 = next(f"p{n}" for n in range(1_000) if partition_of(f"p{n}") == 0)


class Fixed(ReportingRules):
    """The rules of reporting without the fault."""

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        return ReportingRules.evolve(state, replace(envelope, context=replace(envelope.context, field="honey")))


async def codes(worker: Worker) -> list[str]:
    """Return why a worker is not ready."""
    return [reason.code for reason in await worker.ready()]


async def test_an_event_goes_from_a_command_to_the_tallies_and_back(small_system: SmallSystem) -> None:
    """execute, relay, Kafka, worker, process, record; the scheduler's ticks on the way."""
    later = NOON + PERIOD
    for service in SERVICES:
        small_system.start(small_system.worker(service, lambda: Moment(later, later)))
    registration = small_system.store("registration")
    people = [f"p{n}" for n in range(100)]
    await asyncio.gather(*(execute(registration, p, Register(), noon) for p in people))
    await small_system.settles({"ApplicantRegistered": 100, "CaseOpened": 100})
    assert {r.state.consumed for r in (await registration.read(people)).values()} == {("CaseOpened",)}
    later += PERIOD
    await small_system.settles({"ApplicantRegistered": 100, "CaseOpened": 100, "CaseBreached": 100})
    assert {r.state.consumed for r in (await registration.read(people)).values()} == {("CaseOpened", "CaseBreached")}
    assert not await registration.pending(range(PARTITIONS), 10)


async def test_foreign_records_on_a_topic_stop_nothing(small_system: SmallSystem) -> None:
    """Bytes that hold no event, events of another source and control records are passed over; events flow.

    What cannot be decoded is kept; kinds of subjects without rules are not.
    """
    await small_system.publish("registration", message("registration", 1, subject="round:1404"))
    worker = small_system.start(small_system.worker("reporting"))

    async def assigned() -> bool:
        return worker.assigned

    await small_system.until(assigned)
    foreign = AIOKafkaProducer(**small_system.servers.kafka.options(), transactional_id=small_system.name)
    await foreign.start()
    another_source = message("screening", 1, subject=SUBJECT_OF_0).raw
    records = [
        (b"k", b"\xff\xfe"),
        (b"k", b"{" * 5_000),
        (None, b"{}"),
        (b"k", None),
        (b"k", b'{"type":"x"}'),
        (SUBJECT_OF_0.encode(), another_source),
    ]
    for n in range(1, 5):
        async with foreign.transaction():
            for key, value in records:
                await foreign.send(small_system.topics["registration"], value, key, partition=0)
        await small_system.publish("registration", message("registration", n, subject=SUBJECT_OF_0))
        await small_system.until(counted(small_system, ApplicantRegistered=n))
        if n == 3:
            with pytest.raises(ZeroDivisionError):
                async with foreign.transaction():
                    await foreign.send(small_system.topics["registration"], b"aborted", b"k", partition=0)
                    raise ZeroDivisionError
    await foreign.stop()
    await small_system.settles({"ApplicantRegistered": 4})  # the last record of the log is a control record
    kept = await worker.store.undecodable.find({}).to_list()
    assert len(kept) == 4 * len(records) + 1
    wrong_source = [d for d in kept if d["raw"] == another_source]
    assert len(wrong_source) == 4 and {d["why"] for d in wrong_source} == {
        "an event of screening in the topic of another producer"
    }
    assert not worker.consumer.behind and await worker.ready() == []


async def test_a_repeated_transaction_counts_its_undecodable_record_once(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = small_system.worker("reporting")
    transact, attempts = worker.store.transact, 0

    async def twice(*args: Any, **options: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise Transient("as while the database elects a primary")
        return await transact(*args, **options)

    monkeypatch.setattr(worker.store, "transact", twice)
    topic = small_system.topics["registration"]
    producer = AIOKafkaProducer(**small_system.servers.kafka.options())
    await producer.start()
    await producer.send_and_wait(topic, b"{", b"k", partition=0)
    await producer.stop()
    await small_system.publish("registration", message("registration", 1, subject=SUBJECT_OF_0))
    small_system.start(worker)
    await small_system.settles({"ApplicantRegistered": 1})
    assert attempts > 1
    assert metrics.UNDECODABLE.labels("reporting", topic, "0")._value.get() == 1


async def test_nine_thousand_parked_events_of_one_subject_drain(small_system: SmallSystem) -> None:
    """They drain in transactions of bounded size, and other subjects do not wait for them."""
    others = [message("registration", 1, subject=f"p{n}") for n in range(100)]
    late = [message("registration", n, subject="late") for n in range(2, 9_001)]
    await small_system.publish("registration", *late[:5_000], *others, *late[5_000:])
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": 100})
    (head,) = await worker.store.parked.heads(["early"])
    assert (head.sequence, head.behind) == (2, 8_998)
    assert await worker.store.parked.collection.count_documents({}) == 8_999
    await small_system.publish("registration", message("registration", 1, subject="late"))
    await small_system.settles({"ApplicantRegistered": 9_100})
    assert not await worker.store.parked.collection.count_documents({})


async def test_parked_events_that_are_ready_drain_after_a_restart(small_system: SmallSystem) -> None:
    """What became ready while no worker ran, here by a discard, drains when one is assigned the partition."""
    worker = small_system.start(small_system.worker("reporting"))
    poison = message("registration", 1, field=POISON)
    await small_system.publish("registration", poison, *(message("registration", n) for n in range(2, 500)))
    await small_system.settles({})
    await small_system.stop(worker)
    source, move = ("p", "registration"), small_system.tallies().move
    assert await discard_one(worker.store, source, 1, "nonsense", "operator:o1", noon, move)
    assert await worker.store.parked.ready(range(PARTITIONS), 9) == [source]
    small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": 498})


async def test_an_assignment_retries_what_may_be_handled_now(small_system: SmallSystem) -> None:
    """Newer rules, unreadable records and early events are released; faults wait for an operator, unknown types

    for a version that knows them.
    """
    worker = small_system.start(small_system.worker("reporting"))
    subjects = ("newer", "unreadable")
    await small_system.publish("registration", *(message("registration", 1, subject=s) for s in subjects))
    await small_system.settles({"ApplicantRegistered": 2})
    records = worker.store.records
    await records.update_one({"_id": "newer"}, {"$set": {"rules_version": 2}})
    state = (await records.find_one({"_id": "unreadable"}) or {})["state"]
    await records.update_one({"_id": "unreadable"}, {"$set": {"state": "{"}})
    await small_system.publish(
        "registration",
        *(message("registration", n, subject=s) for s in subjects for n in (2, 3)),
        message("registration", 1, subject="fault", field=POISON),
        unknown(1, "unknown"),
        message("registration", 2, subject="early"),
    )
    await small_system.settles({"ApplicantRegistered": 2})
    reasons = ["newer_rules", "unreadable_record", "fault", "unknown_type", "early"]
    heads = {each.subject: each.reason for each in await worker.store.parked.heads(reasons)}  # type: ignore[arg-type]
    assert heads == dict(zip((*subjects, "fault", "unknown", "early"), reasons, strict=True))
    await small_system.stop(worker)
    await records.update_one({"_id": "newer"}, {"$set": {"rules_version": 1}})
    await records.update_one({"_id": "unreadable"}, {"$set": {"state": state}})
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": 6})
    heads = {each.subject: each.reason for each in await worker.store.parked.heads(reasons)}  # type: ignore[arg-type]
    assert heads == {"fault": "fault", "unknown": "unknown_type", "early": "early"}
    assert await worker.ready() == []


async def test_a_log_that_is_consumed_again_changes_nothing(small_system: SmallSystem) -> None:
    """All cursors of all services are reset to 0."""
    for service in SERVICES:
        small_system.start(small_system.worker(service))
    people = [f"p{n}" for n in range(300)]
    await execute_many(small_system.store("registration"), dict.fromkeys(people, Register()), noon)
    expected = {"ApplicantRegistered": 300, "CaseOpened": 300}
    await small_system.settles(expected)
    for worker in list(small_system.running):
        await small_system.stop(worker)
    for service in SERVICES:
        await small_system.store(service).positions.update_many({}, {"$set": {"next": 0}})
    assert not await small_system.at_end()
    for service in SERVICES:
        small_system.start(small_system.worker(service))
    await small_system.settles(expected)
    assert {r.last_sequence for r in (await small_system.store("screening").read(people)).values()} == {1}


async def test_a_truncated_log_is_reported_and_not_skipped(small_system: SmallSystem) -> None:
    """The log lacks what the cursor needs: that partition stops, the others flow on."""
    events = [message("registration", n, subject=SUBJECT_OF_0) for n in range(1, 11)]
    await small_system.publish("registration", *events)
    truncated = TopicPartition(small_system.topics["registration"], 0)

    def truncate() -> None:
        client = KafkaAdminClient(**small_system.servers.kafka.options())
        client.delete_records({truncated: 5})
        client.close()

    await asyncio.to_thread(truncate)
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.publish("registration", message("registration", 1, subject="p1"))
    await small_system.until(counted(small_system, ApplicantRegistered=1))
    await asyncio.sleep(1)
    assert await counted(small_system, ApplicantRegistered=1)()
    (reason,) = await worker.ready()
    assert reason.code == "log_broken" and "the log has 5 to 10" in reason.text
    assert (reason.topic, reason.partition) == (truncated.topic, 0)
    assert await worker.store.cursors([truncated]) == {truncated: 0} and 0 in worker.consumer.partitions


async def test_a_recreated_topic_is_noticed(small_system: SmallSystem) -> None:
    """Its new log may have grown past the cursor already."""
    topic = small_system.topics["registration"]
    await small_system.publish("registration", *(message("registration", 1, subject=f"p{n}") for n in range(100)))
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": 100})
    await small_system.stop(worker)
    await asyncio.to_thread(small_system.delete_topic, topic)
    await asyncio.to_thread(small_system.create_topics, topic)
    await small_system.publish("registration", *(message("registration", 9, subject=f"q{n}") for n in range(1_000)))
    worker = small_system.start(small_system.worker("reporting"))

    async def noticed() -> bool:
        return await codes(worker) == ["log_broken"]  # perhaps before any partition is assigned

    await small_system.until(noticed)
    (reason,) = await worker.ready()
    assert "and 31 more: the topic was recreated" in reason.text
    assert await counted(small_system, ApplicantRegistered=100)()


async def test_a_fault_of_many_subjects_pauses_the_consumer(small_system: SmallSystem) -> None:
    """The process stays and reports it; a version without the fault handles what was not parked."""
    subjects = [f"p{n}" for n in range(3 * SUBJECTS_LIMIT)]
    await small_system.publish("registration", *(message("registration", 1, subject=s, field=POISON) for s in subjects))
    worker = small_system.start(small_system.worker("reporting"))

    async def paused() -> bool:
        return bool(worker.paused)

    await small_system.until(paused)
    assert "ValueError in ReportingRules.evolve" in worker.paused and await codes(worker) == ["paused"]
    assert await worker.store.parked.collection.count_documents({}) <= SUBJECTS_LIMIT
    await small_system.stop(worker)
    small_system.start(small_system.worker("reporting", store=small_system.store("reporting", Fixed)))
    await worker.store.parked.release(["fault"])
    await small_system.settles({"ApplicantRegistered": len(subjects)})


async def test_repeated_events_open_each_case_once(small_system: SmallSystem) -> None:
    """Events are repeated on the topic, within one batch and later: one reaction each."""
    events = [message("registration", 1, subject=f"p{n}") for n in range(200)]
    await small_system.publish("registration", *events, *events)
    small_system.start(small_system.worker("screening"))
    small_system.start(small_system.worker("reporting"))
    await small_system.settles({"ApplicantRegistered": 200, "CaseOpened": 200})
    await small_system.publish("registration", *events)
    await small_system.settles({"ApplicantRegistered": 200, "CaseOpened": 200})


async def test_settles_notices_an_event_that_is_counted_late(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary: the tallies agree, and change again while the system should be quiet."""
    small_system.start(small_system.worker("reporting"))
    await small_system.publish("registration", message("registration", 1))
    await small_system.settles({"ApplicantRegistered": 1})

    settled, look = asyncio.Event(), small_system._unsettled

    async def looking(*of: Any) -> Any:
        if not (found := await look(*of)):
            settled.set()
        return found

    monkeypatch.setattr(small_system, "_unsettled", looking)

    async def count_late() -> None:
        await settled.wait()
        await small_system.publish("registration", message("registration", 2))

    late = asyncio.create_task(count_late())
    with pytest.raises(AssertionError, match="changed after the system had settled"):
        await small_system.settles({"ApplicantRegistered": 1}, quiet=WITHIN)  # however late a busy machine counts it
    await late
    with pytest.raises(AssertionError, match=r"not .* within"):
        await small_system.settles({"ApplicantRegistered": 3}, within=0.5)


async def test_a_former_assignment_does_not_replace_the_present_one(small_system: SmallSystem) -> None:
    """faust calls `resume` for a new assignment while the last one still waits for Kafka, and retries."""
    worker = small_system.worker("reporting")
    topic = small_system.consumes["reporting"][0]
    former = present = {TopicPartition(topic, p) for p in range(32)}
    waiting, answered, read = asyncio.Event(), asyncio.Event(), worker.consumer.topic_ids

    async def slow_at_first(topics: Any) -> Any:
        if not waiting.is_set():
            waiting.set()
            await answered.wait()
            raise Transient("no answer")
        return await read(topics)

    worker.consumer.topic_ids = slow_at_first
    first = asyncio.create_task(worker._resume(lambda: present))
    await waiting.wait()
    present = {TopicPartition(topic, p) for p in range(16)}
    offsets = await worker._resume(lambda: present)
    answered.set()
    assert offsets.keys() == (await first).keys() == present != former
    assert worker.consumer.owned == worker.consumer.cursors.keys() == present
    await worker.reader.stop()
    worker.topic_ids.close()


async def test_partitions_that_are_reassigned_during_an_attempt_are_not_taken_over(small_system: SmallSystem) -> None:
    worker = small_system.worker("reporting")
    topic = small_system.consumes["reporting"][0]
    answers = [{TopicPartition(topic, p)} for p in (0, 1)]
    with pytest.raises(Transient, match="meanwhile"):
        await worker.consumer.resume(lambda: answers.pop(0))
    assert not worker.consumer.owned and not worker.consumer.cursors
    await worker.reader.stop()
    worker.topic_ids.close()
