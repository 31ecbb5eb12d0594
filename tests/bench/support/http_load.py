"""A load client with little CPU cost of its own: HTTP/1.1 over kept connections, requests built beforehand."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from peyvand.simulation.people import application, person
from peyvand.simulation.plan import ROUND
from programme.reference import counties, job_fields, provinces

CONSENT = "1404-1"
KEEP_ALIVE = 10.0  # seconds of an idle connection; shorter than the server's, so that no request meets a closing one
PATH = f"/registration/v1/rounds/{ROUND}/applications"


class Response(msgspec.Struct, frozen=True):
    """One response: when its request was due and when it came (both in seconds of the epoch), and its content."""

    due: float
    received_at: float
    status: int
    body: bytes

    @property
    def seconds(self) -> float:
        """Return the seconds from when the request was due to the response."""
        return self.received_at - self.due


class Connection:
    """One connection, for one request at a time."""

    def __init__(self, port: int) -> None:
        self.port, self.used = port, 0.0
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: bytes, due: float) -> Response:
        """Send one request; return status 0 if the connection broke."""
        if time.time() - self.used > KEEP_ALIVE:
            self.close()
        try:
            reader, writer = self.streams = self.streams or await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            self.used = time.time()
            return Response(due, self.used, int(head[9:12]), body)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Response(due, time.time(), 0, b"")

    def close(self) -> None:
        """Close the connection."""
        if self.streams:
            self.streams[1].close()
            self.streams = None


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> list[Response]:
    """Run so many clients, each of which sends when it has its response, until the time or the requests are used up."""
    left, responses, deadline = iter(requests), list[Response](), time.time() + seconds

    async def client() -> None:
        connection = Connection(port)
        for request in left:
            responses.append(await connection.send(request, time.time()))
            if time.time() > deadline:
                break
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return responses


async def open_loop(port: int, requests: Sequence[bytes], per_second: float) -> list[Response]:
    """Send each request at its time, whether or not earlier ones were answered; open connections as needed."""
    idle: list[Connection] = []
    responses: list[Response] = []
    sent: set[asyncio.Task[None]] = set()
    began = time.time() + 0.05

    async def send(request: bytes, due: float) -> None:
        connection = idle.pop() if idle else Connection(port)
        responses.append(await connection.send(request, due))
        idle.append(connection)

    for n, request in enumerate(requests):
        due = began + n / per_second
        if (early := due - time.time()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(send(request, due))
        sent.add(task)
        task.add_done_callback(sent.discard)
    await asyncio.gather(*sent)
    for connection in idle:
        connection.close()
    return responses


class People:
    """Requests of registrars, each for a person of their province who is not registered yet."""

    def __init__(self, tokens: Mapping[str, str], seed: int = 1404) -> None:
        self.tokens, self.random, self.serial = tokens, Random(seed), 0
        self.fields = list(job_fields().values())
        self.counties = {code: [c for c in counties().values() if c.province == code] for code in provinces()}

    def requests(self, n: int, path: str = PATH) -> list[bytes]:
        """Return the next `n` requests, the provinces in turn, so that no registrar reaches a rate limit."""
        codes, built = list(self.tokens), []
        for _ in range(n):
            self.serial += 1
            province = codes[self.serial % len(codes)]
            row = person(self.serial, self.random, self.counties[province], self.fields, CONSENT)
            built.append(
                self._request(
                    path, json.dumps(application(row)).encode(), self.tokens[province], f"bench-{self.serial:06d}"
                )
            )
        return built

    @staticmethod
    def _request(path: str, body: bytes, token: str, key: str) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
