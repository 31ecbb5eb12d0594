"""Bodies at the gateway: what all clients and one address may have under way."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from peyvand.gateway.bodies import SHARE, Bodies, BodyTooLarge, BuffersFull


class Sent:
    """A request whose body comes in pieces of 100 bytes."""

    body_exists, content_length = True, None

    def __init__(self, remote: str, pieces: int) -> None:
        self.remote, self.pieces, self.content = remote, pieces, self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for _ in range(self.pieces):
            yield b"x" * 100


async def test_one_address_holds_a_share_and_others_go_on() -> None:
    bodies = Bodies(limit=10_000, together=SHARE * 1_000)
    one: Any = Sent("2001:db8::1", 8)
    async with bodies.received(one) as body:
        assert body == b"x" * 800
        neighbour: Any = Sent("2001:db8::2", 4)
        with pytest.raises(BuffersFull):
            async with bodies.received(neighbour):
                pass
        other: Any = Sent("10.0.0.1", 10)
        async with bodies.received(other):
            assert bodies.held.total() == 1_800
    assert not bodies.held
    large: Any = Sent("10.0.0.1", 101)
    with pytest.raises(BodyTooLarge):
        async with Bodies(limit=10_000).received(large):
            pass
