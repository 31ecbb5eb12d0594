"""Registration consumes every example that screening has ever published."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

import contracts
from base.clock import Moment
from contracts.envelope import Context, decode, encode
from contracts.events import CapacityIdentified, CapacityRequested, CaseDecided, CaseOpened
from contracts.topics import topics_consumed_by
from kernel.batch import process
from kernel.record import Message, emit
from kernel.stores.memory import MemoryStore
from registration.domain import applicant
from registration.domain.applicant import Register
from registration.service import service
from tests.support.registration_api import PROFILE

EXAMPLES = sorted((Path(contracts.__file__).parent / "published/examples").glob("ir.peyvand.screening.*/*.json"))
AT = datetime(2027, 1, 1, tzinfo=UTC)
CONTEXT = Context(round="1404", province="IR-20", county="2003", field="JF003", policy="1404-1")


def clock() -> Moment:
    return Moment(AT, AT)


def test_it_consumes_screening_alone() -> None:
    assert topics_consumed_by(service.name) == ("peyvand.screening",)
    assert len(EXAMPLES) >= 6


@pytest.fixture(params=EXAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def raw(request: pytest.FixtureRequest) -> bytes:
    """Return one published example."""
    file: Path = request.param
    return file.read_bytes()


@pytest.mark.parametrize("known", [True, False], ids=["registered", "unknown"])
async def test_every_example_is_handled_and_a_repeat_changes_nothing(raw: bytes, known: bool) -> None:
    store, envelope = MemoryStore(service.name, service.rules, service.unique), replace(decode(raw), sequence=1)
    if known:
        fresh = (await store.read([envelope.subject]))[envelope.subject]
        command = Register(context=CONTEXT, profile=PROFILE, intake_channel="desk")
        events = applicant.decide(fresh.state, command, AT)
        await store.swap(fresh, emit(fresh, applicant, "registration", events, clock()))
    effects = await process(store, [Message(envelope, encode(envelope))] * 2, {("peyvand.screening", 0): (0, 2)}, clock)
    assert not effects.heads and store.positions["peyvand.screening", 0] == 2
    record = store.records[envelope.subject]
    assert record.inbox == {"screening": 1}
    other_field = isinstance(envelope.event, CaseDecided) and envelope.context.field != CONTEXT.field
    assert record.last_sequence == (1 + other_field if known else 0), "it takes a field back, and emits nothing else"
    current = record.state.current
    match envelope.event:
        case CaseOpened(due=due) if known:
            assert current.case_due == due and record.indexed["status"] == "screening"
        case CaseDecided(outcome="approved") if known:
            assert record.indexed["seating"] == "awaiting"
        case CapacityRequested(due=due) if known:
            assert current.capacity_due == due
        case CapacityIdentified() if known:
            assert record.indexed["status"] == "capacity_identified"
        case _ if not known:
            assert record.indexed == {}
