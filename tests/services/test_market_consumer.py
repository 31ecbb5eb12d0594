"""What market makes of every event that registration and screening have ever published an example of."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

import contracts
from base.clock import Moment
from contracts.envelope import decode, encode
from contracts.subjects import kind_of
from kernel.batch import process
from kernel.record import Message
from market.consumer import topics
from market.store import RULES, memory_store

PUBLISHED = Path(contracts.__file__).parent / "published/examples"
EXAMPLES = sorted(
    file for speaker in ("registration", "screening") for file in PUBLISHED.glob(f"ir.peyvand.{speaker}.*/*.json")
)


def clock() -> Moment:
    return Moment(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_it_hears_registration_and_screening() -> None:
    assert topics() == ("peyvand.registration", "peyvand.screening")
    assert len(EXAMPLES) >= 16


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """One example as it was published."""
    file: Path = request.param
    return file.read_bytes()


async def test_every_example_is_handled(raw: bytes) -> None:
    """Alone and as the first thing heard: no event needs another to be taken without a fault."""
    store, envelope = memory_store(), replace(decode(raw), sequence=1)
    done = await process(store, [Message(envelope, encode(envelope))] * 2, {}, clock)
    assert not done.faults
    if kind_of(envelope.subject) not in RULES:
        assert not store.kept, "what is about a round or a ledger is read past"
        return
    record = store.kept[envelope.subject]
    assert record.inbox == {envelope.source: 1} and record.indexed["province"] == envelope.context.province
    said = [".".join(decode(each).event.TYPE.split(".")[3:5]) for each in store.emitted[envelope.subject]]
    assert said == (["producer.readied"] if "capacity.identified" in envelope.event.TYPE else [])
