"""What registration makes of every event that screening has ever published an example of."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

import contracts
from base.clock import Moment
from contracts.envelope import Context, decode, encode
from contracts.events import CapacityIdentified, CapacityRequested, CaseDecided, CaseOpened
from kernel.batch import process
from kernel.record import Message, emit
from registration.consumer import topics
from registration.domain import applicant
from registration.domain.applicant import Register
from registration.store.memory import memory_store

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("ir.peyvand.screening.*/*.json"))
AT = datetime(2027, 1, 1, tzinfo=UTC)
PLACE = Context(round="1404", province="IR-20", county="2003", field="JF003", policy="1404-1")


def clock() -> Moment:
    return Moment(AT, AT)


def test_it_hears_screening_alone() -> None:
    assert topics() == ("peyvand.screening",)
    assert len(EXAMPLES) >= 6


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """One example as it was published."""
    file: Path = request.param
    return file.read_bytes()


@pytest.mark.parametrize("known", [True, False], ids=["registered", "unknown"])
async def test_every_example_is_handled_and_a_repeat_changes_nothing(raw: bytes, known: bool) -> None:
    store, envelope = memory_store(), replace(decode(raw), sequence=1)
    if known:
        fresh = (await store.read([envelope.subject]))[envelope.subject]
        command = Register(place=PLACE, sex="female", age_band="25-34", work_mode="independent", intake_channel="desk")
        events = applicant.decide(fresh.state, command, AT)
        await store.swap(fresh, replace(emit(fresh, applicant, "registration", events, clock()), version=1))
    done = await process(store, [Message(envelope, encode(envelope))] * 2, {("peyvand.screening", 0): (0, 2)}, clock)
    assert not done.faults and store.positions["peyvand.screening", 0] == 2
    record = store.kept[envelope.subject]
    assert record.inbox == {"screening": 1}
    assert record.last_sequence == (1 if known else 0), "registration answers nothing by itself"
    now = record.state.now
    match envelope.event:
        case CaseOpened(due=due) if known:
            assert now.case_due == due and record.indexed["status"] == "screening"
        case CaseDecided(outcome="approved") if known:
            assert record.indexed["seating"] == "awaiting"
        case CapacityRequested(due=due) if known:
            assert now.capacity_due == due
        case CapacityIdentified() if known:
            assert record.indexed["status"] == "capacity_identified"
        case _ if not known:
            assert record.indexed == {}
