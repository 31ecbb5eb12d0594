"""Slow clients against the running platform: others are answered as before; half-closed requests are answered."""

import socket
from statistics import median

import pytest

from tests.support.slow_attack import attack, response_times
from tests.support.system import RunningSystem

pytestmark = pytest.mark.server

CONNECTIONS, ROUNDS, SECONDS, RATE = 300, 2, 3.0, 60.0
RATIO = 3.0  # of a short measurement on a busy machine; `peyvand bench slow_clients` measures 5,000 connections


async def test_others_are_answered_as_before_beside_slow_clients(system: RunningSystem) -> None:
    ports = system.state.ports["gateway"], system.state.ports["reporting-api"]
    urls = [f"http://127.0.0.1:{port}/v1/nationwide" for port in ports]
    await response_times(urls, RATE, 1.0)
    before, during = [], []
    for _ in range(ROUNDS):
        before.append(await response_times(urls, RATE, SECONDS))
        with attack(CONNECTIONS, [("127.0.0.1", port) for port in ports]):
            during.append(await response_times(urls, RATE, SECONDS))
    ninth = [median(times[len(times) * 9 // 10] for times in kind) for kind in (before, during)]
    assert ninth[1] <= RATIO * ninth[0], (before, during)


@pytest.mark.parametrize("process", ["gateway", "registration-api"])
def test_a_half_closed_request_is_answered_by_the_platform(system: RunningSystem, process: str) -> None:
    path = b"/registration/v1/rounds/1404/applications"
    head = (
        b"POST " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", system.state.ports[process]), 10) as client:
        client.sendall(head + b"{}")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 401 ") and answer.endswith(b"}")
