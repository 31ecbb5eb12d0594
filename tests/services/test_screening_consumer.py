"""What screening makes of every event that registration has ever published an example of."""

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
from screening.consumer import topics
from screening.store import RULES, memory_store

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("ir.peyvand.registration.*/*.json"))
ANSWERS = {"applicant.registered": "case.opened", "applicant.reactivated": "case.opened"}


def clock() -> Moment:
    return Moment(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def test_it_hears_registration_alone() -> None:
    assert topics() == ("peyvand.registration",)
    assert len(EXAMPLES) >= 10


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """One example as it was published."""
    file: Path = request.param
    return file.read_bytes()


async def test_every_example_is_handled(raw: bytes) -> None:
    """Alone and as the first thing heard: no event needs another to be taken without a fault."""
    store, envelope = memory_store(), replace(decode(raw), sequence=1)
    done = await process(
        store,
        [Message(envelope, encode(envelope))] * 2,
        {("peyvand.registration", 0): (0, 2)},
        clock,
    )
    assert not done.faults and store.positions[("peyvand.registration", 0)] == 2
    if kind_of(envelope.subject) not in RULES:
        assert not store.kept, "what is about a round or a ledger is read past"
        return
    assert store.kept[envelope.subject].inbox == {"registration": 1}
    said = [".".join(decode(each).event.TYPE.split(".")[3:5]) for each in store.emitted[envelope.subject]]
    answer = ANSWERS.get(".".join(envelope.event.TYPE.split(".")[3:5]))
    assert said == ([answer] if answer else []), "and a repeat changes nothing"
