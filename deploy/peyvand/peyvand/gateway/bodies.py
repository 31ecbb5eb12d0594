"""Receive a request body completely before its request goes to a service, so that a slow sender occupies none."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile
from typing import IO

from aiohttp import web

from base.addresses import network_of

IN_MEMORY = 64 << 10  # bytes of one body; a longer one is a temporary file
TOGETHER = 1 << 30  # bytes of all bodies that are being received and forwarded
SHARE = 8  # one client address may hold an eighth of them


class BodyTooLarge(Exception):
    """A body exceeds the limit."""


class BuffersFull(Exception):
    """All bodies together, or those of one address, exceed what is kept."""


class Bodies:
    """The bodies that are being received and forwarded."""

    def __init__(self, limit: int, together: int = TOGETHER) -> None:
        self.limit, self.together, self.held = limit, together, Counter[str]()

    @asynccontextmanager
    async def received(self, request: web.Request) -> AsyncIterator[bytes | IO[bytes] | None]:
        """Yield the whole body. Raise BodyTooLarge, BuffersFull, BodyTooSlow."""
        if not request.body_exists:
            yield None
            return
        if (request.content_length or 0) > self.limit:
            raise BodyTooLarge
        size, address = 0, network_of(request.remote or "")
        try:
            with SpooledTemporaryFile(IN_MEMORY) as spool:
                async for chunk in request.content.iter_any():
                    size += len(chunk)
                    self.held[address] += len(chunk)
                    if size > self.limit:
                        raise BodyTooLarge
                    if self.held[address] > self.together // SHARE or self.held.total() > self.together:
                        raise BuffersFull
                    spool.write(chunk)
                spool.seek(0)
                yield spool if size > IN_MEMORY else spool.read()
        finally:
            self.held[address] -= size
            if not self.held[address]:
                del self.held[address]
