"""A load client that costs little beside what it measures: HTTP/1.1 over kept connections, requests made beforehand."""

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
KEPT = 10.0  # seconds a connection is kept unused: less than the server keeps it, so that none is met as it closes
PATH = f"/registration/v1/rounds/{ROUND}/applications"


class Answer(msgspec.Struct, frozen=True):
    """One answer: when it was due to be asked, when it came (both seconds of the epoch), and what it says."""

    due: float
    came: float
    status: int
    body: bytes

    @property
    def seconds(self) -> float:
        """How long it took, from when it was due."""
        return self.came - self.due


class Line:
    """One connection: asks, waits, and is free again."""

    def __init__(self, port: int) -> None:
        self.port, self.used = port, 0.0
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, due: float) -> Answer:
        """Sends one request; status 0 where the connection broke."""
        if time.time() - self.used > KEPT:
            self.close()
        try:
            reader, writer = self.streams = self.streams or await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            self.used = time.time()
            return Answer(due, self.used, int(head[9:12]), body)
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return Answer(due, time.time(), 0, b"")

    def close(self) -> None:
        """Hangs up."""
        if self.streams:
            self.streams[1].close()
            self.streams = None


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> list[Answer]:
    """So many clients, each asks when it was answered, until the time is over or nothing is left to ask."""
    left, answers, over = iter(requests), list[Answer](), time.time() + seconds

    async def client() -> None:
        line = Line(port)
        for request in left:
            answers.append(await line.ask(request, time.time()))
            if time.time() > over:
                break
        line.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def open_loop(port: int, requests: Sequence[bytes], per_second: float) -> list[Answer]:
    """Asks each at its moment, answered or not; a new connection where all others wait."""
    free: list[Line] = []
    answers: list[Answer] = []
    asked: set[asyncio.Task[None]] = set()
    began = time.time() + 0.05

    async def ask(request: bytes, due: float) -> None:
        line = free.pop() if free else Line(port)
        answers.append(await line.ask(request, due))
        free.append(line)

    for n, request in enumerate(requests):
        due = began + n / per_second
        if (early := due - time.time()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(ask(request, due))
        asked.add(task)
        task.add_done_callback(asked.discard)
    await asyncio.gather(*asked)
    for line in free:
        line.close()
    return answers


class People:
    """People nobody has registered yet, each as a whole request of a registrar of their province."""

    def __init__(self, tokens: Mapping[str, str], seed: int = 1404) -> None:
        self.tokens, self.chance, self.serial = tokens, Random(seed), 0
        self.fields = list(job_fields().values())
        self.counties = {code: [c for c in counties().values() if c.province == code] for code in provinces()}

    def requests(self, n: int, path: str = PATH) -> list[bytes]:
        """The next `n` people, the provinces in turn: no registrar meets a rate limit."""
        codes, made = list(self.tokens), []
        for _ in range(n):
            self.serial += 1
            province = codes[self.serial % len(codes)]
            row = person(self.serial, self.chance, self.counties[province], self.fields, CONSENT)
            made.append(
                self._request(
                    path, json.dumps(application(row)).encode(), self.tokens[province], f"bench-{self.serial:06d}"
                )
            )
        return made

    @staticmethod
    def _request(path: str, body: bytes, token: str, key: str) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {token}\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
