"""What nobody can read."""

import json
from collections.abc import Iterator
from random import Random

from contracts.examples import examples


def garbage(seed: int) -> Iterator[bytes]:
    """Of every sort, for ever."""
    chance, whole = Random(seed), list(examples().values())
    while True:
        good = chance.choice(whole)
        told = json.loads(good)
        yield chance.randbytes(chance.randrange(200))
        yield good[: chance.randrange(1, len(good))]
        yield b"[" * chance.randrange(1, 50_000)
        yield json.dumps({**told, "sequence": chance.choice([0, -1, "1", 1.5, None, 2**70])}).encode()
        yield json.dumps({**told, "type": "ir.peyvand.registration.applicant.never.v1"}).encode()
        yield json.dumps({**told, "data": chance.choice([None, [], "x", {"n": float("nan")}])}).encode()
        yield json.dumps({**told, "time": chance.choice(["yesterday", 0, "2026-01-01T00:00:00"])}).encode()
        yield json.dumps({**told, "subject": chance.choice(["", "x" * 200, None, "\ud800"])}).encode()
        yield json.dumps({**told, "source": chance.choice(["", "a.b", "$where", "a\0b", "ministry"])}).encode()
        context = chance.choice(["round", "province", "county", "field", "policy"])
        yield json.dumps(
            {**told, context: chance.choice(["a.b", "$where", "a\0b", "1404\n", "x" * 99, "تهران"])}
        ).encode()
        yield good.replace(b'"', b"\xff", 4)
