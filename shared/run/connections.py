"""Limits of connections: how long a peer may take, and how many connections there may be.

Services (`run.http_protocol`) and the gateway (`peyvand.gateway.connections`) keep a `Watch` of each connection and
report to it what they read. It needs one timer, which looks at the clock every few seconds, not one per request.
"""

import asyncio
import resource
from collections.abc import Callable, Collection
from enum import Enum
from http import HTTPStatus

import msgspec
import structlog

from base.addresses import network_of
from observability import metrics
from programme.messages import problem_body

SPARE_FILES = 512  # file descriptors for everything that is no connection of a client
RETRY_AFTER = 5  # seconds
LOG_EVERY = 60.0  # seconds between two log lines about the same reason
LINGER = 1.0  # seconds in which a refused peer that still sends may read why

log = structlog.get_logger(__name__)


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds that a peer may take."""

    head: float = 10.0  # for a request with its headers: from the connection, later from the first byte
    body: float = 10.0  # for the first bytes of a body; each `rate` bytes that come earn one second more
    rate: float = 1_000.0  # bytes per second
    stall: float = 20.0  # that a sender can have earned: a body that came fast must not end slowly
    idle: float = 30.0  # between two requests
    drain: float = 30.0  # without reading any of a response that the buffers of both ends cannot hold

    @property
    def shortest(self) -> float:
        """Return the interval of looks at the clock with which no limit is missed."""
        return min(self.head, self.body, self.stall, self.idle, self.drain)


class Phase(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    RESPONSE = "response"
    IDLE = "idle"


class Connections:
    """The open connections of a process; makes space for new ones by closing those that wait for their peer."""

    def __init__(
        self,
        service: str,
        total: int,
        per_address: int,
        *,
        trusted: Collection[str] | Callable[[str], bool] = (),
        timeouts: Timeouts | None = None,
    ) -> None:
        """`trusted` are proxies: they hold connections of many clients, so only the total limits them."""
        self.service, self.total, self.per_address = service, total, per_address
        self.trusted = trusted if callable(trusted) else trusted.__contains__
        self.timeouts = timeouts or Timeouts()
        self.open: dict[Watch, None] = {}  # from the oldest to the newest
        self.by_address: dict[str, dict[Watch, None]] = {}
        self._logged: dict[str, float] = {}

    def admit(self, watch: "Watch") -> bool:
        """Count a connection, unless a limit is reached and no other one can be closed for it."""
        own = self.by_address.get(watch.address, {})
        if not watch.trusted and len(own) >= self.per_address and not self._evict(own, "address"):
            return False
        if len(self.open) >= self.total and not self._evict(self.open, "total"):
            return False
        self.open[watch] = None
        metrics.CONNECTIONS_OPEN.labels(self.service).set(len(self.open))
        self.by_address.setdefault(watch.address, {})[watch] = None
        return True

    def remove(self, watch: "Watch") -> None:
        """Forget a connection."""
        if self.open.pop(watch, watch) is None:
            own = self.by_address[watch.address]
            del own[watch]
            if not own:
                del self.by_address[watch.address]
            metrics.CONNECTIONS_OPEN.labels(self.service).set(len(self.open))

    def count(self, reason: str) -> None:
        """Count a connection that a limit has ended, and log the first of each minute."""
        metrics.CONNECTIONS_REFUSED.labels(self.service, reason).inc()
        now = asyncio.get_running_loop().time()
        if now >= self._logged.get(reason, -LOG_EVERY) + LOG_EVERY:
            self._logged[reason] = now
            log.warning(
                "connections are refused or closed: see peyvand_connections_refused_total",
                reason=reason,
                open=len(self.open),
                addresses=len(self.by_address),
            )

    def _evict(self, among: Collection["Watch"], limit: str) -> bool:
        """Close the oldest connection without a whole request, those with a body last. Return whether there is one."""
        for phases in ((Phase.HEAD, Phase.IDLE), (Phase.BODY,)):
            for each in among:
                if each.phase in phases and not each.trusted:
                    self.remove(each)
                    self.count(f"evicted_{limit}")
                    each.transport.abort()
                    return True
        self.count(f"refused_{limit}")
        return False


class Watch:
    """One connection: the phase it is in, since when, and the timer that ends it."""

    __slots__ = (
        "address",
        "buffered",
        "buffered_since",
        "connections",
        "earned_until",
        "expired",
        "loop",
        "paused",
        "phase",
        "received",
        "refused",
        "since",
        "timer",
        "transport",
        "trusted",
    )

    def __init__(
        self,
        connections: Connections,
        transport: asyncio.Transport,
        expired: Callable[[Phase], None],
        paused: Callable[[], bool],
    ) -> None:
        """`expired` is called when the peer took too long; `paused` returns whether we do not read at present."""
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.address = network_of(address)
        self.connections, self.transport, self.expired, self.paused = connections, transport, expired, paused
        self.trusted = connections.trusted(address)
        self.loop = asyncio.get_running_loop()
        self.phase, self.received = Phase.HEAD, 0
        self.refused = False  # what comes now is not read any more
        self.since = self.loop.time()
        self.earned_until = self.since + connections.timeouts.body  # when a body has been too slow
        self.buffered, self.buffered_since = 0, self.since  # bytes to be sent, and since when none was sent
        self.timer: asyncio.TimerHandle | None = None

    def start(self) -> bool:
        """Admit the connection, or answer 503 and close it."""
        self.timer = self.loop.call_later(self.connections.timeouts.shortest, self._look)
        if self.connections.admit(self):
            return True
        self.transport.write(refusal("connections_full", seconds=RETRY_AFTER))
        self.transport.close()
        return False

    def end(self) -> None:
        """Forget the connection, which is lost, and the protocol: only the garbage collector ends a circle."""
        self.connections.remove(self)
        if self.timer is not None:
            self.timer.cancel()
        del self.timer, self.expired, self.paused

    def refuse(self, code: str) -> None:
        """Answer a request that cannot be read, and end the connection."""
        self.transport.write(refusal(code))
        self.close_slowly()

    def close_slowly(self) -> None:
        """Close the connection after what was written, and ignore what comes.

        Closing at once would reset the connection of a peer that still sends, and the answer might be lost.
        """
        self.refused = True
        self.enter(Phase.IDLE)
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.loop.call_later(LINGER, self.transport.close)

    def read(self, n: int) -> None:
        """Count bytes that have come."""
        if n and self.phase is Phase.IDLE:
            self.enter(Phase.HEAD)
        self.received += n
        if n and self.phase is not Phase.RESPONSE:
            limits = self.connections.timeouts
            self.earned_until = min(self.earned_until + n / limits.rate, self.loop.time() + limits.stall)

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        self.phase, self.received = phase, 0
        self.since = self.loop.time()
        self.earned_until = self.since + self.connections.timeouts.body

    def _look(self) -> None:
        """End the connection if a limit has passed, else look again, at the latest when the next one does."""
        now, limits = self.loop.time(), self.connections.timeouts
        waiting = self.transport.get_write_buffer_size()
        if not waiting or waiting < self.buffered:
            self.buffered_since = now
        self.buffered = waiting
        if now >= self.buffered_since + limits.drain:
            self.connections.count("response_timeout")
            self.transport.abort()
            return
        if self.phase is Phase.BODY and self.paused():
            self.enter(Phase.BODY)  # the peer does not owe the time in which we do not read
        elif now >= self._deadline() and not self.transport.is_closing():
            if self.phase is not Phase.IDLE:
                self.connections.count(f"{self.phase.value}_timeout")
            self.expired(self.phase)
        next_deadline = self._deadline()
        if next_deadline <= now:
            next_deadline = now + limits.shortest  # it is being closed
        self.timer = self.loop.call_at(min(now + limits.shortest, next_deadline), self._look)

    def _deadline(self) -> float:
        limits = self.connections.timeouts
        match self.phase:
            case Phase.HEAD:
                return self.since + limits.head
            case Phase.BODY:
                return self.earned_until
            case Phase.IDLE:
                return self.since + limits.idle
            case Phase.RESPONSE:
                return float("inf")


def refusal(code: str, *, seconds: int = 0) -> bytes:
    """Return a whole response for a peer whose request was not read, so that its language is not known."""
    body = problem_body(code, 0, {"seconds": seconds})
    status = HTTPStatus(body["status"])
    content = msgspec.json.encode({**body, "title": status.phrase})
    retry = f"Retry-After: {seconds}\r\n" if seconds else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"{retry}Connection: close\r\n\r\n"
    )
    return head.encode() + content


def open_file_limit(wanted: int) -> int:
    """Raise the limit of open files to what the system allows; return how many connections fit, at most `wanted`."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = max(now, wanted + SPARE_FILES) if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, most))
    fit = min(wanted, max(1, possible - SPARE_FILES))
    if fit < wanted:
        log.warning("the limit of open files is lower than PEYVAND_MAX_CONNECTIONS: raise it (ulimit -n)", fit=fit)
    return fit
