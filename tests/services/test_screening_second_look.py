"""Second looks over ASGI: the list, the form on the case page, the result in the figures; in the officer's own area."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.screening_api import ScreeningApi

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory, with a signed-in manager of IR-20."""
    api = ScreeningApi(tmp_path)
    api.http.cookies.set("peyvand_token", api.issuer.token("manager", id="of-2", province="IR-20"))
    api.http.headers.update(PAGE)
    yield api
    await api.http.aclose()


async def test_another_officer_looks_again_and_the_result_is_shown(api: ScreeningApi) -> None:
    case = await api.approved_and_drawn(1)
    listed = (await api.http.get("/screening/reviews?lang=en")).text
    assert "<h1>1 approval waits for a second look</h1>" in listed and case in listed
    page = (await api.http.get(f"/screening/cases/{case}")).text
    assert f'action="/screening/cases/{case}/review"' in page and "drawn (5 per cent)" in page
    empty = await api.http.post(f"/screening/cases/{case}/review", data={})
    assert empty.status_code == 422 and 'href="#agrees"' in empty.text
    form = {"agrees": "no", "review_reasons": "question_open"}
    done = await api.http.post(f"/screening/cases/{case}/review", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/screening/reviews")
    after = (await api.http.get("/screening/reviews")).text
    assert "No approval waits" in after and "Of 1 drawn approvals that were looked at, 0 were right." in after
    shown = (await api.http.get(f"/screening/cases/{case}")).text
    assert "Disagrees" in shown and "A question is not answered" in shown and f"{case}/review" not in shown
    assert "Approved" in shown, "the approval stands"
    answer = (await api.request("GET", "/v1/cases/reviews")).json()
    assert answer == {"pending": [], "agreed": 0, "disagreed": 1}


async def test_who_decided_sees_no_form_and_is_refused(api: ScreeningApi) -> None:
    case = await api.approved_and_drawn(1)
    api.http.cookies.set("peyvand_token", api.issuer.token("screener", id="of-7", province="IR-20"))
    assert f"{case}/review" not in (await api.http.get(f"/screening/cases/{case}")).text
    refused = await api.request("POST", f"/v1/cases/{case}/review", "manager", id="of-7", json={"agrees": True})
    assert (refused.status_code, refused.json()["code"]) == (403, "decider_may_not_review")


async def test_second_looks_of_other_provinces_are_not_shown(api: ScreeningApi) -> None:
    case = await api.approved_and_drawn(1)
    foreign = (await api.request("GET", "/v1/cases/reviews", province="IR-23")).json()
    assert foreign == {"pending": [], "agreed": 0, "disagreed": 0}
    nationwide = (await api.request("GET", "/v1/cases/reviews", "jahad_national", province="")).json()
    assert [each["id"] for each in nationwide["pending"]] == [case]
