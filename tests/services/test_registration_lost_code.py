"""A lost tracking code is sent again to the number on record; the page reveals nothing, and no one is flooded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from registration.jobs.notifications import Notifications
from registration.jobs.sms import SmsFile
from registration.pages import lost_code
from tests.support.registration_api import ALL_PARTITIONS, RegistrationApi, a_national_id, registration_api

PATH = "/registration/tracking/lost"
OWN, OTHER = "09120000018", "09120000026"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round()
        yield running


async def ask(api: RegistrationApi, serial: int = 1, phone: str = OWN, **more: Any) -> httpx.Response:
    api.app.state.buckets.buckets.clear()
    form = {"national_id": a_national_id(serial), "phone": phone} | more
    return await api.client.post(PATH, data=form, headers={"Accept": "text/html"})


async def sent(api: RegistrationApi, tmp_path: Path) -> list[str]:
    """Return the lines of all messages."""
    file = tmp_path / "sms.jsonl"
    job = Notifications(api.store, api.persons, api.registrations.codes, SmsFile(file), api.clock)
    while await job(ALL_PARTITIONS) or job.running:
        if job.running:
            await job.running
    return file.read_text().splitlines() if file.exists() else []


async def test_the_code_is_sent_again_to_the_number_on_record_and_stays_valid(
    api: RegistrationApi, tmp_path: Path
) -> None:
    code = (await api.register()).json()["tracking_code"]
    await sent(api, tmp_path)
    version = len(await api.store.history((await api.applicants())[0].subject))
    assert (await ask(api)).headers["location"] == f"{PATH}/sent"
    _, line = await sent(api, tmp_path)
    assert code in line and '"to": "+989120000018"' in line
    assert (await api.request("GET", f"/v1/tracking/{code}", "")).status_code == 200
    assert len(await api.store.history((await api.applicants())[0].subject)) == version, "it is no event"


async def test_the_answer_is_the_same_where_an_identity_cannot_be_opened(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    record = api.store.records[subject]
    private = replace(record.private, content={**record.private.content, "sealed": b"\x01" + bytes(60)})
    api.store.records[subject] = replace(record, private=private)
    answers = [await ask(api, serial) for serial in (1, 2)]
    assert [each.headers["location"] for each in answers] == [f"{PATH}/sent"] * 2


async def test_the_answer_is_the_same_for_every_person(api: RegistrationApi, tmp_path: Path) -> None:
    await api.register()
    await sent(api, tmp_path)
    answers = [await ask(api, serial, phone) for serial, phone in ((1, OWN), (1, OTHER), (2, OWN))]
    kept = [
        (each.status_code, each.content, {n: v for n, v in each.headers.items() if n != "x-request-id"})
        for each in answers
    ]
    assert kept[0] == kept[1] == kept[2]
    assert len(await sent(api, tmp_path)) == 2, "only the one that matches is sent anything"


async def test_no_one_is_looked_for_before_the_answer_is_sent(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.register()
    looked = asyncio.Event()

    async def look(*_: object) -> bool:
        looked.set()
        raise AssertionError("after the response")

    monkeypatch.setattr(lost_code, "send_again", look)
    request = api.client.build_request(
        "POST", PATH, data={"national_id": a_national_id(1), "phone": OWN}, headers={"Accept": "text/html"}
    )
    started: list[bool] = []

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        async def watched(message: dict[str, object]) -> None:
            started.append(looked.is_set())
            await send(message)  # type: ignore[operator]

        await api.app(scope, receive, watched)  # type: ignore[arg-type]

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
    response = await transport.handle_async_request(request)
    assert response.status_code == 303 and looked.is_set() and not any(started)


async def test_no_one_is_sent_more_than_three_codes_a_day(api: RegistrationApi, tmp_path: Path) -> None:
    await api.register()
    for _ in range(5):
        await ask(api)
        await ask(api)  # while one waits
        lines = await sent(api, tmp_path)
        api.advance(minutes=1)
    assert len(lines) == 1 + 3
    api.advance(days=1)
    await ask(api)
    assert len(await sent(api, tmp_path)) == 1 + 4


async def test_an_address_is_limited(api: RegistrationApi) -> None:
    form = {"national_id": a_national_id(1), "phone": OWN}
    statuses = [
        (await api.client.post(PATH, data=form, headers={"Accept": "text/html"})).status_code for _ in range(21)
    ]
    assert statuses == [303] * 20 + [429]


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"phone": "02312345678"}, ["phone"]),
        ({"national_id": "9990000019"}, ["national_id"]),
        ({"national_id": "", "phone": ""}, ["national_id", "phone"]),
    ],
)
async def test_every_fault_is_shown_at_its_field(api: RegistrationApi, more: dict[str, Any], fields: list[str]) -> None:
    page = await ask(api, **more)
    assert page.status_code == 422
    assert [name for name in ("national_id", "phone") if f'href="#{name}"' in page.text] == fields


async def test_an_erased_person_is_sent_nothing(api: RegistrationApi, tmp_path: Path) -> None:
    subject = (await api.register()).json()["id"]
    await sent(api, tmp_path)
    await api.request("POST", f"/v1/applications/{subject}/erasure", "manager", json={"reason": "court"})
    await api.run_jobs()
    await ask(api)
    assert len(await sent(api, tmp_path)) == 1


async def test_the_pages_name_neither_code_nor_person_and_lead_to_each_other(api: RegistrationApi) -> None:
    pages = [(await api.client.get(path, headers={"Accept": "text/html"})).text for path in (PATH, f"{PATH}/sent")]
    assert all("09120000018" not in page for page in pages)
    form = (await api.client.get("/registration/tracking", headers={"Accept": "text/html"})).text
    assert f'href="{PATH}"' in form and 'href="/registration/tracking"' in pages[1]
    before = REGISTRY.get_sample_value("peyvand_registration_lost_codes_total", {"result": "not_sent"}) or 0
    await ask(api, 5)
    assert REGISTRY.get_sample_value("peyvand_registration_lost_codes_total", {"result": "not_sent"}) == before + 1
