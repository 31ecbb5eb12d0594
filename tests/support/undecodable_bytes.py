"""Bytes that hold no event."""

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from contracts.examples import examples


def undecodable_bytes(seed: int) -> Iterator[bytes]:
    """Yield undecodable bytes of every kind, without end: noise, damaged examples, values outside their bounds."""
    random, encoded = Random(seed), list(examples().values())
    while True:
        raw = random.choice(encoded)
        event = json.loads(raw)
        context = random.choice(["round", "province", "county", "field", "policy"])
        changes: tuple[dict[str, Any], ...] = (
            {"sequence": random.choice([0, -1, "1", 1.5, None, 2**70])},
            {"type": random.choice(["ir.peyvand.ministry.applicant.registered.v1", "", None, "x" * 300])},
            {"data": random.choice([None, [], "x", {"n": float("nan")}])},
            {"time": random.choice(["yesterday", 0, "2026-01-01T00:00:00"])},
            {"subject": random.choice(["", "x" * 200, None, "\ud800"])},
            {"source": random.choice(["", "a.b", "$where", "a\0b", "ministry"])},
            {context: random.choice(["a.b", "$where", "a\0b", "1404\n", "x" * 99, "تهران"])},
        )
        yield random.randbytes(random.randrange(200))
        yield raw[: random.randrange(1, len(raw))]
        yield b"[" * random.randrange(1, 50_000)
        yield raw.replace(b'"', b"\xff", 4)
        for change in changes:
            yield json.dumps({**event, **change}).encode()
