"""Bytes that are no event of ours, and events that no record could keep, are told apart from all others."""

import json
from typing import Any

import pytest

from contracts.envelope import LAST_SEQUENCE, DecodeError, decode
from contracts.examples import examples
from tests.support.undecodable_bytes import garbage


def test_garbage_is_unreadable() -> None:
    drawn = garbage(7)
    for raw in (next(drawn) for _ in range(3_000)):
        with pytest.raises(DecodeError):
            decode(raw)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sequence": LAST_SEQUENCE + 1}, "outside its bounds"),
        ({"sequence": 0}, "outside its bounds"),
        ({"subject": ""}, "outside its bounds"),
        ({"subject": "x" * 129}, "outside its bounds"),
        ({"time": "2026-01-01T00:00:00"}, "without zone"),
        ({"source": "screening"}, "another source"),
        ({"source": "a.b"}, "another source"),
        ({"round": "a.b"}, "other than codes"),
        ({"province": "$where"}, "other than codes"),
        ({"field": "a\0b"}, "other than codes"),
        ({"type": "ir.peyvand.registration.applicant.never.v1"}, "unknown type"),
    ],
)
def test_what_is_wrong_is_said(changed: dict[str, Any], why: str) -> None:
    told = json.loads(examples()["ir.peyvand.registration.applicant.registered.v1"])
    with pytest.raises(DecodeError, match=why):
        decode(json.dumps({**told, **changed}).encode())
    assert decode(json.dumps({**told, "sequence": LAST_SEQUENCE}).encode()).sequence == LAST_SEQUENCE


def test_codes_that_are_not_known_yet_are_read() -> None:
    told = json.loads(examples()["ir.peyvand.registration.applicant.registered.v1"])
    assert decode(json.dumps({**told, "province": "IR-31", "field": "XY999"}).encode()).context.province == "IR-31"
