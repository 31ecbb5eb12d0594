"""A TCP proxy between clients and a server that injects network faults: delay, blackhole, reset, half-open."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from base.tasks import cancel_and_wait

CHUNK = 64 << 10


class Connection:
    """One client's connection through the proxy."""

    def __init__(self, proxy: "FaultyProxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.upstream: asyncio.StreamWriter | None = None
        self.half_open = False  # drops all data without closing

    async def serve(self) -> None:
        """Forward data until either side closes."""
        try:
            await self.proxy.open.wait()
            from_server, self.upstream = await asyncio.open_connection("127.0.0.1", self.proxy.target())
            requests = asyncio.create_task(self._forward(self.reader, self.upstream))
            responses = asyncio.create_task(self._forward(from_server, self.writer))
            _, left = await asyncio.wait({requests, responses}, return_when=asyncio.FIRST_COMPLETED)
            await cancel_and_wait(*left)
        except OSError:
            pass  # the server is down: the client sees its connection closed
        finally:
            self.reset() if self.upstream is None else self.close()

    async def _forward(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if self.proxy.delay:
                    await asyncio.sleep(self.proxy.delay)
                await self.proxy.open.wait()
                if self.half_open:
                    await asyncio.Event().wait()
                to.write(data)
                await to.drain()

    def reset(self) -> None:
        """Reset the connection, as a broken network does."""
        linger = struct.pack("ii", 1, 0)
        for each in filter(None, (self.writer, self.upstream)):
            with suppress(OSError):
                each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            each.transport.abort()

    def close(self) -> None:
        """Close the connection in order."""
        for each in filter(None, (self.writer, self.upstream)):
            each.close()


class FaultyProxy:
    """The proxy before one server; `target` returns the server's present port."""

    def __init__(self, name: str, target: Callable[[], int]) -> None:
        self.name, self.target = name, target
        self.delay = 0.0  # seconds added to each chunk
        self.open = asyncio.Event()
        self.open.set()
        self.connections: set[Connection] = set()
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Accept connections at `port` from now on."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop accepting connections and reset all."""
        if self.server:
            self.server.close()
        self.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.serve()
        except asyncio.CancelledError:
            pass  # at the end of the run; asyncio 3.11 would log the cancellation of a connection as an error
        finally:
            self.connections.discard(connection)

    # Faults

    async def slow(self, seconds: float, delay: float) -> None:
        """Delay every chunk for a while."""
        self.delay = delay
        try:
            await asyncio.sleep(seconds)
        finally:
            self.delay = 0.0

    async def blackhole(self, seconds: float) -> None:
        """Let no data and no new connection through for a while, without an error."""
        self.open.clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.open.set()

    def reset(self) -> None:
        """Reset every connection."""
        for each in list(self.connections):
            each.reset()

    def half_open(self) -> None:
        """Leave every connection half open: no more data, and no end. New connections work."""
        for each in self.connections:
            each.half_open = True
