"""Events of a type that only a newer version knows: a producer is deployed before its consumers."""

import pytest
from msgspec.structs import replace

from contracts.envelope import DecodeError, Envelope, UnknownEvent, decode
from kernel.roles.consumer import RETRIED
from recovery.dead_letters import DeadLetters
from tests.support.fixtures import StoreOf
from tests.support.messages import REGISTERED, UNKNOWN_TYPE, message, unknown
from tests.support.parked_events import REGISTRATION, head, parked, record, settle
from tests.support.small_services import ReportingRules, noon


async def test_an_unknown_type_waits_for_the_version_that_knows_it(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer is deployed before its consumers: other sources flow, nothing is lost, nothing is handled twice."""
    store = await store_of("reporting")
    await settle(store, [message("registration", 1), unknown(2), message("registration", 3), message("screening", 1)])
    assert (await record(store)).inbox == {"registration": 1, "screening": 1}
    first = await head(store)
    assert (first.reason, first.sequence, first.type, first.behind) == ("unknown_type", 2, UNKNOWN_TYPE, 1)
    await settle(store, [message("registration", 3), message("registration", 4)])  # still behind it
    assert len((await parked(store))[REGISTRATION]) == 3
    assert await store.parked.release(["unknown_type"], types=["another"]) == 0
    assert await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE]) == 1
    await settle(store)
    assert (await head(store)).reason == "unknown_type", "released too early, it is parked again"
    decoded = unknown(2)
    envelope = replace(decoded.envelope, event=REGISTERED)
    monkeypatch.setattr("kernel.record.decode", lambda raw: envelope if raw == decoded.raw else decode(raw))
    await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE])
    await settle(store)
    found = await record(store)
    assert found.inbox == {"registration": 4, "screening": 1} and not await parked(store)
    assert found.state.consumed == {"ApplicantRegistered": 4, "CaseOpened": 1}


async def test_an_event_that_the_version_knowing_its_type_cannot_decode_blocks_what_follows_it(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events before it are handled: it alone is the fault, and it can be retried or discarded."""
    store = await store_of("reporting")
    await settle(store, [message("registration", 1), unknown(2), message("registration", 3), unknown(4), unknown(5)])

    def decode_newer(raw: bytes) -> Envelope:
        envelope = decode(raw)
        if isinstance(envelope.event, UnknownEvent):
            if envelope.sequence == 4:
                raise DecodeError("malformed", "Object missing required field `size`")
            return replace(envelope, event=REGISTERED)
        return envelope

    monkeypatch.setattr("kernel.record.decode", decode_newer)
    await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE])
    await settle(store)
    assert (await record(store)).inbox == {"registration": 3}
    first = await head(store)
    assert (first.sequence, first.reason, first.behind) == (4, "invalid", 1)
    assert (first.fault.error, first.fault.message) == ("InvalidEvent", "Object missing required field `size`")
    letters = DeadLetters(store, noon)
    for dry_run in (True, False):
        (outcome,) = await letters.act("retry", ["registration/p/4"], "operator:o1", "", dry_run=dry_run)
        assert (outcome.outcome, outcome.fault.error) == ("parked", "InvalidEvent")
    for drained in (0, 1):  # the letter, then the event that is missing without it
        (outcome,) = await letters.act("discard", ["registration/p/4"], "operator:o1", "a defect", dry_run=False)
        assert (outcome.outcome, outcome.drained) == ("discarded", drained)
    assert not await parked(store)


async def test_an_unknown_type_about_a_kind_without_rules_waits_for_a_version_that_has_them(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await store_of("reporting")
    subject, source = "listing:1", ("listing:1", "registration")
    await settle(store, [unknown(1, subject), message("registration", 1), unknown(2, subject), unknown(3, subject)])
    assert (await record(store)).inbox == {"registration": 1}
    first = await head(store, source)
    assert (first.reason, first.sequence, first.behind) == ("unknown_type", 1, 2)
    await store.parked.release(RETRIED)
    await settle(store, [unknown(4, subject), unknown(2, subject)])
    assert ((await head(store, source)).reason, (await head(store, source)).behind) == ("unknown_type", 3)
    assert [each.id for each in await DeadLetters(store, noon).letters()] == ["registration/listing:1/1"]
    newer = {**store.rules, "listing": ReportingRules}
    monkeypatch.setattr("kernel.record.decode", lambda raw: replace(decode(raw), event=REGISTERED))
    monkeypatch.setattr(store, "rules", newer)
    await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE])
    await settle(store)
    assert (await record(store, subject)).inbox == {"registration": 4} and not await parked(store)


async def test_a_type_that_becomes_known_about_a_kind_without_rules_is_dropped(
    store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service still has no rules for the kind, and its version knows the type: it does not concern it."""
    store = await store_of("reporting")
    subject, source = "listing:1", ("listing:1", "registration")
    await settle(store, [unknown(n, subject) for n in range(1, 8)])
    monkeypatch.setattr("kernel.batch.CHUNK", 2)
    await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE])
    await settle(store)
    assert ((await head(store, source)).sequence, (await head(store, source)).reason) == (1, "unknown_type")
    monkeypatch.setattr("kernel.batch.TYPES", {UNKNOWN_TYPE: object})
    await store.parked.release(["unknown_type"], types=[UNKNOWN_TYPE])
    await settle(store)
    assert not await parked(store)
