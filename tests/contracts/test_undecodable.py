"""decode raises DecodeError for bytes that hold no event, and for events that no record could hold."""

import json
from typing import Any

import pytest

from contracts.envelope import LAST_SEQUENCE, DecodeError, UnknownEvent, decode
from contracts.examples import examples
from tests.support.undecodable_bytes import undecodable_bytes

REGISTERED = "ir.peyvand.registration.applicant.registered.v1"


@pytest.fixture
def registered() -> dict[str, Any]:
    """The published example of ApplicantRegistered, parsed."""
    example: dict[str, Any] = json.loads(examples()[REGISTERED])
    return example


def test_random_and_damaged_bytes_are_undecodable() -> None:
    drawn = undecodable_bytes(7)
    for raw in (next(drawn) for _ in range(3_000)):
        with pytest.raises(DecodeError):
            decode(raw)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sequence": LAST_SEQUENCE + 1}, "out of bounds"),
        ({"sequence": 0}, "out of bounds"),
        ({"subject": ""}, "out of bounds"),
        ({"subject": "x" * 129}, "out of bounds"),
        ({"time": "2026-01-01T00:00:00"}, "without a time zone"),
        ({"recorded": "2026-01-01T00:00:00"}, "without a time zone"),
        ({"cause": "registration/0"}, "cause"),
        ({"cause": "screening/-1"}, "cause"),
        ({"cause": "/7"}, "cause"),
        ({"source": "screening"}, "another source"),
        ({"source": "a.b"}, "another source"),
        ({"round": "a.b"}, "context code"),
        ({"province": "$where"}, "context code"),
        ({"field": "a\0b"}, "context code"),
        ({"type": "ir.peyvand.screening.case.never.v1"}, "unknown type"),
        ({"type": "never"}, "unknown type"),
        ({"type": "ir.peyvand.registration." + "x" * 200}, "unknown type"),
    ],
)
def test_the_error_names_what_is_wrong(registered: dict[str, Any], changed: dict[str, Any], why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode(json.dumps({**registered, **changed}).encode())


def test_the_highest_sequence_is_decoded(registered: dict[str, Any]) -> None:
    assert decode(json.dumps({**registered, "sequence": LAST_SEQUENCE}).encode()).sequence == LAST_SEQUENCE


def test_an_unknown_type_of_its_own_source_is_decoded_as_unknown(registered: dict[str, Any]) -> None:
    newer = "ir.peyvand.registration.applicant.never.v1"
    envelope = decode(json.dumps({**registered, "type": newer}).encode())
    assert envelope.event == UnknownEvent(type=newer)
    assert (envelope.subject, envelope.sequence) == (registered["subject"], registered["sequence"])


def test_unknown_codes_in_the_context_are_decoded(registered: dict[str, Any]) -> None:
    envelope = decode(json.dumps({**registered, "province": "IR-31", "field": "XY999"}).encode())
    assert (envelope.context.province, envelope.context.field) == ("IR-31", "XY999")
