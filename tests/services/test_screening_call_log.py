"""Calls over ASGI: logged on the case page and by API, the agreed ones in the queue, the reason only when it holds."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.screening_api import ScreeningApi

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
REASON = 'value="unreachable"'


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory, with a signed-in screener of IR-20."""
    api = ScreeningApi(tmp_path)
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-1", province="IR-20"))
    api.http.headers.update(PAGE)
    yield api
    await api.http.aclose()


async def test_unreachable_is_offered_after_three_unanswered_calls_on_two_days(api: ScreeningApi) -> None:
    case = await api.register(1)
    for n in range(3):
        page = (await api.http.get(f"/screening/cases/{case}?lang=en")).text
        assert f"Unanswered calls in this case: {n}." in page and REASON not in page
        pressed = {"key": f"key-of-the-form-{n}", "call": "no_answer"}
        for _ in range(2):  # a double click is one call
            logged = await api.http.post(f"/screening/cases/{case}/calls", data=pressed)
            assert (logged.status_code, logged.headers["location"]) == (303, f"/screening/cases/{case}#calls")
        refused = await api.request("POST", f"/v1/cases/{case}/decision", json=rejection())
        assert n == 2 or (refused.status_code, refused.json()["code"]) == (409, "not_called_enough")
        assert n != 0 or refused.json()["detail"].endswith("Missing: calls 2, days 1.")
        if n == 1:
            form = {"outcome": "rejected", "reasons": "unreachable"}
            shown = await api.http.post(f"/screening/cases/{case}/decision", data=form)
            assert shown.status_code == 409 and 'href="#reasons"' in shown.text
            assert "Missing: calls 1, days 1." in shown.text
            assert (await api.http.get("/screening/?lang=en")).text.count("Call again, after 2 calls") == 1
            api.now += timedelta(days=1)
    assert refused.status_code == 200 and refused.json()["decision"]["reasons"] == ["unreachable"]
    after = (await api.http.get(f"/screening/cases/{case}?lang=en")).text
    assert after.count("No answer") == 3 and "of-1" in after and "Result of the call" not in after


def rejection() -> dict[str, object]:
    """Return the rejection of someone who could not be reached."""
    return {"outcome": "rejected", "reasons": ["unreachable"]}


async def test_the_reason_stands_on_the_page_once_it_holds(api: ScreeningApi) -> None:
    case = await api.register(1)
    for day in range(3):
        assert REASON not in (await api.http.get(f"/screening/cases/{case}")).text
        await api.request("POST", f"/v1/cases/{case}/calls", json={"outcome": "no_answer"})
        api.now += timedelta(days=day % 2)
    assert REASON in (await api.http.get(f"/screening/cases/{case}")).text


async def test_an_agreed_call_stands_in_the_queue_on_its_day_and_after(api: ScreeningApi) -> None:
    case, other = await api.register(1), await api.register(2)
    page = (await api.http.get(f"/screening/cases/{case}?lang=en")).text
    day = re.findall(r'<option value="(2025-[0-9-]+)"', page)[1]
    pressed = {"key": "key-of-the-form", "call": "call_back", "day": day, "hour": "10"}
    assert (await api.http.post(f"/screening/cases/{case}/calls", data=pressed)).status_code == 303
    logged = (await api.request("GET", f"/v1/cases/{case}")).json()["calls"]
    assert [(each["outcome"], each["next_call"][:16], each["by"]) for each in logged] == [
        ("call_back", "2025-09-28T06:30", "screener:of-1")
    ]
    assert case not in (await api.http.get("/screening/?f=calls")).text, "it is for tomorrow"
    for _ in range(2):
        api.now += timedelta(days=1)
        due = (await api.http.get("/screening/?f=calls&lang=en")).text
        assert case in due and other not in due and "Calls agreed for today or before" in due
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-2", province="IR-23"))
    assert case not in (await api.http.get("/screening/?f=calls")).text
    await api.request("POST", f"/v1/cases/{case}/calls", json={"outcome": "reached"})
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-1", province="IR-20"))
    assert case not in (await api.http.get("/screening/?f=calls")).text


async def test_a_refused_call_keeps_its_form(api: ScreeningApi) -> None:
    case = await api.register(1)
    form = {"call": "call_back", "day": "", "hour": "11"}
    refused = await api.http.post(f"/screening/cases/{case}/calls", data=form)
    assert refused.status_code == 422 and 'href="#next_call"' in refused.text and 'id="next_call-err"' in refused.text
    assert re.search(r'value="11" selected', refused.text) and "روز و ساعت تماس بعدی" in refused.text
    unknown = await api.http.post(f"/screening/cases/{case}/calls?lang=en", data={"call": "asleep"})
    assert unknown.status_code == 422 and 'href="#call"' in unknown.text
    past = {"outcome": "call_back", "next_call": "2025-09-20T10:00:00+03:30"}
    answer = await api.request("POST", f"/v1/cases/{case}/calls", json=past)
    assert (answer.status_code, answer.json()["code"]) == (422, "next_call_out_of_range")
