"""uvicorn's HTTP protocol with limits of time and number, and with answers to half-closed requests."""

from asyncio import Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from run.connections import Connections, Phase, Watch, refusal

HEAD_LIMIT = 64 << 10  # bytes of a request line with its headers
MESSAGE_LIMIT = 128 << 20  # bytes of a body as it comes, with its trailers; routes allow much less


class HttpProtocol(HttpToolsProtocol):
    """One connection of a service."""

    watch: Watch

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self.connections_limited = connections

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Admit the connection."""
        super().connection_made(transport)
        self.watch = Watch(self.connections_limited, transport, self._expired, lambda: self.flow.read_paused)
        self.watch.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.watch.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self.watch.refused:
            return
        self.watch.read(len(data))
        limit = MESSAGE_LIMIT if self.watch.phase is Phase.BODY else HEAD_LIMIT  # also of a request behind this one
        if self.watch.received - len(data) > limit:
            if self.watch.phase is Phase.RESPONSE:
                self.transport.abort()  # a second response cannot begin in the middle of the first
            else:
                self.send_400_response("")
            return
        super().data_received(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer, which follows a body, is dropped: no proxy has checked it."""
        if self.watch.phase is not Phase.BODY:
            super().on_header(name, value)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection: the client has sent whole requests and still reads the responses.

        The reader of a stream (see `web.rate_limit.streaming`) has left: nothing else would end it.
        """
        if self.watch.phase is not Phase.RESPONSE or "peyvand.endless" in self.cycle.scope:
            return False
        self.cycle.keep_alive = False
        return True

    def on_headers_complete(self) -> None:
        """Start the request."""
        super().on_headers_complete()
        self.watch.enter(Phase.BODY)

    def on_message_complete(self) -> None:
        """End the body."""
        super().on_message_complete()
        self.watch.enter(Phase.IDLE if self.cycle.response_complete else Phase.RESPONSE)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if "peyvand.body_too_slow" in self.cycle.scope:
            self.watch.close_slowly()
        elif self.watch.phase is Phase.RESPONSE and self.cycle.response_complete:
            self.watch.enter(Phase.IDLE)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, without quoting it."""
        if self.cycle is None or self.cycle.response_complete:
            self.watch.refuse("malformed")
            return
        if self.watch.phase is Phase.BODY and not self.cycle.response_started:
            self.transport.write(refusal("malformed"))
        self.transport.close()  # without an answer to a whole request, which would say that nothing was done

    def _expired(self, phase: Phase) -> None:
        if phase is Phase.BODY and not self.cycle.response_started:
            cast(dict[str, Any], self.cycle.scope)["peyvand.body_too_slow"] = True  # `web.middleware` answers 408
            self.cycle.message_event.set()
            self.watch.enter(Phase.RESPONSE)
            return
        if phase is Phase.HEAD and self.watch.received:
            self.watch.refuse("body_too_slow")
        else:
            self.transport.close()
