"""The pages about seats: every row adds up, the list is in its order without reasons, a foreign province is missing."""

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided
from kernel.batch import process
from kernel.record import Message
from programme.numbers import case_number
from programme.reference import provinces
from registration.api.seats.ledgers import read_ledgers, totals, urgency
from registration.schemas import ProvinceSeats
from tests.support.registration_api import ROUND, RegistrationApi, a_national_id, registration_api

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
LEDGER = "/v1/rounds/1404/ledgers/IR-20"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=2)
        yield running


async def approved(api: RegistrationApi, people: int) -> list[str]:
    """Register people of Semnan, a minute apart, and approve all of them; return their ids in this order."""
    subjects = []
    for n in range(1, people + 1):
        api.advance(minutes=1)
        made = await api.register(national_id=a_national_id(n), mobile=f"0912{n:07d}", role="service")
        subjects.append(made.json()["id"])
    envelopes = [
        Envelope(source="screening", subject=s, sequence=1, time=api.now, event=CaseDecided(outcome="approved"))
        for s in reversed(subjects)
    ]
    await process(api.store, [Message(each, encode(each)) for each in envelopes], {}, api.clock)
    await api.run_jobs()
    return subjects


async def page(api: RegistrationApi, path: str, role: str = "manager", **options: Any) -> str:
    """Return a page in English, with each blank once and without markup."""
    got = await api.request("GET", f"{path}{'&' if '?' in path else '?'}lang=en", role, headers=PAGE, **options)
    assert got.status_code == 200, got.text
    return " ".join(re.sub(r"<[^>]*>", " ", got.text).split())


def adds_up(row: dict[str, Any]) -> bool:
    return bool(row["quota"] == row["admitted"] + row["held"] + row["available"])


def rows_in(response: httpx.Response) -> list[list[str]]:
    """Return the rows of a file."""
    return list(csv.reader(io.StringIO(response.text)))


async def test_every_row_adds_up_on_the_page_in_the_api_and_in_the_file(api: RegistrationApi) -> None:
    await approved(api, 5)
    one = (await api.request("GET", LEDGER, "manager")).json()
    assert (one["quota"], one["admitted"], one["held"], one["available"], one["waiting"]) == (2, 2, 0, 0, 3)
    rows = await read_ledgers(api.store, "1404")
    assert len(rows) == len(provinces()) and all(adds_up(each.model_dump()) for each in rows)
    assert adds_up(totals(rows).model_dump())
    assert "2 quota = 2 admitted + 0 held + 0 free" in await page(api, "/ledger")
    assert "2 quota = 2 admitted + 0 held + 0 free" in await page(api, "/ledger", "ministry_admin")
    lines = rows_in(await api.request("GET", "/ledger.csv", "ministry_admin"))
    for line in lines[1:]:
        quota, admitted, held, available, _ = map(int, line[3:])
        assert quota == admitted + held + available
    assert len(lines) == 1 + len(provinces())
    own = rows_in(await api.request("GET", "/ledger.csv", "manager"))
    assert [line[1] for line in own] == ["province", "IR-20"]


async def test_the_list_has_position_case_field_and_time_in_the_published_order(api: RegistrationApi) -> None:
    subjects = await approved(api, 6)
    whole = (await api.request("GET", f"{LEDGER}/waiting", "registrar")).json()
    assert [(each["position"], each["id"]) for each in whole["items"]] == list(enumerate(subjects[2:], 1))
    assert set(whole["items"][0]) == {"id", "position", "number", "county", "field", "registered_at"}
    first = (await api.request("GET", f"{LEDGER}/waiting?limit=3", "registrar")).json()
    second = (await api.request("GET", f"{LEDGER}/waiting?limit=3&after={first['next']}", "registrar")).json()
    assert first["items"] + second["items"] == whole["items"] and second["next"] is None
    place = (await api.request("GET", f"{LEDGER}/waiting/{subjects[4]}", "registrar")).json()
    assert place == {"position": 3, "of": 4}
    for seated in (subjects[0], "0199a000-0000-7000-8000-000000000000"):
        assert (await api.request("GET", f"{LEDGER}/waiting/{seated}", "registrar")).status_code == 404
    text = await page(api, f"/ledger/IR-20/waiting?after={subjects[3]}")
    assert case_number(subjects[4], "IR-20") in text and case_number(subjects[3], "IR-20") not in text
    assert "priority" not in text.lower() and "مریم" not in text


@pytest.mark.parametrize("after", ["0199a000-0000-7000-8000-000000000000", "ledger:1404/IR-20", "x"])
async def test_a_cursor_that_names_no_one_of_the_list_is_refused(api: RegistrationApi, after: str) -> None:
    await approved(api, 3)
    got = await api.request("GET", f"/ledger/IR-20/waiting?after={after}", "manager", headers=PAGE)
    assert got.status_code == 400


async def test_a_cursor_outlives_the_applicant_leaving_the_list(api: RegistrationApi) -> None:
    subjects = await approved(api, 6)
    first = (await api.request("GET", f"{LEDGER}/waiting?limit=2", "registrar")).json()
    await api.set_quota(4)
    await api.run_jobs()
    after = (await api.request("GET", f"{LEDGER}/waiting?after={first['next']}", "registrar")).json()
    assert [(each["position"], each["id"]) for each in after["items"]] == [(1, subjects[4]), (2, subjects[5])]


async def test_changes_of_the_quota_name_date_role_and_pseudonym(api: RegistrationApi) -> None:
    api.advance(days=1)
    await api.set_quota(9)
    changes = (await api.request("GET", LEDGER, "manager")).json()["changes"]
    assert [(each["previous"], each["quota"], each["role"]) for each in changes] == [
        (2, 9, "ministry_admin"),
        (0, 2, "ministry_admin"),
    ]
    assert sum(each["quota"] - each["previous"] for each in changes) == 9
    text = await page(api, "/ledger")
    assert "Ministry quota administrator" in text and changes[0]["officer"] in text and "7 seats" not in text


async def test_who_may_read_what(api: RegistrationApi) -> None:
    subjects = await approved(api, 3)
    for path in ("/ledger/IR-23", "/ledger/IR-99", "/ledger/IR-23/waiting"):
        assert (await api.request("GET", path, "manager", headers=PAGE)).status_code == 404, path
    assert (await api.request("GET", f"{LEDGER}/waiting", "analyst", scope="")).status_code == 403
    assert (await api.request("GET", "/ledger", "screener", headers=PAGE)).status_code == 403
    text = await page(api, "/ledger/IR-20", "analyst", scope="")
    assert case_number(subjects[2], "IR-20") not in text and "1 person is on the waiting list" in text
    assert case_number(subjects[2], "IR-20") in await page(api, "/ledger", "registrar")


async def test_windows_show_when_registration_is_open_and_who_set_it(api: RegistrationApi) -> None:
    assert "Registration is open in 30 provinces" in await page(api, "/windows", "ministry_admin")
    assert "Registration is open in Semnan" in await page(api, "/windows")
    mine = await page(api, "/windows", scope="IR-27")
    assert "is not open yet" in mine and "a window of its own" in mine and "Semnan" not in mine
    api.advance(days=1)
    later = {**ROUND, "windows": [{"province": "IR-20", "opens": ROUND["opens"], "closes": "2025-12-01T00:00:00Z"}]}
    assert (await api.request("PUT", "/v1/rounds/1404", "ministry_admin", json=later)).status_code == 200
    changed = await page(api, "/windows")
    assert changed.count("Ministry quota administrator") == 2 and "a window of its own" in changed
    api.now += timedelta(days=90)
    assert "Registration in Semnan is closed" in await page(api, "/windows")


async def test_without_a_round_the_pages_say_who_opens_one(tmp_path: Path) -> None:
    async with registration_api(tmp_path) as empty:
        for path in ("/ledger", "/windows"):
            assert "The ministry opens a round" in await page(empty, path, "ministry_admin")


def test_most_urgent_first() -> None:
    def row(province: str, quota: int, admitted: int, waiting: int) -> ProvinceSeats:
        return ProvinceSeats(
            province=province, quota=quota, admitted=admitted, held=0, available=quota - admitted, waiting=waiting
        )

    rows = [row("free", 9, 2, 0), row("few wait", 5, 5, 3), row("none", 0, 0, 0), row("many wait", 5, 5, 9)]
    assert [each.province for each in sorted(rows, key=urgency)] == ["none", "many wait", "few wait", "free"]
