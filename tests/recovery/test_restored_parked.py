"""Parked events in a restored store: are they used as causes, handled once, and removed when they are passed?"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from contracts.envelope import Envelope
from contracts.events import CaseOpened
from contracts.subjects import partition_of
from kernel.errors import Transient
from kernel.kafka.log_reader import LogReader
from kernel.record import Parked
from kernel.stores.mongodb import MongoStore
from recovery.completion import Completed, complete
from recovery.dead_letters import EARLY, DeadLetters
from recovery.restore_mark import read_mark
from tests.support.messages import WITHDRAWN, message
from tests.support.restored_system import back_up, lose, restore, stop_all, until_ready
from tests.support.small_services import ScreeningRules, noon
from tests.support.small_workers import SmallSystem, log_of

pytestmark = pytest.mark.server

SOURCE = ("p", "registration")


def screening_rules(faulty: set[int]) -> Any:
    """Return rules that raise on the events of registration with these sequences."""

    class Rules(ScreeningRules):
        @staticmethod
        def evolve(state: Any, envelope: Envelope) -> Any:
            if envelope.source == "registration" and envelope.sequence in faulty:
                raise ValueError("a bug")
            return ScreeningRules.evolve(state, envelope)

    return Rules


async def start(small_system: SmallSystem, screening: MongoStore) -> None:
    """Start a worker of reporting and one of screening with this store; wait until they are ready."""
    small_system.start(small_system.worker("reporting"))
    small_system.start(small_system.worker("screening", store=screening))
    await until_ready(small_system)


async def complete_screening(small_system: SmallSystem, store: MongoStore) -> Completed | None:
    """Complete the store of screening as a worker does before it starts."""
    reader = LogReader(small_system.servers.kafka, "test")
    try:
        return await complete(store, small_system.consumes["screening"], reader, noon)
    finally:
        await reader.stop()


async def parked(store: MongoStore) -> list[Parked]:
    """Return the only head, and behind it every document of the collection."""
    heads = await store.parked.heads(("early", "fault", "ready"))
    events = await store.parked.events(SOURCE, 0)
    assert len(events) == await store.parked.collection.count_documents({})
    assert [each.sequence for each in heads] == [each.sequence for each in events[:1]]
    return [*heads, *events[1:]]


async def assert_opened_once(small_system: SmallSystem, cases: int) -> None:
    """Assert that the log has each CaseOpened about p once, and as many as the record has."""
    in_log: Mapping[int, set[bytes]] = (await log_of(small_system))["screening", "p"]
    assert {n: len(raws) for n, raws in in_log.items()} == dict.fromkeys(range(1, cases + 1), 1)
    record = (await small_system.store("screening").read(["p"]))["p"]
    assert (record.state.opened, record.last_sequence) == (cases, cases)


@pytest.mark.parametrize("interrupted", [False, True])
async def test_parked_events_that_the_inbox_has_passed_are_removed_and_heads_are_rewritten(
    small_system: SmallSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    faulty = {2, 4}
    store = small_system.store("screening", screening_rules(faulty))
    events = [message("registration", n, WITHDRAWN if n == 4 else None) for n in range(1, 6)]
    registered = {"ApplicantRegistered": 4, "ApplicantWithdrawn": 1}
    await start(small_system, store)
    await small_system.publish("registration", *events)
    await small_system.settles({**registered, "CaseOpened": 1})
    await stop_all(small_system)
    assert [(each.sequence, each.reason) for each in await parked(store)] == [
        (2, "fault"),
        (3, "early"),
        (4, "early"),
        (5, "early"),
    ]
    await back_up(small_system, tmp_path / "b")

    faulty.remove(2)  # a fix of one of two bugs: 2 and 3 are handled after the backup
    await start(small_system, store)
    (outcome,) = await DeadLetters(store, noon).act("retry", ["registration/p/2"], "operator:o1", "", dry_run=False)
    assert outcome.drained == 2
    await small_system.settles({**registered, "CaseOpened": 3})
    await stop_all(small_system)
    await lose(small_system)
    await restore(small_system, tmp_path / "b")
    assert [each.sequence for each in await parked(store)] == [2, 3, 4, 5]

    if interrupted:  # after the transaction that takes events back

        async def fail(*_: Any) -> None:
            raise Transient("no connection")

        with monkeypatch.context() as patched:
            patched.setattr(store, "mark_published", fail)
            with pytest.raises(Transient):
                await complete_screening(small_system, store)
        assert await read_mark(store), "the restore is not complete"
    await start(small_system, store)
    await small_system.settles({**registered, "CaseOpened": 3})
    head, behind = await parked(store)
    assert (head.sequence, head.reason, head.behind) == (4, "fault", 1) and behind.sequence == 5
    await assert_opened_once(small_system, 3)

    faulty.clear()
    (outcome,) = await DeadLetters(store, noon).act("retry", ["registration/p/4"], "operator:o1", "", dry_run=False)
    assert outcome.drained == 2
    await small_system.settles({**registered, "CaseOpened": 4})
    assert await parked(store) == []
    await assert_opened_once(small_system, 4)


@pytest.mark.parametrize("kept", [True, False])
async def test_a_cause_that_only_the_parked_events_have_is_used(
    small_system: SmallSystem, tmp_path: Path, kept: bool
) -> None:
    """Without the parked event (`kept` is false) the state lacks what its cause changed, and the report names it."""
    store, topic = small_system.store("screening"), small_system.topics["registration"]
    early, first = message("registration", 2, field="saffron"), message("registration", 1)
    await start(small_system, store)
    await small_system.publish("registration", early)

    async def is_parked() -> bool:
        return bool(await store.parked.heads(EARLY))

    await small_system.until(is_parked)
    await stop_all(small_system)
    await back_up(small_system, tmp_path / "s", "screening")
    await start(small_system, store)
    await small_system.publish("registration", first)
    await small_system.settles({"ApplicantRegistered": 2, "CaseOpened": 2})
    await stop_all(small_system)
    before = (await store.read(["p"]))["p"]
    assert before.state.context.field == "saffron" and not await parked(store)

    def truncate() -> None:
        """Delete the early event, which was published first."""
        client = KafkaAdminClient(**small_system.servers.kafka.options())
        client.delete_records({TopicPartition(topic, partition_of("p")): 1})
        client.close()

    await asyncio.to_thread(truncate)
    await lose(small_system, "screening")
    await restore(small_system, tmp_path / "s")
    if not kept:
        await store.parked.collection.delete_many({})
    completed = await complete_screening(small_system, store)
    assert completed is not None and (completed.events, completed.records, completed.new) == (2, 1, 1)
    after = (await store.read(["p"]))["p"]
    assert after.inbox == before.inbox == {"registration": 2}
    if not kept:
        assert completed.missing == ("registration/p/2",) and after.state.context.field == "honey"
        return
    assert completed.missing == () and after.state == before.state
    await start(small_system, store)
    await small_system.settles({"ApplicantRegistered": 2, "CaseOpened": 2})
    assert await parked(store) == []
    await assert_opened_once(small_system, 2)
    assert CaseOpened.TYPE.encode() in next(iter((await log_of(small_system))["screening", "p"][2]))
