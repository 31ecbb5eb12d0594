"""Pages of screening over ASGI: the queue, the case, and forms that keep their input when they are refused."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from contracts.events import ApplicantAdmitted
from programme.numbers import case_number
from programme.text import persian_digits
from screening.api import claims
from screening.domain import applicant
from tests.support.screening_api import ScreeningApi
from tests.support.service_api import subject_of

YES = {"rule.not_insured": "yes", "rule.resident": "yes", "rule.complete": "yes"}
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory, with a signed-in screener of IR-20."""
    api = ScreeningApi(tmp_path)
    token = api.issuer.token("screener", id="of-1", province="IR-20", name="کارشناس نمونه")
    api.http.cookies.set("peyvand_token", token)
    api.http.headers.update(PAGE)
    yield api
    await api.http.aclose()


async def test_queue_is_grouped_by_deadline(api: ScreeningApi) -> None:
    await api.register(1)
    api.now += timedelta(days=11)
    await api.register(2)
    page = (await api.http.get("/screening/")).text
    assert "صف پایش سمنان" in page and "تا پایان امروز" in page and 'lang="fa" dir="rtl"' in page
    assert page.index(subject_of(1)) < page.index(subject_of(2))
    api.now += timedelta(days=1)
    late = (await api.http.get("/screening/?f=late&lang=en")).text
    assert "1 day late" in late and subject_of(2) not in late and 'dir="ltr"' in late
    today = (await api.http.get("/screening/?f=today")).text
    assert subject_of(1) not in today and "There is no case in this group" in today


async def test_empty_queue_explains_when_cases_appear(api: ScreeningApi) -> None:
    assert "پروندهٔ بازی نیست" in (await api.http.get("/screening/")).text
    assert "کسی منتظر شناسایی ظرفیت نیست" in (await api.http.get("/screening/?state=awaiting_capacity")).text


async def test_next_case_is_claimed_and_marked_in_the_queue(api: ScreeningApi) -> None:
    await api.register(1)
    claimed = await api.http.post("/screening/next")
    assert (claimed.status_code, claimed.headers["location"]) == (303, f"/screening/cases/{subject_of(1)}")
    page = (await api.http.get("/screening/")).text  # from half past nine in Tehran, for two hours
    assert "در دست شما تا ۱۱:۳۰" in page and page.count(subject_of(1)) == 1
    none = await api.http.post("/screening/next")
    assert "پروندهٔ آزادی نمانده" in (await api.http.get(none.headers["location"])).text


async def test_claimed_case_is_returned_to_the_queue(api: ScreeningApi) -> None:
    case = await api.register(1)
    later = await api.register(2)
    await api.http.post("/screening/next")
    page = (await api.http.get(f"/screening/cases/{case}?lang=en")).text
    assert "yours until 11:30" in page and "Return to the queue" in page
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-2", province="IR-20"))
    foreign = (await api.http.get(f"/screening/cases/{case}?lang=en")).text
    assert "with a colleague until 11:30" in foreign and "Return to the queue" not in foreign
    refused = await api.http.post(f"/screening/cases/{case}/release")
    assert refused.status_code == 409 and "You have not claimed this case" in refused.text
    assert (await api.http.post("/screening/next")).headers["location"].endswith(later)
    queue = (await api.http.get("/screening/?lang=en")).text
    assert queue.index("Claimed by you") < queue.index(later) < queue.index(case), "the officer's own ones stand first"
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-1", province="IR-20"))
    assert (await api.http.post(f"/screening/cases/{case}/release")).headers["location"] == "/screening/"
    assert (await api.http.post("/screening/next")).headers["location"].endswith(case)


@pytest.mark.parametrize("typed", ["{0}-{1}-{2}", "{0}{1}{2}", " {1} {2} ", "fa"])
async def test_case_is_found_by_its_number(api: ScreeningApi, typed: str) -> None:
    case, number = await api.register(1), case_number(subject_of(1), "IR-20")
    page = (await api.http.get("/screening/")).text
    assert (
        persian_digits(number) in page
        and persian_digits(number) in (await api.http.get(f"/screening/cases/{case}")).text
    )
    shown = persian_digits(number) if typed == "fa" else typed.format(*number.split("-"))
    found = await api.http.get("/screening/", params={"q": shown})
    assert (found.status_code, found.headers["location"]) == (303, f"/screening/cases/{case}")
    answer = (await api.request("GET", f"/v1/cases/numbers/{shown.strip()}")).json()
    assert [(each["id"], each["number"]) for each in answer] == [(case, number)]


async def test_missing_foreign_and_wrong_numbers_are_the_same(api: ScreeningApi) -> None:
    await api.register(1, "IR-23")
    answers = set[str]()
    for typed in (case_number(subject_of(1), "IR-23"), case_number(subject_of(2), "IR-20"), "20-12", "قالی"):
        page = await api.http.get("/screening/", params={"q": typed})
        assert page.status_code == 404 and "پرونده‌ای با این شماره پیدا نشد" in page.text and "IR-23" not in page.text
        problem = await api.request("GET", f"/v1/cases/numbers/{typed}")
        answers.add(f"{problem.status_code} {problem.json()['code']} {problem.json()['detail']}")
    assert len(answers) == 1 and answers.pop().startswith("404 not_found")


async def test_cases_that_share_a_number_are_both_shown(api: ScreeningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight digits of a hash: a few cases of a round do."""
    monkeypatch.setattr(applicant, "case_digits", lambda subject: "48127306")
    cases = {await api.register(n) for n in (1, 2)}
    page = (await api.http.get("/screening/?q=20-4812-7306&lang=en")).text
    notice = page[page.index("More than one case has this number") : page.index("</div>", page.index("More than one"))]
    assert set(re.findall(r'<a href="/screening/cases/([^"]+)">', notice)) == cases
    answer = (await api.request("GET", "/v1/cases/numbers/20-4812-7306")).json()
    assert {each["id"] for each in answer} == cases


async def test_case_is_decided_on_its_page(api: ScreeningApi) -> None:
    case = await api.register(1)
    page = (await api.http.get(f"/screening/cases/{case}")).text
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key and "در تماس بپرسید" in page and "بی‌پاسخ" in page
    form = {"key": key[1], "outcome": "approved", **YES}
    for _ in range(2):  # a double click is one decision
        done = await api.http.post(f"/screening/cases/{case}/decision", data=form)
        assert (done.status_code, done.headers["location"]) == (303, f"/screening/cases/{case}?done=true")
    after = (await api.http.get(done.headers["location"])).text
    assert "ثبت شد." in after and "تصمیم: تأیید" in after and after.count("گفتهٔ متقاضی در تلفن") == 2 * 3
    assert len(api.store.events[case]) == 2


async def test_refused_form_keeps_its_input(api: ScreeningApi) -> None:
    case = await api.register(1)
    form = {"outcome": "approved", "rule.not_insured": "yes", "rule.resident": "no"}
    refused = await api.http.post(f"/screening/cases/{case}/decision", data=form)
    assert refused.status_code == 409 and "<title>خطا:" in refused.text and 'role="alert"' in refused.text
    assert "متقاضی ساکن محل کسب‌وکار است." in refused.text
    assert re.search(r'name="rule.resident" value="no"[^>]* checked', refused.text)
    assert re.search(r'id="d-approve" value="approved"[^>]* checked', refused.text)
    missing = await api.http.post(f"/screening/cases/{case}/decision?lang=en", data={"outcome": "rejected"})
    assert missing.status_code == 422 and 'href="#reasons"' in missing.text and "at least one reason" in missing.text


async def test_capacity_is_identified_on_the_page(api: ScreeningApi) -> None:
    case = await api.register(1)
    await api.http.post(f"/screening/cases/{case}/decision", data={"outcome": "approved", **YES})
    await api.consume(1, ApplicantAdmitted())
    assert "چه می‌سازد؟" in (await api.http.get(f"/screening/cases/{case}")).text
    form = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "", "skill_level": "skilled"}
    refused = await api.http.post(f"/screening/cases/{case}/capacity", data=form)
    assert refused.status_code == 422 and 'href="#monthly_band"' in refused.text
    assert 'value="handicrafts" selected' in refused.text
    empty = await api.http.post(f"/screening/cases/{case}/capacity?lang=en", data={})
    for name, words in (("product_group", "Product group"), ("unit", "Unit"), ("monthly_band", "Quantity a month")):
        assert f'<a href="#{name}">{words}: ' in empty.text and f'id="{name}-err"' in empty.text
    form |= {"monthly_band": "10-49", "needs": "tools"}
    assert (await api.http.post(f"/screening/cases/{case}/capacity", data=form)).status_code == 303
    assert "ابزار" in (await api.http.get(f"/screening/cases/{case}?lang=fa")).text


async def test_anonymous_visitor_is_redirected_to_sign_in(api: ScreeningApi) -> None:
    api.http.cookies.clear()
    response = await api.http.get("/screening/")
    assert response.status_code == 303 and response.headers["location"].startswith("/screening/sign-in?to=/screening/")


async def test_readers_see_no_forms_and_foreign_cases_are_missing(api: ScreeningApi) -> None:
    case, foreign = await api.register(1), await api.register(2, "IR-23")
    assert (await api.http.get(f"/screening/cases/{foreign}")).status_code == 404
    api.http.cookies.set("peyvand_token", api.issuer.token("labour_expert", province="IR-20"))
    page = (await api.http.get(f"/screening/cases/{case}")).text
    assert 'action="/screening/cases' not in page and "نوبت اقدام با کیست؟" in page


async def test_pages_obey_the_content_security_policy(api: ScreeningApi) -> None:
    case = await api.register(1)
    for path in ("/screening/", f"/screening/cases/{case}"):
        page = (await api.http.get(path)).text
        assert not re.search(r"<style|style=|<script(?! src)|https?://", page.replace("http://www.w3.org", ""))


async def test_form_of_another_site_is_refused(api: ScreeningApi) -> None:
    case = await api.register(1)
    form = {"outcome": "approved", **YES}
    refused = await api.http.post(
        f"/screening/cases/{case}/decision", data=form, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert refused.status_code == 403 and len(api.store.events[case]) == 1


async def test_the_queue_page_explains_why_an_officer_gets_no_more_cases(
    api: ScreeningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "IN_HAND", 1)
    for n in (1, 2):
        await api.register(n)
    assert (await api.http.post("/screening/next")).headers["location"].startswith("/screening/cases/")
    refused = await api.http.post("/screening/next")
    assert refused.headers["location"] == "/screening/?full=true"
    assert "1 open cases in hand" in (await api.http.get("/screening/?full=true&lang=en")).text
    answer = await api.request("POST", "/v1/cases/next", id="of-1")
    assert (answer.status_code, answer.json()["code"]) == (409, "cases_in_hand")
