"""Market consumes every published example of registration and screening."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

import contracts
from base.clock import Moment
from contracts.envelope import decode, encode
from contracts.events import ApplicantErased
from contracts.subjects import kind_of
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from market.service import service

PUBLISHED = Path(contracts.__file__).parent / "published/examples"
EXAMPLES = sorted(
    file for producer in ("registration", "screening") for file in PUBLISHED.glob(f"ir.peyvand.{producer}.*/*.json")
)


def clock() -> Moment:
    return Moment(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_market_consumes_registration_and_screening() -> None:
    assert topics_consumed_by(service.name) == ("peyvand.registration", "peyvand.screening")
    assert len(EXAMPLES) >= 16


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """One published example."""
    file: Path = request.param
    return file.read_bytes()


async def test_every_example_is_handled(raw: bytes) -> None:
    """Consume it twice as the first event about its subject: no event depends on another one to be handled."""
    store, envelope = MemoryStore(service.name, service.rules, service.unique), replace(decode(raw), sequence=1)
    effects = await process(store, [Message(envelope, encode(envelope))] * 2, {}, clock)
    assert not effects.parked
    if kind_of(envelope.subject) not in service.rules:
        assert not store.records, "events about rounds and ledgers are skipped"
        return
    record = store.records[envelope.subject]
    erased = isinstance(envelope.event, ApplicantErased)
    assert record.inbox == {envelope.source: 1}
    assert record.indexed.get("province") == (None if erased else envelope.context.province)
    emitted = [".".join(decode(each).event.TYPE.split(".")[3:5]) for each in store.events[envelope.subject]]
    assert emitted == (["producer.readied"] if "capacity.identified" in envelope.event.TYPE else [])
