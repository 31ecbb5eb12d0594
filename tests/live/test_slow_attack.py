"""Slow clients against the running platform: others are all answered; half-closed requests are answered.

How fast others are answered beside 5,000 slow connections is measured by `peyvand bench slow_clients`.
"""

import asyncio
import re
import socket

import httpx
import pytest

from peyvand.local_cluster.processes import wait_until
from tests.support.slow_attack import attack, response_times
from tests.support.system import RunningSystem

pytestmark = pytest.mark.server

CONNECTIONS, SECONDS, RATE = 300, 3.0, 60.0


def open_connections(port: int) -> int:
    """Return how many connections a process of the platform holds."""
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text
    return sum(int(float(n)) for n in re.findall(r"^peyvand_connections_open\{[^}]*\} (\S+)$", metrics, re.MULTILINE))


async def test_others_are_answered_beside_slow_clients(system: RunningSystem) -> None:
    gateway, api = system.state.ports["gateway"], system.state.ports["reporting-api"]
    with attack(CONNECTIONS, [("127.0.0.1", port) for port in (gateway, api)]):
        held = await asyncio.to_thread(wait_until, lambda: open_connections(api) > CONNECTIONS // 8, 60)
        assert held, "the attackers hold no connections: this would show nothing"
        urls = [f"http://127.0.0.1:{port}/v1/nationwide" for port in (gateway, api)]
        assert len(await response_times(urls, RATE, SECONDS)) == RATE * SECONDS


@pytest.mark.parametrize("process", ["gateway", "registration-api"])
def test_a_half_closed_request_is_answered_by_the_platform(system: RunningSystem, process: str) -> None:
    path = b"/registration/v1/rounds/1404/applications"
    head = (
        b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", system.state.ports[process]), 60) as client:
        client.sendall(head + b"{}")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ") and answer.endswith(b"}")
