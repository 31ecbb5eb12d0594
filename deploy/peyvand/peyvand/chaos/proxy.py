"""A bad network on purpose: a TCP proxy between clients and a part, that delays, resets, and lets nothing through."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from base.tasks import cancel_and_wait

CHUNK = 64 << 10


class Connection:
    """One client and the part, and what flows between them."""

    def __init__(self, link: "Link", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.link, self.reader, self.writer = link, reader, writer
        self.part: asyncio.StreamWriter | None = None
        self.dead = False  # nothing comes through any more, and nobody says so

    async def serve(self) -> None:
        """Until either side closes."""
        try:
            await self.link.open.wait()
            from_part, self.part = await asyncio.open_connection("127.0.0.1", self.link.target())
            there = asyncio.create_task(self._pump(self.reader, self.part))
            back = asyncio.create_task(self._pump(from_part, self.writer))
            _, left = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(*left)
        except OSError:
            pass  # the part is away: the client hears it as the end of its connection
        finally:
            self.reset() if self.part is None else self.close()

    async def _pump(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if self.link.delay:
                    await asyncio.sleep(self.link.delay)
                await self.link.open.wait()
                if self.dead:
                    await asyncio.Event().wait()
                to.write(data)
                await to.drain()

    def reset(self) -> None:
        """Ends it as a broken network does."""
        at_once = struct.pack("ii", 1, 0)
        for each in filter(None, (self.writer, self.part)):
            with suppress(OSError):
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            each.transport.abort()

    def close(self) -> None:
        """Ends it in peace."""
        for each in filter(None, (self.writer, self.part)):
            each.close()


class Link:
    """The way to one part; `target` says at which port the part is now."""

    def __init__(self, name: str, target: Callable[[], int]) -> None:
        self.name, self.target = name, target
        self.delay = 0.0  # seconds that each piece of data takes longer
        self.open = asyncio.Event()
        self.open.set()
        self.connections: set[Connection] = set()
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Takes connections from now on, at `port`."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Lets everybody go."""
        if self.server:
            self.server.close()
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self.connections.discard(connection)

    # What goes wrong

    async def slow(self, seconds: float, delay: float) -> None:
        """Every piece of data takes longer for a while."""
        self.delay = delay
        try:
            await asyncio.sleep(seconds)
        finally:
            self.delay = 0.0

    async def hold(self, seconds: float) -> None:
        """A black hole: nothing comes through for a while, and nothing is refused."""
        self.open.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.open.set()

    def reset(self) -> None:
        """Every connection is reset."""
        for each in list(self.connections):
            each.reset()

    def forget(self) -> None:
        """Every connection stays half open for ever: nobody hears from it again. New ones work."""
        for each in self.connections:
            each.dead = True
