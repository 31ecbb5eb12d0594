"""Requests for papers over ASGI: who asks and who records, by API and by page, and what the queue shows."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.screening_api import ScreeningApi

PAPERS = {"items": ["skill_certificate", "sample_photo"]}
ONE = {"items": ["sample_photo"]}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory."""
    api = ScreeningApi(tmp_path)
    yield api
    await api.http.aclose()


async def page(api: ScreeningApi, path: str, role: str, form: Any = None, **claims: str) -> httpx.Response:
    """Return a page as an officer of IR-20 sees it."""
    claims = {"id": "of-2", "province": "IR-20", "name": "کارشناس نمونه"} | claims
    api.http.cookies.set("peyvand_token", api.issuer.token(role, **claims))
    return await api.http.request("POST" if form is not None else "GET", f"/screening{path}", data=form, headers=PAGE)


async def test_a_screener_asks_and_a_registrar_records_what_came(api: ScreeningApi) -> None:
    case = await api.register(1)
    path = f"/v1/cases/{case}/info"
    asked = (await api.request("POST", path, json=PAPERS)).json()
    assert (asked["state"], asked["time_used"]["holder"], asked["requests_left"]) == ("info_requested", "applicant", 2)
    assert asked["request"]["items"] == PAPERS["items"] and not asked["request"]["supplied"]
    api.now += timedelta(days=4)
    seen = (await api.request("GET", path, "registrar", id="of-3")).json()
    assert seen["time_used"] == {"holder": "applicant", "screening_days": 0, "applicant_days": 4}
    assert "rules" not in seen and "history" not in seen, "a registrar does not read the case"
    came = await api.request("POST", f"{path}/receipt", "registrar", id="of-9", json=ONE)
    assert came.status_code == 200 and came.json()["request"]["received"] == ONE["items"]
    api.now += timedelta(days=1)
    whole = (await api.request("GET", f"/v1/cases/{case}")).json()
    assert (whole["state"], whole["holder"], whole["due"]) == ("open", "screening", "2025-10-13")
    assert whole["info"]["supplied"] and not whole["breached"]
    again = await api.request("POST", f"{path}/receipt", "registrar", json=ONE)
    assert (again.status_code, again.json()["code"]) == (409, "no_info_requested")


@pytest.mark.parametrize(
    ("role", "asks", "records"),
    [
        ("screener", 200, 200),
        ("manager", 200, 200),
        ("registrar", 403, 200),
        ("labour_expert", 403, 403),
        ("auditor", 403, 403),
    ],
)
async def test_screeners_ask_and_desks_record(api: ScreeningApi, role: str, asks: int, records: int) -> None:
    case, waiting = await api.register(1), await api.register(2)
    assert (await api.request("POST", f"/v1/cases/{waiting}/info", json=PAPERS)).is_success
    province = "" if role == "auditor" else "IR-20"
    for path, expected in ((f"{case}/info", asks), (f"{waiting}/info/receipt", records)):
        answer = await api.request("POST", f"/v1/cases/{path}", role, id="of-2", province=province, json=ONE)
        assert answer.status_code == expected, path


async def test_the_queue_shows_apart_whose_turn_it_is_and_hands_out_none_of_them(api: ScreeningApi) -> None:
    case, other = await api.register(1), await api.register(2)
    assert (await api.request("POST", f"/v1/cases/{case}/info", json=PAPERS)).is_success
    rows = (await api.request("GET", "/v1/cases?state=info_requested")).json()["items"]
    assert [(each["id"], each["holder"], each["due"]) for each in rows] == [(case, "applicant", "2025-10-14")]
    assert (await api.request("GET", "/v1/cases/counts")).json()["states"] == {"open": 1, "info_requested": 1}
    shown = (await page(api, "/?state=info_requested", "screener")).text
    assert case in shown and other not in shown and "منتظر مدرک متقاضی" in shown
    claimed = [await api.request("POST", "/v1/cases/next") for _ in range(2)]
    assert [each.status_code for each in claimed] == [200, 404] and claimed[0].json()["id"] == other


async def test_the_papers_are_asked_for_and_recorded_by_page(api: ScreeningApi) -> None:
    case = await api.register(1)
    assert f"/screening/cases/{case}/info" in (await page(api, f"/cases/{case}", "screener")).text
    refused = await page(api, f"/cases/{case}/info", "screener", {"key": "key-of-form-1"})
    assert refused.status_code == 422 and "لطفاً دست‌کم یک مدرک را انتخاب کنید." in refused.text
    asked = await page(api, f"/cases/{case}/info", "screener", {"key": "key-of-form-2", "items": ["sample_photo"]})
    assert asked.status_code == 303
    shown = (await page(api, asked.headers["location"].removeprefix("/screening"), "registrar")).text
    assert "عکس نمونهٔ کار" in shown and "نوبت اقدام با کیست؟" in shown and f"/cases/{case}/info/receipt" in shown
    whole = (await page(api, f"/cases/{case}?lang=en", "screener")).text
    assert "papers are awaited; our clock is paused" in whole and 'id="decide"' in whole
    early = await page(api, f"/cases/{case}/decision", "screener", {"outcome": "rejected", "reasons": "incomplete"})
    assert early.status_code == 409 and "The applicant has until" in early.text
    came = await page(
        api, f"/cases/{case}/info/receipt", "registrar", {"key": "key-of-form-3", "items": ["sample_photo"]}
    )
    assert came.status_code == 303
    done = (await page(api, f"/cases/{case}/info?done=true&lang=fa", "registrar")).text
    assert "نوبت کارشناس پایش است" in done and "/info/receipt" not in done
    for read_only in ("labour_expert", "auditor"):
        province = "" if read_only == "auditor" else "IR-20"
        text = (await page(api, f"/cases/{case}/info", read_only, province=province)).text
        assert "<form class" not in text


async def test_the_form_keeps_what_was_chosen_and_offers_no_request_beyond_the_limit(api: ScreeningApi) -> None:
    case = await api.register(1)
    for _ in range(3):
        for path in ("", "/receipt"):
            assert (await api.request("POST", f"/v1/cases/{case}/info{path}", json=ONE)).is_success
    shown = await page(api, f"/cases/{case}/info", "screener")
    assert "What is needed" not in shown.text and "چه چیزی لازم است" not in shown.text
    refused = await page(api, f"/cases/{case}/info", "screener", {"items": ["sample_photo"]})
    assert refused.status_code == 409 and "۳ بار" in refused.text
