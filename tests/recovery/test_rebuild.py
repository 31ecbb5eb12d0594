"""A rebuild from the log gives the very projection that a worker has made, however often it is killed."""

import asyncio
import os
from collections import Counter
from datetime import date
from random import Random
from typing import Any

import pytest

from kernel.kafka.relay import TopicIds
from peyvand.rebuild.processes import AlreadyBuilt, rebuild
from peyvand.verify.days_off import recount_calendar
from recovery.rebuild import Rebuild
from tests.support.rebuilding import content, rebuilding, start_rebuild
from tests.support.servers import Servers

pytestmark = pytest.mark.server

TODAY = date(2027, 6, 1)
KILLS = int(os.environ.get("PEYVAND_REBUILD_KILLS", "5"))
FIELDS = {"R": "registered", "verified": "verified", "S": "screened", "Ad": "admitted", "C": "identified"}
FIELDS |= {"M": "connected", "claims": "claims", "confirmed": "claims_confirmed"}


def figures(tallies: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return the sums up to today, by province."""
    sums: Counter[tuple[str, str]] = Counter()
    for name, days in tallies.items():
        for day, by in days.items():
            for indicator, n in by.items():
                sums[name.split("/")[1], indicator] += n if date.fromisoformat(day) <= TODAY else 0
    return {p: {field: sums[p, name] for field, name in FIELDS.items()} for p in {p for p, _ in sums}}


async def test_a_rebuild_equals_the_live_projection_and_the_recount(servers: Servers) -> None:
    """With repeats, withdrawals, erasures, a discarded event, one that the log has lost, and undecodable bytes."""
    async with rebuilding(servers, 150) as log:
        live = await content(servers, log.live)
        assert live["discarded"] and live["undecodable"] and not live["parked"]
        rebuilt = await rebuild(log.target, 2, lambda *_: None)
        assert rebuilt.partitions == 32 and rebuilt.events == sum(live["cursors"].values())
        assert await content(servers, log.target.database) == live
        with pytest.raises(AlreadyBuilt):
            await rebuild(log.target, 2, lambda *_: None)
        assert await log.served() == log.target.database
        independent = log.recounted(recount_calendar(), TODAY)
        counted = {p: {field: getattr(c, field) for field in FIELDS} for p, c in independent.items()}
        assert figures(live["tallies"]) == counted


async def test_what_is_discarded_during_a_rebuild_is_discarded_in_the_new_generation(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is parked when its partition is built; an operator discards the one before it in the live records."""
    consume = Rebuild.catch_up
    async with rebuilding(servers, 10) as log:
        source, missing = await log.publish_after_a_gap()

        async def operate_and_consume(building: Rebuild, ids: TopicIds) -> None:
            monkeypatch.setattr(Rebuild, "catch_up", consume)
            await log.discard(source, missing)
            await building.catch_up(ids)

        monkeypatch.setattr(Rebuild, "catch_up", operate_and_consume)
        rebuilt = await rebuild(log.target, 2, lambda *_: None)
        live = await content(servers, log.live)
        assert rebuilt.partitions == 33 and source[0] in live["discarded"] and not live["parked"]
        assert await content(servers, log.target.database) == live


@pytest.mark.long
async def test_a_rebuild_that_is_killed_again_and_again_goes_on(servers: Servers) -> None:
    """The generation before is served until another one is whole; PEYVAND_REBUILD_KILLS=20 takes longer."""
    random, kills = Random(7), 0
    async with rebuilding(servers, 60) as log:
        live = await content(servers, log.live)
        while kills < KILLS:
            process = await start_rebuild(log.target)
            try:
                await asyncio.wait_for(process.wait(), random.uniform(0.5, 4))
                assert process.returncode == 0 and await log.served() == log.target.database
            except TimeoutError:
                process.kill()
                await process.wait()
                kills += 1
            if await log.served() == log.target.database:  # also where the kill came after the last step
                await log.undo()
        await rebuild(log.target, 2, lambda *_: None)
        assert await log.served() == log.target.database
        assert await content(servers, log.target.database) == live
