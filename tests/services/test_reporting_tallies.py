"""The tallies in a real MongoDB: equal to those in memory, and moved in the transaction of the facts."""

import threading
from typing import Any

import bson
import pytest

from contracts.envelope import encode
from kernel.batch import process
from kernel.errors import Fenced
from kernel.record import Message
from kernel.stores.mongodb import connect
from reporting.ranking_cache import RankingCache
from reporting.service import service
from reporting.tallies import MemoryTallies, MongoTallies
from tests.support.reporting_round import NOW, consume, fixed_clock, round_events
from tests.support.servers import Servers

pytestmark = pytest.mark.server


async def test_figures_over_mongodb_equal_those_over_memory(servers: Servers) -> None:
    envelopes = round_events().envelopes
    memory = MemoryTallies()
    facts = await consume(memory, envelopes)
    client = connect(servers.mongo)
    try:
        database = client[servers.database()]
        await service.create_indexes(database)
        store, tallies = service.mongo_store(database), MongoTallies(database)
        messages = [Message(each, encode(each)) for each in envelopes]
        for start in range(0, len(messages), 700):
            await process(store, messages[start : start + 700], {}, fixed_clock(NOW), tallies.move)
        await process(store, messages, {}, fixed_clock(NOW), tallies.move)  # every event again
        one = RankingCache(facts, memory, fixed_clock(NOW), pause=0)
        other = RankingCache(store, tallies, fixed_clock(NOW), pause=0)
        expected, found = await one.figures(), await other.figures()
        assert expected is not None and found is not None
        assert found.counts == expected.counts and found.events == expected.events == len(envelopes)
        assert found.ranks == expected.ranks and found.latency(0.95) is not None
        assert await database.records.count_documents({"kind": "applicant"}) == sum(range(31))
    finally:
        await client.close()


async def test_a_fenced_batch_moves_no_tally(servers: Servers) -> None:
    client = connect(servers.mongo)
    try:
        database = client[servers.database()]
        await service.create_indexes(database)
        store, tallies = service.mongo_store(database), MongoTallies(database)
        tp = ("peyvand.registration", 0)
        await store.cursors([tp])
        messages = [Message(each, encode(each)) for each in round_events().envelopes[:50]]
        with pytest.raises(Fenced):
            await process(store, messages, {tp: (5, 9)}, fixed_clock(NOW), tallies.move)
        assert (await tallies.read({}, NOW.date())).events == 0
        await process(store, messages, {tp: (0, 50)}, fixed_clock(NOW), tallies.move)
        with pytest.raises(Fenced):  # a worker that has lost the partition, with the same batch
            await process(store, messages, {tp: (0, 50)}, fixed_clock(NOW), tallies.move)
        assert (await tallies.read({}, NOW.date())).events == 50
    finally:
        await client.close()


async def test_documents_are_decoded_off_the_event_loop(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    client, threads = connect(servers.mongo), set[int]()
    decode = bson.decode

    def watched(raw: bytes) -> dict[str, Any]:
        threads.add(threading.get_ident())
        return decode(raw)

    monkeypatch.setattr("reporting.tallies.bson.decode", watched)
    try:
        database = client[servers.database()]
        await service.create_indexes(database)
        tallies = MongoTallies(database)
        messages = [Message(each, encode(each)) for each in round_events().envelopes[:200]]
        await process(service.mongo_store(database), messages, {}, fixed_clock(NOW), tallies.move)
        assert (await tallies.read({}, NOW.date())).documents
    finally:
        await client.close()
    assert threads and threading.get_ident() not in threads
