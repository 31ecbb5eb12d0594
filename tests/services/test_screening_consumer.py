"""Screening consumes every published example of registration."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

import contracts
from base.clock import Moment
from contracts.envelope import decode, encode
from contracts.subjects import kind_of
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from screening.service import service

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("ir.peyvand.registration.*/*.json"))
REACTIONS = {"applicant.registered": "case.opened", "applicant.reactivated": "case.opened"}


def clock() -> Moment:
    return Moment(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_screening_consumes_registration_only() -> None:
    assert topics_consumed_by(service.name) == ("peyvand.registration",)
    assert len(EXAMPLES) >= 10


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """One published example."""
    file: Path = request.param
    return file.read_bytes()


async def test_every_example_is_handled(raw: bytes) -> None:
    """Consume it twice as the first event about its subject: no event depends on another one to be handled."""
    store, envelope = MemoryStore(service.name, service.rules), replace(decode(raw), sequence=1)
    message = Message(envelope, encode(envelope))
    effects = await process(store, [message] * 2, {("peyvand.registration", 0): (0, 2)}, clock)
    assert not effects.parked and store.positions[("peyvand.registration", 0)] == 2
    if kind_of(envelope.subject) not in service.rules:
        assert not store.records, "events about rounds and ledgers are skipped"
        return
    assert store.records[envelope.subject].inbox == {"registration": 1}
    emitted = [".".join(decode(each).event.TYPE.split(".")[3:5]) for each in store.events[envelope.subject]]
    reaction = REACTIONS.get(".".join(envelope.event.TYPE.split(".")[3:5]))
    assert emitted == ([reaction] if reaction else []), "a repeated event changes nothing"
