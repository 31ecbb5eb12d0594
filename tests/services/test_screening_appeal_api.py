"""Appeals over ASGI: who files and decides, by API and by page, and what the queue shows."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.screening_api import ScreeningApi
from tests.support.service_api import subject_of

REJECT = {"outcome": "rejected", "reasons": ["insured"]}
APPROVE = {
    "outcome": "approved",
    "checklist": {"not_insured": True, "resident": True, "complete": True},
}
FORM = {"form": "20-1404-173"}
YES = {"rule.not_insured": "yes", "rule.resident": "yes", "rule.complete": "yes"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory."""
    api = ScreeningApi(tmp_path)
    yield api
    await api.http.aclose()


async def rejected(api: ScreeningApi, n: int = 1) -> str:
    """Return a case that the screener of-1 has rejected."""
    case = await api.register(n)
    assert (await api.request("POST", f"/v1/cases/{case}/decision", json=REJECT)).is_success
    return case


async def appealed(api: ScreeningApi, n: int = 1) -> str:
    """Return a rejected case with an appeal that a registrar filed."""
    case = await rejected(api, n)
    assert (await api.request("POST", f"/v1/cases/{case}/appeal", "registrar", id="of-3", json=FORM)).is_success
    return case


async def page(api: ScreeningApi, path: str, role: str, form: Any = None, **claims: str) -> httpx.Response:
    """Return a page as an officer of IR-20 sees it."""
    claims = {"id": "of-2", "province": "IR-20", "name": "کارشناس نمونه"} | claims
    api.http.cookies.set("peyvand_token", api.issuer.token(role, **claims))
    return await api.http.request("POST" if form is not None else "GET", f"/screening{path}", data=form, headers=PAGE)


async def test_an_appeal_is_filed_by_a_registrar_and_decided_by_someone_else(api: ScreeningApi) -> None:
    case = await rejected(api)
    path = f"/v1/cases/{case}/appeal"
    before = (await api.request("GET", path, "registrar")).json()
    assert (before["state"], before["until"], before["appeal"]) == ("decided", "2025-10-08", None)
    filed = await api.request("POST", path, "registrar", id="of-3", json=FORM)
    assert filed.status_code == 200 and filed.json()["state"] == "appealed"
    assert filed.json()["appeal"]["due"] == "2025-10-08" and filed.json()["appeal"]["form"] == "20-1404-173"
    assert "rules" not in filed.json() and "history" not in filed.json(), "a registrar does not read the case"
    refused = await api.request("POST", f"{path}/decision", "manager", json=APPROVE)
    assert (refused.status_code, refused.json()["code"]) == (403, "first_decider_may_not")
    done = await api.request("POST", f"{path}/decision", "labour_expert", id="of-2", json=APPROVE)
    assert done.json()["appeal"]["outcome"] == "approved" and done.json()["decision"]["outcome"] == "rejected"
    whole = (await api.request("GET", f"/v1/cases/{case}")).json()
    assert whole["holder"] == "registration" and whole["appeal"]["outcome"] == "approved"
    assert all(rule["holds"] for rule in whole["rules"])
    assert [each["type"].rpartition(".v1")[0].rpartition("screening.")[2] for each in whole["history"]] == [
        "case.opened",
        "case.decided",
        "case.appealed",
        "case.appeal_decided",
    ]


@pytest.mark.parametrize(
    ("role", "files", "decides"),
    [
        ("registrar", 200, 403),
        ("manager", 200, 200),
        ("labour_expert", 403, 200),
        ("jahad_national", 403, 200),
        ("screener", 403, 403),
        ("auditor", 403, 403),
        ("ministry_admin", 403, 403),
    ],
)
async def test_the_permission_table_applies(api: ScreeningApi, role: str, files: int, decides: int) -> None:
    case, under_appeal = await rejected(api, 1), await appealed(api, 2)
    claims = {"id": "of-2"} | ({"province": ""} if role in {"auditor", "jahad_national", "ministry_admin"} else {})
    filed = await api.request("POST", f"/v1/cases/{case}/appeal", role, json=FORM, **claims)
    assert filed.status_code == files
    decided = await api.request("POST", f"/v1/cases/{under_appeal}/appeal/decision", role, json=APPROVE, **claims)
    assert decided.status_code == decides


async def test_a_foreign_appeal_is_answered_like_a_missing_one(api: ScreeningApi) -> None:
    case = await appealed(api)
    for path, body in (("", FORM), ("/decision", APPROVE)):
        answers = [
            await api.request("POST", f"/v1/cases/{each}/appeal{path}", "manager", province="IR-23", json=body)
            for each in (case, subject_of(9))
        ]
        assert [each.status_code for each in answers] == [404, 404]
        assert len({str({**each.json(), "instance": ""}) for each in answers}) == 1


async def test_a_refused_appeal_names_the_last_day(api: ScreeningApi) -> None:
    case = await rejected(api)
    for form in ("", "23-1404-1", "9990000018"):
        refused = await api.request("POST", f"/v1/cases/{case}/appeal", "manager", json={"form": form})
        assert (refused.status_code, refused.json()["code"]) == (422, "form_number_invalid")
    api.now += timedelta(days=12)
    late = await api.request("POST", f"/v1/cases/{case}/appeal", "manager", json=FORM)
    assert (late.status_code, late.json()["code"]) == (409, "appeal_too_late")
    assert "8 October 2025" in late.json()["detail"] or "16 Mehr 1404" in late.json()["detail"]


async def test_appeals_are_a_filter_of_the_queue_with_a_deadline_of_their_own(api: ScreeningApi) -> None:
    await api.register(1)
    case = await appealed(api, 2)
    listed = (await api.request("GET", "/v1/cases?state=appealed")).json()["items"]
    assert [each["id"] for each in listed] == [case]
    assert (listed[0]["due"], listed[0]["holder"], listed[0]["breached"]) == ("2025-10-08", "screening", False)
    counts = (await api.request("GET", "/v1/cases/counts")).json()
    assert counts["states"] == {"open": 1, "appealed": 1}
    shown = (await page(api, "/?state=appealed", "labour_expert")).text
    assert f"/screening/cases/{case}/appeal" in shown and "رسیدگی به اعتراض" in shown and subject_of(1) not in shown
    assert "برداشتن پروندهٔ بعدی" not in shown
    nationwide = (await page(api, "/?state=appealed&lang=en", "jahad_national", province="")).text
    assert "Appeals in the whole country" in nationwide and case in nationwide
    assert case not in (await page(api, "/", "labour_expert")).text


async def test_an_appeal_is_filed_and_decided_on_its_page(api: ScreeningApi) -> None:
    case = await rejected(api)
    path = f"/cases/{case}/appeal"
    assert f"/screening{path}" in (await page(api, f"/cases/{case}", "screener", id="of-1")).text
    form = (await page(api, path, "registrar")).text
    key = re.search(r'name="key" value="([^"]+)"', form)
    assert key and "شمارهٔ فرم امضاشده" in form and "۱۶ مهر ۱۴۰۴" in form
    wrong = await page(api, path, "registrar", {"key": key[1], "form": "1234"})
    assert wrong.status_code == 422 and 'role="alert"' in wrong.text and 'value="1234"' in wrong.text
    for _ in range(2):  # a double click is one appeal
        filed = await page(api, path, "registrar", {"key": key[1], "form": "۲۰-۱۴۰۴-۱۷۳"}, id="of-3")
        assert (filed.status_code, filed.headers["location"]) == (303, f"/screening{path}?done=true")
    assert "اعتراض ثبت شد" in (await page(api, f"{path}?done=true", "registrar")).text
    assert 'name="outcome"' not in (await page(api, path, "registrar")).text
    own = (await page(api, path, "manager", id="of-1")).text
    assert "تصمیم نخست را خود شما گرفته‌اید" in own and 'name="outcome"' not in own
    asked = (await page(api, path, "manager")).text
    assert 'name="outcome"' in asked and "تصمیم نخست: رد" in asked and 'name="rule.resident"' in asked
    refused = await page(api, f"{path}/decision", "manager", {"outcome": "approved", "rule.resident": "no"})
    assert refused.status_code == 409 and re.search(r'name="rule.resident" value="no"[^>]* checked', refused.text)
    done = await page(api, f"{path}/decision", "manager", {"outcome": "approved", **YES})
    assert done.status_code == 303
    after = (await page(api, f"{path}?done=true", "manager")).text
    assert "تصمیم نخست برگشت" in after and 'name="outcome"' not in after
    assert "تصمیم نخست برگشت" in (await page(api, f"/cases/{case}", "screener")).text


async def test_the_page_explains_why_there_is_nothing_to_do(api: ScreeningApi) -> None:
    open_case, case = await api.register(2), await rejected(api)
    assert "against a rejection only" in (await page(api, f"/cases/{open_case}/appeal?lang=en", "manager")).text
    assert "who may appeal by a signed form" in (await page(api, f"/cases/{case}/appeal?lang=en", "screener")).text
    api.now += timedelta(days=12)
    assert "the time to appeal is over" in (await page(api, f"/cases/{case}/appeal?lang=en", "manager")).text
