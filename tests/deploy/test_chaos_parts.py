"""The storm's own parts: the faults of a seed, the check that must bite, and the bad network."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from peyvand.chaos.check import holes, lost, twice, untold
from peyvand.chaos.faults import ACTS, LINK_ACTS, LINKS, PARTS, schedule
from peyvand.chaos.proxy import Link
from peyvand.commands.events import Heard


def event(sequence: int, kind: str = "registered", more: str = "") -> bytes:
    """What registration says."""
    type_ = f"ir.peyvand.registration.applicant.{kind}.v1"
    told = {"source": "registration", "subject": "a", "sequence": sequence, "type": type_, "more": more}
    return json.dumps(told).encode()


def log(*said: bytes) -> list[Heard]:
    """These, as they lie in the log."""
    return [Heard("peyvand.registration", 0, n, raw, None) for n, raw in enumerate(said)]


def kept(*said: bytes) -> dict[str, dict[str, list[bytes]]]:
    """The store of registration that emitted these about one subject."""
    return {"registration": {"a": list(said)}}


def test_a_seed_gives_the_same_faults() -> None:
    assert schedule(7, 50, 2) == schedule(7, 50, 2) != schedule(8, 50, 2)


def test_a_storm_of_two_hundred_knows_every_fault_of_every_target() -> None:
    found = {(each.target, each.act) for each in schedule(7, 200, 2)}
    assert {(part, act) for part in PARTS for act in ACTS} <= found
    assert {(f"to {link}", act) for link in LINKS for act in LINK_ACTS} <= found
    assert {("reporting-worker-2", act) for act in ACTS} <= found


def test_a_lost_application_is_noticed() -> None:
    assert lost(["a", "b"], ["a"]) == ["b"]


def test_one_that_is_counted_twice_is_noticed() -> None:
    assert twice(kept(event(1), event(2, "admitted"))) == []
    assert twice(kept(event(1), event(2))) == ["a: applicant.registered"]


def test_an_officers_act_that_is_lost_or_done_twice_is_noticed() -> None:
    """Decided, answered with it, and the record does not say so; or says so twice."""
    once = json.dumps({"type": "ir.peyvand.screening.case.decided.v1"}).encode()
    acts = {("a", "case.decided")}
    assert untold(acts, {"screening": {"a": [once]}}) == [] == twice({"screening": {"a": [once]}})
    assert untold(acts, {"screening": {"a": [], "b": [once]}}) == ["a: case.decided"]
    assert twice({"screening": {"a": [once, once]}}) == ["a: case.decided"]


def test_a_whole_log_has_no_holes() -> None:
    """Repeats are allowed, and what comes again after later ones."""
    one, two = event(1), event(2)
    assert holes(log(one, two, one, two), kept(one, two)) == []


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ([event(2)], [event(1), event(2)]),
        ([event(2), event(1)], [event(1), event(2)]),
        ([event(1)], [event(1), event(2)]),
        ([event(1), event(2)], [event(1)]),
        ([event(1), event(1, more="another")], [event(1)]),
        ([], [event(1)]),
    ],
    ids=["missing", "disordered", "never sent", "never emitted", "another under its number", "nothing sent"],
)
def test_a_wrong_log_is_noticed(said: list[bytes], stored: list[bytes]) -> None:
    assert holes(log(*said), kept(*stored))


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """The way to somebody who says everything again."""

    async def again(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(again, "127.0.0.1", 0)
    link = Link("echo", lambda: int(server.sockets[0].getsockname()[1]))
    await link.start()
    yield link
    await link.stop()
    server.close()


async def said_again(link: Link) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that works."""
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.read(10), 5) == b"hello"
    return reader, writer


async def test_a_held_way_lets_nothing_through_and_loses_nothing(link: Link) -> None:
    reader, writer = await said_again(link)
    held = asyncio.create_task(link.hold(0.3))
    await asyncio.sleep(0)
    writer.write(b"now")
    heard = asyncio.create_task(reader.read(10))
    await asyncio.sleep(0.15)
    assert not heard.done()
    await held
    assert await asyncio.wait_for(heard, 5) == b"now"
    writer.close()


async def test_a_reset_way_says_so(link: Link) -> None:
    reader, _ = await said_again(link)
    link.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(10), 5)


async def test_a_half_open_way_stays_silent_for_ever_and_a_new_one_works(link: Link) -> None:
    reader, writer = await said_again(link)
    link.forget()
    writer.write(b"anybody")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(10), 0.3)
    (await said_again(link))[1].close()
    writer.close()


async def test_a_slow_way_takes_its_time(link: Link) -> None:
    reader, writer = await said_again(link)
    slow = asyncio.create_task(link.slow(1.0, 0.2))
    await asyncio.sleep(0)
    writer.write(b"now")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(heard := asyncio.create_task(reader.read(10))), 0.1)
    assert await asyncio.wait_for(heard, 5) == b"now"
    slow.cancel()
    writer.close()
