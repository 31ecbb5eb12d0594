"""Parts of a rebuild and of a completion without servers: discards, and partitions whose leader does not answer."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from base.kafka_access import KafkaAccess
from contracts.envelope import decode
from contracts.subjects import PARTITIONS, partition_of
from kernel.batch import drain, process
from kernel.commands import execute
from kernel.errors import Transient
from kernel.kafka.log_reader import LogReader
from kernel.record import LogPosition, Message
from kernel.stores.memory import MemoryStore
from recovery.completion import _Completion
from recovery.parked_events import discard_one
from recovery.rebuild import Rebuild
from recovery.restore_mark import new_mark
from tests.support.small_services import NOON, POISON, Register, RegistrationRules, ReportingRules, Withdraw, noon

SUBJECT, TOPIC = "p", "t.registration"
RULES: dict[str, Any] = {"registration": {"applicant": RegistrationRules}, "reporting": {"applicant": ReportingRules}}
TP = TopicPartition(TOPIC, partition_of(SUBJECT))


class Log(LogReader):
    """A partition in memory; its leader may be away."""

    def __init__(self, raws: Sequence[bytes], silent: Collection[TopicPartition] = ()) -> None:
        super().__init__(KafkaAccess("127.0.0.1:1"), "test")
        self.raws, self.silent = raws, silent

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: 0 for tp in tps if tp not in self.silent}

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self.raws) if tp == TP else 0 for tp in tps if tp not in self.silent}

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None: ...

    async def read_chunk(
        self, ends: Mapping[TopicPartition, int], limit: int = 0, convert: Any = None
    ) -> tuple[list[Any], dict[TopicPartition, int]]:
        return messages_of(self.raws), dict(ends)


class Store(MemoryStore):
    """A store of reporting that a Consumer can use."""

    def __init__(self) -> None:
        super().__init__("reporting", RULES["reporting"])

    async def topic_ids(self, ids: Mapping[str, str]) -> Mapping[str, str]:
        return ids


def messages_of(raws: Sequence[bytes]) -> list[Message]:
    return [Message(decode(raw), raw, LogPosition(TP.topic, TP.partition, n)) for n, raw in enumerate(raws)]


def rebuild_of(log: Log, **more: Any) -> Rebuild:
    return Rebuild(store=Store(), projection=None, topics=[TOPIC], reader=log, clock=noon, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "field", "last"), [(0, POISON, 2), (1, "honey", 1)], ids=["at fault", "missing"])
async def test_a_discarded_first_event_blocks_its_subject_in_no_generation(
    monkeypatch: pytest.MonkeyPatch, first: int, field: str, last: int
) -> None:
    owner = MemoryStore("registration", RULES["registration"])
    for command in (Register(field=field), Withdraw(), Register()):
        await execute(owner, SUBJECT, command, noon)
    raws, live = await owner.history(SUBJECT), Store()
    await process(live, messages_of(raws[first:]), {}, noon)
    for sequence in range(1, last + 1):
        assert await discard_one(live, (SUBJECT, "registration"), sequence, "a test", "of-1", noon, None)
        while await drain(live, range(PARTITIONS), noon):
            pass
    built = list[MemoryStore]()
    discards = {(SUBJECT, each.source, each.sequence): each for each in live.records[SUBJECT].discarded}

    async def write(_: Rebuild, number: int, memory: MemoryStore, cursors: Any) -> None:
        built.append(memory)

    monkeypatch.setattr(Rebuild, "_write", write)
    await rebuild_of(Log(raws[first:]), discards=discards).partition(TP.partition)
    (memory,) = built
    assert memory.records[SUBJECT].inbox == live.records[SUBJECT].inbox == {"registration": 3}
    assert memory.records[SUBJECT].state == live.records[SUBJECT].state and not memory.parked.by_source


async def _ids(topics: Collection[str]) -> dict[str, str]:
    return dict.fromkeys(topics, "an id")


def _complete(log: Log) -> Awaitable[Any]:
    mark = new_mark(TOPIC, {}, NOON)
    return _Completion(Store(), mark, [TOPIC], log, noon, None).complete_partition(TP.partition)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "read",
    [
        lambda log: rebuild_of(log).partition(TP.partition),
        lambda log: rebuild_of(log).catch_up(cast("Any", SimpleNamespace(read=_ids))),
        _complete,
    ],
    ids=["a partition of a rebuild", "the end of a rebuild", "a completion"],
)
async def test_what_needs_the_whole_log_waits_for_every_leader(read: Callable[[Log], Awaitable[Any]]) -> None:
    """Otherwise a generation without the events of a partition would be served."""
    with pytest.raises((KafkaTimeoutError, Transient), match=TOPIC):
        await read(Log([], silent=[TP]))
