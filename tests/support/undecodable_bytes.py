"""Bytes that hold no event, and events that do not match their published schema."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from contracts.examples import examples


def undecodable_bytes(seed: int) -> Iterator[bytes]:
    """Yield undecodable bytes of every kind, without end: noise, damaged examples, no readable identity."""
    random, encoded = Random(seed), list(examples().values())
    while True:
        raw = random.choice(encoded)
        event = json.loads(raw)
        changes: tuple[dict[str, Any], ...] = (
            {"sequence": random.choice([0, -1, "1", 1.5, None, 2**31, 2**70])},
            {"subject": random.choice(["", "x" * 129, None, "\ud800", "a b", "a\0b", "متقاضی"])},
            {"source": random.choice(["", "a.b", "$where", "a\0b", "ministry", None])},
            {"data": {"n": float("nan")}},
        )
        yield random.randbytes(random.randrange(200))
        yield raw[: random.randrange(1, len(raw))]
        yield b"[" * random.randrange(1, 50_000)
        yield raw.replace(b'"', b"\xff", 4)
        yield raw.replace(b'"subject":"', b'"subject":"\xed\xa0\x80')  # CESU-8
        for change in changes:
            yield json.dumps({**event, **change}).encode()


INVALID: tuple[tuple[dict[str, Any], str], ...] = (  # changes of an ApplicantRegistered, and where they are found
    ({"type": "ir.peyvand.screening.case.never.v1"}, "$.type"),
    ({"type": "ir.peyvand.screening.case.opened.v1"}, "$.type"),
    ({"type": "never"}, "$.type"),
    ({"type": ""}, "$.type"),
    ({"type": None}, "$.type"),
    ({"type": 7}, "$.type"),
    ({"type": "ir.peyvand.registration." + "x" * 200}, "$.type"),
    ({"type": "ir.peyvand.registration.quota.set.v1"}, "$.data"),
    ({"source": "screening"}, "$.type"),
    ({"subject": "round:9999"}, "$.subject"),
    ({"subject": "round:1404"}, "$.subject"),
    ({"subject": "ledger:1404/IR-20"}, "$.subject"),
    ({"subject": "$where.a.b"}, "$.subject"),
    ({"subject": "0199D5A2-7C40-7E51-9A3B-4F2D1C0B8A67"}, "$.subject"),
    ({"time": "2026-01-01T00:00:00"}, "$.time"),
    ({"time": "0001-01-01T00:00:00+03:30"}, "$.time"),
    ({"time": "0001-01-01T00:00:00Z"}, "$.time"),
    ({"time": "9999-12-31T23:59:59-03:30"}, "$.time"),
    ({"time": "9999-12-31T23:59:59Z"}, "$.time"),
    ({"time": "yesterday"}, "$.time"),
    ({"time": 0}, "$.time"),
    ({"recorded": "2026-01-01T00:00:00"}, "$.recorded"),
    ({"recorded": "1999-01-01T00:00:00Z"}, "$.time"),
    ({"recorded": None}, "$.recorded"),
    ({"cause": "registration/0"}, "$.cause"),
    ({"cause": "screening/-1"}, "$.cause"),
    ({"cause": "/7"}, "$.cause"),
    ({"cause": "screening/1\n"}, "$.cause"),
    ({"actor": "registrar"}, "$.actor"),
    ({"actor": "registrar:09121234567"}, "$.actor"),
    ({"previous": "g" * 32}, "$.previous"),
    ({"previous": "a" * 31}, "$.previous"),
    ({"traceparent": "x"}, "$.traceparent"),
    ({"round": "a.b"}, "$.round"),
    ({"round": ""}, "$.round"),
    ({"round": None}, "$.round"),
    ({"round": "1404\n"}, "$.round"),
    ({"province": "$where"}, "$.province"),
    ({"province": "IR-31"}, "$.province"),
    ({"province": "IR-07"}, "$.county"),
    ({"county": "0702"}, "$.county"),
    ({"county": "تهران"}, "$.county"),
    ({"field": "a\0b"}, "$.field"),
    ({"policy": "1404"}, "$.policy"),
    ({"codesystem": "ISO3166-2:IR:2010"}, "$.codesystem"),
    ({"specversion": "0.3"}, "$.specversion"),
    ({"data": None}, "$.data"),
    ({"data": []}, "$.data"),
    ({"data": "x"}, "$.data"),
)
