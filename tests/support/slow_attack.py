"""Slow clients: `python -m tests.support.slow_attack CONNECTIONS HOST:PORT...` attacks until it is ended.

The connections come from 127.0.0.2 to 127.0.0.250 and are of four kinds: a request head and a body that come byte by
byte, silence, and a stream that is not read. One that is closed is opened again, 10 s after it was opened. It prints a
line when all are open.
"""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from itertools import count

import aiohttp

ADDRESSES = [f"127.0.0.{n}" for n in range(2, 251)]
OTHERS = [f"127.0.1.{n}" for n in range(1, 11)]  # several: a rate limit applies to each address
HEAD = b"GET /v1/nationwide HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BODY = b"POST /v1/nationwide HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n"
STREAM = b"GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
KINDS = (HEAD, BODY, b"", STREAM)
EVERY = 2.0  # seconds between two bytes of a connection
REOPEN = 10.0  # seconds between two connections of a client: these are slow, they do not flood
PARTS = 400  # of the connections, visited one after the other: thousands of clients do not act at once


class SlowClient:
    """One connection."""

    def __init__(self, number: int, target: tuple[str, int]) -> None:
        self.source, self.target = ADDRESSES[number % len(ADDRESSES)], target
        self.kind = KINDS[number % len(KINDS)]
        self.socket: socket.socket | None = None
        self.opens_at = time.monotonic() + REOPEN * random.random()

    def visit(self) -> None:
        """Connect, or send one more byte."""
        try:
            if self.socket is None:
                if time.monotonic() < self.opens_at:
                    return
                self.opens_at = time.monotonic() + REOPEN
                self.socket = socket.create_connection(self.target, 5, (self.source, 0))
                self.socket.setblocking(False)
                self.socket.send(self.kind)
                return
            if self.kind in (HEAD, BODY):
                self.socket.send(b"x")
            if self.kind is not STREAM:
                with suppress(BlockingIOError):
                    self.socket.recv(1)  # an answer is a refusal
                    self.close()
        except OSError:
            self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def main(connections: int, targets: Sequence[tuple[str, int]]) -> None:
    """Attack until the process is ended."""
    os.nice(10)
    clients = [SlowClient(n // len(targets), targets[n % len(targets)]) for n in range(connections)]
    opened = time.monotonic() + REOPEN + 2 * EVERY
    waiting = True
    for n in count():
        began = time.monotonic()
        for client in clients[n % PARTS :: PARTS]:
            client.visit()
        if waiting and began > opened:
            print("open", flush=True)
            waiting = False
        time.sleep(max(0.0, EVERY / PARTS - (time.monotonic() - began)))


@contextmanager
def attack(connections: int, targets: Sequence[tuple[str, int]]) -> Iterator[None]:
    """Attack while the block runs, with so many connections in a process of its own."""
    addresses = [f"{host}:{port}" for host, port in targets]
    command = [sys.executable, "-m", "tests.support.slow_attack", str(connections), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"open\n"
            yield
        finally:
            process.kill()


async def response_times(urls: Sequence[str], per_second: float, seconds: float) -> list[float]:
    """Send so many requests in turn to these addresses, half of them on new connections; return the sorted seconds.

    A request counts from its scheduled time, whether or not earlier ones were answered.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        sessions = []
        for address in OTHERS:
            for force_close in (False, True):
                connector = aiohttp.TCPConnector(local_addr=(address, 0), force_close=force_close)
                sessions.append(await stack.enter_async_context(aiohttp.ClientSession(connector=connector)))
        first = loop.time()

        async def one(n: int) -> float:
            at = first + n / per_second
            await asyncio.sleep(at - loop.time())
            session = sessions[n // len(urls) % len(sessions)]
            async with session.get(urls[n % len(urls)]) as response:
                await response.read()
                assert response.status in (200, 404), response.status
            return loop.time() - at

        return sorted(await asyncio.gather(*map(one, range(round(per_second * seconds)))))


if __name__ == "__main__":
    hosts = [each.split(":") for each in sys.argv[2:]]
    main(int(sys.argv[1]), [(host, int(port)) for host, port in hosts])
