"""Workers on the real parts."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from kafka import KafkaAdminClient, TopicPartition

from contracts.events import CaseOpened
from contracts.subjects import PARTITIONS, partition_of
from plumbing import record
from plumbing.clock import Moment
from plumbing.store import execute, execute_many
from tests.plumbing.country import NOON, PERIOD, POISON, Counting, Register, noon
from tests.plumbing.running import Country
from tests.plumbing.test_record import message

pytestmark = pytest.mark.server
SUBJECT_OF_0 = next(f"p{n}" for n in range(1_000) if partition_of(f"p{n}") == 0)


def counted(country: Country, **expected: int) -> Any:
    """Whether exactly this is counted."""

    async def holds() -> bool:
        return await country.tallies().counts() == {f"IR-20/{name}": n for name, n in expected.items()}

    return holds


async def test_an_event_goes_from_a_request_to_the_tallies_and_back(country: Country) -> None:
    """execute, relay, Kafka, worker, process, record; the clock's call on the way."""
    later = NOON + PERIOD
    for service in ("registration", "screening", "reporting"):
        country.start(country.worker(service, lambda: Moment(later, later)))
    asking = country.store("registration")
    people = [f"p{n}" for n in range(100)]
    await asyncio.gather(*(execute(asking, p, Register(), noon) for p in people))
    await country.until(counted(country, ApplicantRegistered=100, CaseOpened=100))

    async def heard() -> bool:
        return {r.state.heard for r in (await asking.read(people)).values()} == {("CaseOpened",)}

    await country.until(heard)
    later += PERIOD
    await country.until(counted(country, ApplicantRegistered=100, CaseOpened=100, CaseBreached=100))
    assert not await asking.waiting(range(PARTITIONS), 10)


async def test_a_stranger_on_the_topic_stops_nobody(country: Country) -> None:
    """Garbage goes to the list, kinds without rules are read past, control records are no holes for ever."""
    await country.say("registration", message("registration", 1, subject="round:1404"))
    worker = country.start(country.worker("reporting"))

    async def assigned() -> bool:
        return worker.assigned

    await country.until(assigned)
    stranger = AIOKafkaProducer(bootstrap_servers=country.parts.kafka, transactional_id=country.name)
    await stranger.start()
    garbage = [(b"k", b"\xff\xfe"), (b"k", b"{" * 5_000), (None, b"{}"), (b"k", None), (b"k", b'{"type":"x"}')]
    for said in range(1, 5):
        async with stranger.transaction():
            for key, value in garbage:
                await stranger.send(country.topics["registration"], value, key, partition=0)
        await country.say("registration", message("registration", said, subject=SUBJECT_OF_0))
        await country.until(counted(country, ApplicantRegistered=said))
        if said == 3:
            with pytest.raises(ZeroDivisionError):
                async with stranger.transaction():
                    await stranger.send(country.topics["registration"], b"aborted", b"k", partition=0)
                    raise ZeroDivisionError
    await stranger.stop()
    await country.until(country.at_end)  # the last record of the log is no event
    assert await worker.store.unreadable.count_documents({}) == 4 * len(garbage) + 1
    assert not worker.consumer.behind and await worker.ready() == []


async def test_nine_thousand_parked_events_of_one_subject_drain(country: Country) -> None:
    """In transactions of bounded size, from the log where only the places were kept."""
    others = [message("registration", 1, subject=f"p{n}") for n in range(100)]
    late = [message("registration", n, subject="late") for n in range(2, 9_001)]
    await country.say("registration", *late[:5_000], *others, *late[5_000:])
    worker = country.start(country.worker("reporting"))
    await country.until(counted(country, ApplicantRegistered=100))
    await country.until(country.at_end)
    await country.say("registration", message("registration", 1, subject="late"))
    await country.until(counted(country, ApplicantRegistered=9_100))
    assert not (await worker.store.read(["late"]))["late"].parked


async def test_an_event_kept_as_its_place_is_fetched_when_its_turn_comes(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing moves in its record but what was handled before it."""
    monkeypatch.setattr(record, "PARKED_EVENTS", 0)
    country.start(country.worker("reporting"))
    await country.say("registration", message("registration", 2, subject="p"))
    await country.until(country.at_end)
    await country.say("registration", message("registration", 1, subject="p"))
    await country.until(counted(country, ApplicantRegistered=2))


async def test_stranded_events_are_fetched_after_a_restart_and_a_retry(country: Country) -> None:
    """Whoever owns the partition next finds them."""
    worker = country.start(country.worker("reporting"))
    poison = message("registration", 1, subject="p", field=POISON)
    await country.say("registration", poison, *(message("registration", n, subject="p") for n in range(2, 500)))
    await country.until(country.at_end)
    await country.stop(worker)
    from plumbing.dead_letters import mend

    await mend(worker.store, "p", "registration", "discard", "operator:o", "poison", noon, country.tallies().move)
    assert (await worker.store.stranded(range(PARTITIONS), 9)) == ["p"]
    country.start(country.worker("reporting"))
    await country.until(counted(country, ApplicantRegistered=498))


async def test_cursors_from_0_again_have_no_effect(country: Country) -> None:
    """A whole service reads everything a second time."""
    for service in ("registration", "screening", "reporting"):
        country.start(country.worker(service))
    people = [f"p{n}" for n in range(300)]
    await execute_many(country.store("registration"), dict.fromkeys(people, Register()), noon)
    expected = counted(country, ApplicantRegistered=300, CaseOpened=300)
    await country.until(expected)
    await country.until(country.at_end)
    for worker in list(country.running):
        await country.stop(worker)
    for service in ("registration", "screening", "reporting"):
        await country.store(service).positions.update_many({}, {"$set": {"next": 0}})
        country.start(country.worker(service))
    await country.until(country.at_end)
    await asyncio.sleep(0.5)
    assert await country.at_end() and await expected()
    assert {r.last_sequence for r in (await country.store("screening").read(people)).values()} == {1}


async def test_a_log_that_lacks_what_the_cursor_needs_is_said(country: Country) -> None:
    """Truncated, and not skipped; the other partitions flow on."""
    await country.say("registration", *(message("registration", n, subject=SUBJECT_OF_0) for n in range(1, 11)))
    gone = TopicPartition(country.topics["registration"], 0)

    def truncate() -> None:
        client = KafkaAdminClient(bootstrap_servers=country.parts.kafka)
        client.delete_records({gone: 5})
        client.close()

    await asyncio.to_thread(truncate)
    worker = country.start(country.worker("reporting"))
    await country.say("registration", message("registration", 1, subject="p1"))
    await country.until(counted(country, ApplicantRegistered=1))
    (reason,) = await worker.ready()
    assert "the log has 5 to 10" in reason
    assert await worker.store.cursors([gone]) == {gone: 0} and 0 in worker.partitions


async def test_a_topic_made_anew_is_noticed(country: Country) -> None:
    """Even where its new log has grown past the cursor already."""
    topic = country.topics["registration"]
    await country.say("registration", *(message("registration", 1, subject=f"p{n}") for n in range(100)))
    worker = country.start(country.worker("reporting"))
    await country.until(counted(country, ApplicantRegistered=100))
    await country.stop(worker)
    await asyncio.to_thread(country.unmake, topic)
    await asyncio.to_thread(country.make, topic)
    await country.say("registration", *(message("registration", 9, subject=f"q{n}") for n in range(1_000)))
    worker = country.start(country.worker("reporting"))

    async def said() -> bool:
        return any("and 31 more: the topic was made anew" in reason for reason in await worker.ready())

    await country.until(said)
    assert len(await worker.ready()) == 1
    assert await counted(country, ApplicantRegistered=100)()


async def test_newer_rules_pause_the_older(country: Country) -> None:
    """Nothing is consumed, the process stays and says so; what it emitted still leaves."""

    class Newer(Counting):
        VERSION = 2

    from plumbing.mongo import MongoStore

    newer = MongoStore(country.store("reporting").database, "reporting", {"applicant": Newer})  # type: ignore[dict-item]
    worker = country.start(country.worker("reporting", store=newer))
    await country.say("registration", message("registration", 1, subject="p"))
    await country.until(counted(country, ApplicantRegistered=1))
    await country.stop(worker)
    older = country.start(country.worker("reporting"))
    await country.say("registration", message("registration", 2, subject="p"))

    async def paused() -> bool:
        return "rules 2, these are 1" in older.paused

    await country.until(paused)
    assert any("paused" in reason for reason in await older.ready())
    assert await counted(country, ApplicantRegistered=1)()


async def test_many_faults_pause_and_a_mended_version_goes_on(country: Country) -> None:
    """Twenty in a row; what was not parked is read again."""
    await country.say("registration", *(message("registration", 1, subject=f"p{n}", field=POISON) for n in range(100)))
    worker = country.start(country.worker("reporting"))

    async def paused() -> bool:
        return "TooManyFaults" in worker.paused

    await country.until(paused)
    await country.stop(worker)
    assert await worker.store.records.count_documents({"faulty_since": {"$exists": True}}) < 20


async def test_a_screening_that_answers_opens_each_case_once(country: Country) -> None:
    """Repeats on the topic, the same batch twice: one answer each."""
    said = [message("registration", 1, subject=f"p{n}") for n in range(200)]
    await country.say("registration", *said, *said)
    country.start(country.worker("screening"))
    country.start(country.worker("reporting"))
    await country.until(counted(country, ApplicantRegistered=200, CaseOpened=200))
    await country.say("registration", *said)
    await country.until(country.at_end)
    assert await counted(country, ApplicantRegistered=200, CaseOpened=200)()
    assert CaseOpened.TYPE
