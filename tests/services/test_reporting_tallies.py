"""The tallies in a real MongoDB: the same as in memory, in the transaction of the facts."""

import pytest

from contracts.envelope import encode
from kernel.batch import process
from kernel.errors import Fenced
from kernel.record import Message
from kernel.stores.mongodb import MongoStore, connect
from reporting.domain import RULES
from reporting.main import prepare
from reporting.store import Board, MemoryTallies, Tallies
from tests.support.reporting_round import NOW, a_round, at, hear
from tests.support.servers import Servers

pytestmark = pytest.mark.server


async def test_the_same_as_in_memory(servers: Servers) -> None:
    said = a_round().said
    memory = MemoryTallies()
    await hear(memory, said)
    client = connect(servers.mongo)
    try:
        database = client[servers.database()]
        await prepare(database)
        store, tallies = MongoStore(database, "reporting", RULES), Tallies(database)
        messages = [Message(each, encode(each)) for each in said]
        for start in range(0, len(messages), 700):
            await process(store, messages[start : start + 700], {}, at(NOW), tallies.move)
        await process(store, messages, {}, at(NOW), tallies.move)  # all of it once more
        one, other = Board(memory, at(NOW), pause=0), Board(tallies, at(NOW), pause=0)
        expected, found = await one.figures(), await other.figures()
        assert expected is not None and found is not None
        assert found.counts == expected.counts and found.events == expected.events == len(said)
        assert found.ranks == expected.ranks and found.latency(0.95) is not None
        assert await database.records.count_documents({"kind": "applicant"}) == sum(range(31))
    finally:
        await client.close()


async def test_a_fenced_batch_moves_no_tally(servers: Servers) -> None:
    client = connect(servers.mongo)
    try:
        database = client[servers.database()]
        await prepare(database)
        store, tallies = MongoStore(database, "reporting", RULES), Tallies(database)
        tp = ("peyvand.registration", 0)
        await store.cursors([tp])
        messages = [Message(each, encode(each)) for each in a_round().said[:50]]
        with pytest.raises(Fenced):
            await process(store, messages, {tp: (5, 9)}, at(NOW), tallies.move)
        assert (await tallies.read({})).events == 0
        await process(store, messages, {tp: (0, 50)}, at(NOW), tallies.move)
        with pytest.raises(Fenced):  # a zombie with the same batch
            await process(store, messages, {tp: (0, 50)}, at(NOW), tallies.move)
        assert (await tallies.read({})).events == 50
    finally:
        await client.close()
