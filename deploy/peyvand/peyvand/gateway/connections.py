"""aiohttp's server protocol with limits of time and number, and with answers to half-closed requests."""

import asyncio
from typing import Any

from aiohttp import StreamReader, web

from peyvand.gateway.malformed import ErrorProtocol
from run.connections import LINGER, Connections, Phase, Watch


class BodyTooSlow(TimeoutError):
    """Reading a body failed since its sender took too long."""


class GatewayProtocol(ErrorProtocol):
    """One connection of the gateway."""

    __slots__ = ("body", "connections", "endless", "half_closed", "watch")

    def __init__(self, manager: web.Server, *, connections: Connections, **options: Any) -> None:
        super().__init__(manager, **options)
        self.connections = connections
        self.body: StreamReader | None = None  # of the last request
        self.endless = False  # a stream is being sent, which ends when its reader leaves
        self.half_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        self.watch = Watch(self.connections, transport, self._expired, self._is_paused)
        if not self.watch.start():
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self.watch.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self.watch.refused:
            return
        before = self._request_count
        self.watch.read(len(data))
        super().data_received(data)
        if self._request_count != before:
            self.body = self._messages[-1][1]
            self.watch.enter(Phase.BODY)
        if self.watch.phase is Phase.BODY and self.body is not None and self.body.is_eof():
            self.watch.enter(Phase.RESPONSE)

    def begin_stream(self) -> None:
        """Note that a stream is sent. Raise ConnectionResetError if its reader has left."""
        if self.half_closed:
            raise ConnectionResetError("the reader of the stream has left")
        self.endless = True

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection: the client has sent whole requests and still reads the responses."""
        self.half_closed = self.watch.phase is Phase.RESPONSE and not self.endless
        return self.half_closed

    async def finish_response(self, *sent: Any) -> tuple[web.StreamResponse, bool]:
        """Send the rest of a response, then wait for the next request."""
        done = await super().finish_response(*sent)
        if self.body is not None and isinstance(self.body.exception(), BodyTooSlow):
            self.watch.close_slowly()
            await asyncio.sleep(LINGER)  # returning would close the connection at once
        if not self._messages:
            if self.watch.phase is Phase.RESPONSE:
                self.watch.enter(Phase.IDLE)
            if self.half_closed:
                self.close()
        return done

    def _is_paused(self) -> bool:
        return self._reading_paused or self._buffer_paused

    def _expired(self, phase: Phase) -> None:
        if phase is Phase.BODY and self.body is not None:
            self.body.set_exception(BodyTooSlow())
            self.watch.enter(Phase.RESPONSE)
            return
        if phase is Phase.HEAD and self.watch.received:
            self.watch.refuse("body_too_slow")
        else:
            self.force_close()


class GatewayServer(web.Server):
    """Makes a `GatewayProtocol` of each connection."""

    def __init__(self, *handler: Any, connections: Connections, **options: Any) -> None:
        super().__init__(*handler, **options)
        self.limits = connections

    def __call__(self) -> GatewayProtocol:
        """Return the protocol of a new connection."""
        return GatewayProtocol(self, connections=self.limits, loop=self._loop, **self._kwargs)


class GatewayRunner(web.AppRunner):
    """Runs the gateway with these limits of connections."""

    __slots__ = ("connections",)

    def __init__(self, app: web.Application, connections: Connections, **options: Any) -> None:
        super().__init__(app, **options)
        self.connections = connections

    async def _make_server(self) -> web.Server:
        started = await super()._make_server()
        return GatewayServer(
            started.request_handler,
            request_factory=started.request_factory,
            handler_cancellation=started.handler_cancellation,
            connections=self.connections,
            **started._kwargs,
        )
