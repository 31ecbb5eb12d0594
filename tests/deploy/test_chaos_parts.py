"""Components of chaos: the schedule of a seed, the verification, and the faulty proxy."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from base.tasks import cancel_and_wait
from peyvand.chaos.check import duplicates, log_defects, lost, missing_acts
from peyvand.chaos.faults import NETWORK_FAULTS, PROCESS_FAULTS, PROXIED, RESTARTS, SERVERS, schedule
from peyvand.chaos.proxy import FaultyProxy
from peyvand.commands.events import LogEntry

LIMIT = 60.0  # seconds, on a busy machine


def event(sequence: int, kind: str = "registered", more: str = "") -> bytes:
    """Return an event of registration about the subject a."""
    type_ = f"ir.peyvand.registration.applicant.{kind}.v1"
    content = {"source": "registration", "subject": "a", "sequence": sequence, "type": type_, "more": more}
    return json.dumps(content).encode()


def log(*events: bytes) -> list[LogEntry]:
    """Return these events as records of the log."""
    return [LogEntry("peyvand.registration", 0, n, raw, None) for n, raw in enumerate(events)]


def stored(*events: bytes) -> dict[str, dict[str, list[bytes]]]:
    """Return the stores after registration has emitted these events about the subject a."""
    return {"registration": {"a": list(events)}}


def test_a_seed_determines_the_faults() -> None:
    assert schedule(7, 50, 2) == schedule(7, 50, 2) != schedule(8, 50, 2)


def test_two_hundred_faults_cover_every_kind_on_every_target() -> None:
    drawn = {(each.target, each.kind) for each in schedule(7, 200, 2)}
    assert {(server, kind) for server in SERVERS for kind in PROCESS_FAULTS} <= drawn
    assert {(f"to {name}", kind) for name in PROXIED for kind in NETWORK_FAULTS} <= drawn
    assert {("reporting-worker-2", kind) for kind in (*PROCESS_FAULTS, *RESTARTS)} <= drawn


def test_a_lost_application_is_detected() -> None:
    assert lost(["a", "b"], ["a"]) == ["b"]


def test_a_duplicate_registration_is_detected() -> None:
    assert duplicates(stored(event(1), event(2, "admitted"))) == []
    assert duplicates(stored(event(1), event(2))) == ["a: applicant.registered"]


def test_a_lost_or_duplicate_act_of_an_officer_is_detected() -> None:
    """A decision was acknowledged, and the record has no event of it, or two."""
    once = json.dumps({"type": "ir.peyvand.screening.case.decided.v1"}).encode()
    acts = {("a", "case.decided")}
    assert missing_acts(acts, {"screening": {"a": [once]}}) == [] == duplicates({"screening": {"a": [once]}})
    assert missing_acts(acts, {"screening": {"a": [], "b": [once]}}) == ["a: case.decided"]
    assert duplicates({"screening": {"a": [once, once]}}) == ["a: case.decided"]


def test_a_complete_log_has_no_defects() -> None:
    """Repeated events are allowed, also after later ones."""
    one, two = event(1), event(2)
    assert log_defects(log(one, two, one, two), stored(one, two)) == []


@pytest.mark.parametrize(
    ("published", "emitted"),
    [
        ([event(2)], [event(1), event(2)]),
        ([event(2), event(1)], [event(1), event(2)]),
        ([event(1)], [event(1), event(2)]),
        ([event(1), event(2)], [event(1)]),
        ([event(1), event(1, more="another")], [event(1)]),
        ([], [event(1)]),
    ],
    ids=["missing", "disordered", "never sent", "never emitted", "another event under its sequence", "nothing sent"],
)
def test_a_defect_of_the_log_is_detected(published: list[bytes], emitted: list[bytes]) -> None:
    assert log_defects(log(*published), stored(*emitted))


@pytest.fixture
async def proxy() -> AsyncIterator[FaultyProxy]:
    """Yield a proxy before an echo server."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultyProxy("echo", lambda: int(server.sockets[0].getsockname()[1]))
    await proxy.start()
    yield proxy
    await proxy.stop()
    server.close()


async def connected(proxy: FaultyProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection that has transferred data."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(10), LIMIT) == b"hello"
    return reader, writer


async def test_a_blackhole_delays_data_and_loses_none(proxy: FaultyProxy) -> None:
    reader, writer = await connected(proxy)
    blackhole = asyncio.create_task(proxy.blackhole(0.3))
    await asyncio.sleep(0)
    writer.write(b"now")
    received = asyncio.create_task(reader.read(10))
    await blackhole
    assert not received.done(), "the answer needs more turns of the event loop than the end of the fault"
    assert await asyncio.wait_for(received, LIMIT) == b"now"
    writer.close()


async def test_a_reset_closes_the_connection_with_an_error(proxy: FaultyProxy) -> None:
    reader, _ = await connected(proxy)
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(10), LIMIT)


async def test_a_half_open_connection_transfers_nothing_and_a_new_one_works(proxy: FaultyProxy) -> None:
    reader, writer = await connected(proxy)
    proxy.half_open()
    writer.write(b"lost")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(10), 0.3)
    (await connected(proxy))[1].close()
    writer.close()


async def test_a_slow_network_delays_data(proxy: FaultyProxy) -> None:
    reader, writer = await connected(proxy)
    slow = asyncio.create_task(proxy.slow(10 * LIMIT, 0.2))
    await asyncio.sleep(0)
    began = asyncio.get_running_loop().time()
    writer.write(b"now")
    assert await asyncio.wait_for(reader.read(10), LIMIT) == b"now"
    assert asyncio.get_running_loop().time() - began > 0.3, "each way"
    await cancel_and_wait(slow)
    assert not proxy.delay
    writer.close()
