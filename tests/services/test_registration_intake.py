"""Intake: does it refuse politely when the store holds all it can, and only then, and cheaply?"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import registration.api
from contracts.commands import Refused
from kernel.errors import Transient
from kernel.stores.mongodb import connect
from registration.main import prepare
from tests.support.registration_api import RegistrationOffice, a_file, registration_office
from tests.support.servers import Servers
from web.load_shedding import BEGINNING, AdmissionControl, MongoLoad

MOST, LEAST = 10, 500


class Told:
    """A store that holds as much as a test says."""

    def __init__(self) -> None:
        self.waiting, self.left, self.asked = 0, 1_000, 0

    async def unsent(self, most: int) -> int:
        """What waits, up to `most`."""
        self.asked += 1
        await asyncio.sleep(0)
        if self.waiting < 0:
            raise Transient("away")
        return min(self.waiting, most)

    async def free(self) -> int:
        """What is free."""
        return self.left


def intake(load: Told) -> AdmissionControl:
    """A bound that is looked at anew each time."""
    return AdmissionControl(load, "registration", most=MOST, least_free=LEAST)


def again(of: AdmissionControl) -> None:
    """Time passes."""
    of.looked_at = of.disk_at = float("-inf")


@pytest.fixture
async def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[RegistrationOffice, Told]]:
    """An office whose store holds all it can."""
    load = Told()
    load.waiting = MOST + 1
    monkeypatch.setattr(registration.api, "admission_control_of", lambda *_, **__: intake(load))
    async with registration_office(tmp_path) as office:
        await office.open()
        yield office, load


async def test_what_takes_in_answers_503_and_when_to_come_again(full: tuple[RegistrationOffice, Told]) -> None:
    office, _ = full
    refused = await office.register()
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "30"
    body = refused.json()
    assert body["code"] == "intake_full" and "30" in body["detail"] and "۳۰" in body["detail_fa"]
    path = "/v1/rounds/1404/applications/import"
    assert (await office.ask("POST", path, csv=a_file(range(1, 2)), key="key-file")).status_code == 503
    form = await office.client.post("/registration/apply/check", data={"consent": "1404-1"})
    assert form.status_code == 503 and form.headers["Retry-After"] == "30"
    assert not [s for s in office.store.kept if ":" not in s], "nothing was taken"


async def test_whoever_may_not_come_in_hears_that_first_and_the_rest_goes_on(
    full: tuple[RegistrationOffice, Told],
) -> None:
    office, load = full
    assert (await office.ask("POST", "/v1/rounds/1404/applications", "screener", json={})).status_code == 403
    assert (await office.ask("GET", "/v1/rounds/1404/applications")).status_code == 200
    assert (await office.client.get("/registration/apply")).status_code == 200
    load.waiting = MOST
    office.app.openapi()  # what is described is not asked
    await asyncio.sleep(1.05)
    assert (await office.register()).status_code == 201, "at the bound it is open"


async def test_the_store_is_looked_at_once_however_many_ask() -> None:
    load = Told()
    bound = intake(load)
    await asyncio.gather(*(bound.check() for _ in range(200)))
    assert load.asked == 1
    load.waiting = MOST + 1
    await bound.check()
    again(bound)
    with pytest.raises(Refused, match="intake_full"):
        await bound.check()


async def test_too_little_disk_refuses_too_and_what_cannot_be_asked_does_not() -> None:
    load = Told()
    load.left = LEAST - 1
    bound = intake(load)
    with pytest.raises(Refused, match="intake_full"):
        await bound.check()
    load.left = LEAST
    again(bound)
    await bound.check()
    load.waiting = -1
    again(bound)
    await bound.check()


@pytest.mark.server
async def test_mongodb_counts_what_is_unsent_from_its_index_alone(servers: Servers, tmp_path: Path) -> None:
    client, name = connect(servers.mongo), servers.database()
    try:
        await prepare(client[name])
        office = RegistrationOffice(tmp_path, client, name)
        async with office.client:
            await office.open()
            made = await office.register()
            assert made.status_code == 201, made.text
            load = MongoLoad(office.store)
            unsent = await load.unsent(100)
            assert unsent >= 2 and await load.unsent(1) == 1 and await load.free() > 0
            await office.store.mark_relayed({made.json()["id"]: 99})
            assert await load.unsent(100) == unsent - 1
            query = {"partition": {"$in": list(range(32))}, "unrelayed_since": {"$gte": BEGINNING}}
            plan = await client[name].command(
                "explain", {"count": "records", "query": query}, verbosity="executionStats"
            )
            assert plan["executionStats"]["totalDocsExamined"] == 0, plan["queryPlanner"]["winningPlan"]
    finally:
        await client.drop_database(name)
        await client.drop_database(f"{name}_keys")
        await client.close()
