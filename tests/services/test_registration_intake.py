"""Admission control of new applications: 503 while the store is full, and only then, at little cost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.commands import Refused
from kernel.errors import Transient
from kernel.stores.mongodb import connect
from registration.api import dependencies
from registration.service import service
from tests.support.registration_api import RegistrationApi, csv_file, registration_api
from tests.support.servers import Servers
from web.load_shedding import EPOCH, AdmissionControl, MongoLoad

MAX_PENDING_EVENTS, MIN_FREE_DISK = 10, 500


class FakeLoad:
    """The load that a test sets; `unavailable` as if the database could not be reached."""

    def __init__(self) -> None:
        self.pending_subjects, self.disk, self.counted, self.unavailable = 0, 1_000, 0, False

    async def pending(self, limit: int) -> int:
        """Return how many subjects have pending events, counted up to `limit`."""
        self.counted += 1
        await asyncio.sleep(0)
        if self.unavailable:
            raise Transient("unavailable")
        return min(self.pending_subjects, limit)

    async def free_disk(self) -> int:
        """Return the free megabytes."""
        return self.disk


def admission_control_of(load: FakeLoad) -> AdmissionControl:
    """Return an admission control with small limits."""
    return AdmissionControl(load, "registration", max_pending_events=MAX_PENDING_EVENTS, min_free_disk=MIN_FREE_DISK)


def expire(control: AdmissionControl) -> None:
    """Let the next check measure the load again."""
    control.checked_at = control.disk_checked_at = float("-inf")


@pytest.fixture
async def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[RegistrationApi, FakeLoad]]:
    """Registration over a full store."""
    load = FakeLoad()
    load.pending_subjects = MAX_PENDING_EVENTS + 1
    monkeypatch.setattr(dependencies, "admission_control_of", lambda *_, **__: admission_control_of(load))
    async with registration_api(tmp_path) as api:
        await api.open_round()
        yield api, load


async def test_new_applications_get_503_with_retry_after(full: tuple[RegistrationApi, FakeLoad]) -> None:
    api, _ = full
    refused = await api.register()
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "30"
    body = refused.json()
    assert body["code"] == "intake_full" and "30" in body["detail"] and "۳۰" in body["detail_fa"]
    path = "/v1/rounds/1404/applications/import"
    assert (await api.request("POST", path, csv=csv_file(range(1, 2)), key="key-file")).status_code == 503
    form = await api.client.post("/registration/apply/check", data={"consent": "1404-1"})
    assert form.status_code == 503 and form.headers["Retry-After"] == "30"
    assert not await api.applicants(), "nothing was stored"


async def test_authorization_comes_first_and_other_requests_are_served(full: tuple[RegistrationApi, FakeLoad]) -> None:
    api, load = full
    assert (await api.request("POST", "/v1/rounds/1404/applications", "screener", json={})).status_code == 403
    assert (await api.request("GET", "/v1/rounds/1404/applications")).status_code == 200
    assert (await api.client.get("/registration/apply")).status_code == 200
    load.pending_subjects = MAX_PENDING_EVENTS
    api.app.openapi()  # the description calls no dependency
    await asyncio.sleep(1.05)
    assert (await api.register()).status_code == 201, "at the limit it is open"


async def test_concurrent_requests_measure_the_store_once() -> None:
    load = FakeLoad()
    control = admission_control_of(load)
    await asyncio.gather(*(control.check() for _ in range(200)))
    assert load.counted == 1
    load.pending_subjects = MAX_PENDING_EVENTS + 1
    await control.check()
    expire(control)
    with pytest.raises(Refused, match="intake_full"):
        await control.check()


async def test_too_little_disk_refuses_and_a_load_that_cannot_be_measured_does_not() -> None:
    load = FakeLoad()
    load.disk = MIN_FREE_DISK - 1
    control = admission_control_of(load)
    with pytest.raises(Refused, match="intake_full"):
        await control.check()
    load.disk = MIN_FREE_DISK
    expire(control)
    await control.check()
    load.unavailable = True
    expire(control)
    await control.check()


@pytest.mark.server
async def test_mongodb_counts_pending_subjects_from_the_index_alone(servers: Servers, tmp_path: Path) -> None:
    client, name = connect(servers.mongo), servers.database()
    try:
        await service.create_indexes(client[name])
        api = RegistrationApi(tmp_path, client, name)
        async with api.client:
            await api.open_round()
            made = await api.register()
            assert made.status_code == 201, made.text
            load = MongoLoad(api.store)
            pending = await load.pending(100)
            assert pending >= 2 and await load.pending(1) == 1 and await load.free_disk() > 0
            await api.store.mark_published({made.json()["id"]: 99})
            assert await load.pending(100) == pending - 1
            query = {"partition": {"$in": list(range(32))}, "pending_since": {"$gte": EPOCH}}
            plan = await client[name].command(
                "explain", {"count": "records", "query": query}, verbosity="executionStats"
            )
            assert plan["executionStats"]["totalDocsExamined"] == 0, plan["queryPlanner"]["winningPlan"]
    finally:
        await client.drop_database(name)
        await client.drop_database(f"{name}_keys")
        await client.close()
