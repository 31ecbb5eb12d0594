"""Workers on the real parts."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, TopicPartition

from base.clock import Moment
from contracts.events import CaseOpened
from contracts.subjects import PARTITIONS, partition_of
from kernel import record
from kernel.commands import execute, execute_many
from tests.kernel.test_record import message
from tests.support.small_services import NOON, PERIOD, POISON, Counting, Register, noon
from tests.support.small_workers import SmallSystem

pytestmark = pytest.mark.server
SUBJECT_OF_0 = next(f"p{n}" for n in range(1_000) if partition_of(f"p{n}") == 0)


def counted(small_system: SmallSystem, **expected: int) -> Any:
    """Whether exactly this is counted."""

    async def holds() -> bool:
        return await small_system.tallies().counts() == {f"IR-20/{name}": n for name, n in expected.items()}

    return holds


async def test_an_event_goes_from_a_request_to_the_tallies_and_back(small_system: SmallSystem) -> None:
    """execute, relay, Kafka, worker, process, record; the clock's call on the way."""
    later = NOON + PERIOD
    for service in ("registration", "screening", "reporting"):
        small_system.start(small_system.worker(service, lambda: Moment(later, later)))
    asking = small_system.store("registration")
    people = [f"p{n}" for n in range(100)]
    await asyncio.gather(*(execute(asking, p, Register(), noon) for p in people))
    await small_system.until(counted(small_system, ApplicantRegistered=100, CaseOpened=100))

    async def heard() -> bool:
        return {r.state.heard for r in (await asking.read(people)).values()} == {("CaseOpened",)}

    await small_system.until(heard)
    later += PERIOD
    await small_system.until(counted(small_system, ApplicantRegistered=100, CaseOpened=100, CaseBreached=100))
    assert not await asking.waiting(range(PARTITIONS), 10)


async def test_a_stranger_on_the_topic_stops_nobody(small_system: SmallSystem) -> None:
    """Garbage goes to the list, kinds without rules are read past, control records are no holes for ever."""
    await small_system.say("registration", message("registration", 1, subject="round:1404"))
    worker = small_system.start(small_system.worker("reporting"))

    async def assigned() -> bool:
        return worker.assigned

    await small_system.until(assigned)
    stranger = AIOKafkaProducer(bootstrap_servers=small_system.servers.kafka, transactional_id=small_system.name)
    await stranger.start()
    garbage = [(b"k", b"\xff\xfe"), (b"k", b"{" * 5_000), (None, b"{}"), (b"k", None), (b"k", b'{"type":"x"}')]
    for said in range(1, 5):
        async with stranger.transaction():
            for key, value in garbage:
                await stranger.send(small_system.topics["registration"], value, key, partition=0)
        await small_system.say("registration", message("registration", said, subject=SUBJECT_OF_0))
        await small_system.until(counted(small_system, ApplicantRegistered=said))
        if said == 3:
            with pytest.raises(ZeroDivisionError):
                async with stranger.transaction():
                    await stranger.send(small_system.topics["registration"], b"aborted", b"k", partition=0)
                    raise ZeroDivisionError
    await stranger.stop()
    await small_system.until(small_system.at_end)  # the last record of the log is no event
    assert await worker.store.unreadable.count_documents({}) == 4 * len(garbage) + 1
    assert not worker.consumer.behind and await worker.ready() == []


async def test_nine_thousand_parked_events_of_one_subject_drain(small_system: SmallSystem) -> None:
    """In transactions of bounded size, from the log where only the places were kept."""
    others = [message("registration", 1, subject=f"p{n}") for n in range(100)]
    late = [message("registration", n, subject="late") for n in range(2, 9_001)]
    await small_system.say("registration", *late[:5_000], *others, *late[5_000:])
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.until(counted(small_system, ApplicantRegistered=100))
    await small_system.until(small_system.at_end)
    await small_system.say("registration", message("registration", 1, subject="late"))
    await small_system.until(counted(small_system, ApplicantRegistered=9_100))
    assert not (await worker.store.read(["late"]))["late"].parked


async def test_an_event_kept_as_its_place_is_fetched_when_its_turn_comes(
    small_system: SmallSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing moves in its record but what was handled before it."""
    monkeypatch.setattr(record, "PARKED_EVENTS", 0)
    small_system.start(small_system.worker("reporting"))
    await small_system.say("registration", message("registration", 2, subject="p"))
    await small_system.until(small_system.at_end)
    await small_system.say("registration", message("registration", 1, subject="p"))
    await small_system.until(counted(small_system, ApplicantRegistered=2))


async def test_stranded_events_are_fetched_after_a_restart_and_a_retry(small_system: SmallSystem) -> None:
    """Whoever owns the partition next finds them."""
    worker = small_system.start(small_system.worker("reporting"))
    poison = message("registration", 1, subject="p", field=POISON)
    await small_system.say("registration", poison, *(message("registration", n, subject="p") for n in range(2, 500)))
    await small_system.until(small_system.at_end)
    await small_system.stop(worker)
    from recovery.dead_letters import mend

    await mend(worker.store, "p", "registration", "discard", "operator:o", "poison", noon, small_system.tallies().move)
    assert (await worker.store.stranded(range(PARTITIONS), 9)) == ["p"]
    small_system.start(small_system.worker("reporting"))
    await small_system.until(counted(small_system, ApplicantRegistered=498))


async def test_cursors_from_0_again_have_no_effect(small_system: SmallSystem) -> None:
    """A whole service reads everything a second time."""
    for service in ("registration", "screening", "reporting"):
        small_system.start(small_system.worker(service))
    people = [f"p{n}" for n in range(300)]
    await execute_many(small_system.store("registration"), dict.fromkeys(people, Register()), noon)
    expected = counted(small_system, ApplicantRegistered=300, CaseOpened=300)
    await small_system.until(expected)
    await small_system.until(small_system.at_end)
    for worker in list(small_system.running):
        await small_system.stop(worker)
    for service in ("registration", "screening", "reporting"):
        await small_system.store(service).positions.update_many({}, {"$set": {"next": 0}})
        small_system.start(small_system.worker(service))
    await small_system.until(small_system.at_end)
    await asyncio.sleep(0.5)
    assert await small_system.at_end() and await expected()
    assert {r.last_sequence for r in (await small_system.store("screening").read(people)).values()} == {1}


async def test_a_log_that_lacks_what_the_cursor_needs_is_said(small_system: SmallSystem) -> None:
    """Truncated, and not skipped; the other partitions flow on."""
    await small_system.say("registration", *(message("registration", n, subject=SUBJECT_OF_0) for n in range(1, 11)))
    gone = TopicPartition(small_system.topics["registration"], 0)

    def truncate() -> None:
        client = KafkaAdminClient(bootstrap_servers=small_system.servers.kafka)
        client.delete_records({gone: 5})
        client.close()

    await asyncio.to_thread(truncate)
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.say("registration", message("registration", 1, subject="p1"))
    await small_system.until(counted(small_system, ApplicantRegistered=1))
    (reason,) = await worker.ready()
    assert "the log has 5 to 10" in reason
    assert await worker.store.cursors([gone]) == {gone: 0} and 0 in worker.partitions


async def test_a_topic_made_anew_is_noticed(small_system: SmallSystem) -> None:
    """Even where its new log has grown past the cursor already."""
    topic = small_system.topics["registration"]
    await small_system.say("registration", *(message("registration", 1, subject=f"p{n}") for n in range(100)))
    worker = small_system.start(small_system.worker("reporting"))
    await small_system.until(counted(small_system, ApplicantRegistered=100))
    await small_system.stop(worker)
    await asyncio.to_thread(small_system.unmake, topic)
    await asyncio.to_thread(small_system.make, topic)
    await small_system.say("registration", *(message("registration", 9, subject=f"q{n}") for n in range(1_000)))
    worker = small_system.start(small_system.worker("reporting"))

    async def said() -> bool:
        return any("and 31 more: the topic was made anew" in reason for reason in await worker.ready())

    await small_system.until(said)
    assert len(await worker.ready()) == 1
    assert await counted(small_system, ApplicantRegistered=100)()


async def test_newer_rules_pause_the_older(small_system: SmallSystem) -> None:
    """Nothing is consumed, the process stays and says so; what it emitted still leaves."""

    class Newer(Counting):
        VERSION = 2

    from kernel.stores.mongodb import MongoStore

    newer = MongoStore(small_system.store("reporting").database, "reporting", {"applicant": Newer})  # type: ignore[dict-item]
    worker = small_system.start(small_system.worker("reporting", store=newer))
    await small_system.say("registration", message("registration", 1, subject="p"))
    await small_system.until(counted(small_system, ApplicantRegistered=1))
    await small_system.stop(worker)
    older = small_system.start(small_system.worker("reporting"))
    await small_system.say("registration", message("registration", 2, subject="p"))

    async def paused() -> bool:
        return "rules 2, these are 1" in older.paused

    await small_system.until(paused)
    assert any("paused" in reason for reason in await older.ready())
    assert await counted(small_system, ApplicantRegistered=1)()


async def test_many_faults_pause_and_a_mended_version_goes_on(small_system: SmallSystem) -> None:
    """Twenty in a row; what was not parked is read again."""
    await small_system.say(
        "registration", *(message("registration", 1, subject=f"p{n}", field=POISON) for n in range(100))
    )
    worker = small_system.start(small_system.worker("reporting"))

    async def paused() -> bool:
        return "TooManyFaults" in worker.paused

    await small_system.until(paused)
    await small_system.stop(worker)
    assert await worker.store.records.count_documents({"faulty_since": {"$exists": True}}) < 20


async def test_a_screening_that_answers_opens_each_case_once(small_system: SmallSystem) -> None:
    """Repeats on the topic, the same batch twice: one answer each."""
    said = [message("registration", 1, subject=f"p{n}") for n in range(200)]
    await small_system.say("registration", *said, *said)
    small_system.start(small_system.worker("screening"))
    small_system.start(small_system.worker("reporting"))
    await small_system.until(counted(small_system, ApplicantRegistered=200, CaseOpened=200))
    await small_system.say("registration", *said)
    await small_system.until(small_system.at_end)
    assert await counted(small_system, ApplicantRegistered=200, CaseOpened=200)()
    assert CaseOpened.TYPE
