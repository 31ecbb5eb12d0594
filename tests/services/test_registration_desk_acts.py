"""What an officer does for a person: on a form that they signed, shown before it is recorded, once, with a receipt."""

import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import Envelope, decode, encode
from contracts.events import (
    ApplicantCodeReissued,
    ApplicantWithdrawn,
    CaseAppealDecided,
    CaseAppealed,
    CaseDecided,
    Event,
)
from kernel.batch import process
from kernel.record import Message, Private
from registration.domain.desk_acts import ACTS, closed
from tests.support.registration_api import RegistrationApi, registration_api
from tests.support.registration_rules import Applicant, register

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
FORM = {"form": "۲۰-۱۴۰۴-۹", "reason": "visitor", "key": "k" * 32}
REJECTED = CaseDecided(outcome="rejected", reasons=("insured",))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


async def post(api: RegistrationApi, path: str, role: str = "registrar", **form: str) -> httpx.Response:
    return await api.request("POST", f"/desk/{path}", role, headers=PAGE, data=FORM | form)


async def consume(api: RegistrationApi, subject: str, *events: Event) -> None:
    """Consume events of screening."""
    envelopes = [
        Envelope(source="screening", subject=subject, sequence=n, time=api.now, event=event)
        for n, event in enumerate(events, 1)
    ]
    await process(api.store, [Message(each, encode(each)) for each in envelopes], {}, api.clock)


async def test_a_withdrawal_is_shown_before_it_is_recorded_once(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    shown = await post(api, f"{subject}/review", act="withdrawal", why="moved")
    assert shown.status_code == 200 and "هنوز چیزی ثبت نشده است" in shown.text and "مریم" in shown.text
    assert f'action="/registration/desk/{subject}/withdrawal"' in shown.text and "۲۰-۱۴۰۴-۹" in shown.text
    assert len(api.store.events[subject]) == 1
    assert api.audit.rows[-1].purpose == "search/withdrawal"
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.text))
    for _ in range(2):  # a double click
        receipt = await post(api, f"{subject}/withdrawal", **hidden)
        assert receipt.status_code == 200 and "انصراف ثبت شد" in receipt.text
    event = decode(api.store.events[subject][-1])
    assert len(api.store.events[subject]) == 2
    assert event.event == ApplicantWithdrawn(application=1, reason="moved") and event.actor == "registrar:of-2f9c"
    kept = (await api.store.read([subject]))[subject].private.content["acts"]
    assert [(each["act"], each["form"]) for each in kept] == [("withdrawal", "20-1404-9")]
    again = await post(api, f"{subject}/review", act="withdrawal", why="moved")
    assert "انصراف داده است" in again.text and f'action="/registration/desk/{subject}/review"' in again.text
    late = await post(api, f"{subject}/withdrawal", **hidden | {"key": "l" * 32})
    assert late.status_code == 409 and len(api.store.events[subject]) == 2


async def test_a_form_about_a_former_application_does_not_withdraw_the_present_one(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    shown = await post(api, f"{subject}/review", act="withdrawal", why="moved")
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', shown.text))
    colleague = await post(api, f"{subject}/withdrawal", act="withdrawal", why="moved")
    assert colleague.status_code == 200 and (await api.register()).status_code == 201
    late = await post(api, f"{subject}/withdrawal", **hidden)
    assert late.status_code == 409 and 'href="#withdrawal"' in late.text
    state = (await api.store.read([subject]))[subject].state
    assert (state.application, state.current.withdrawn_at) == (2, None)


async def test_an_act_that_is_recorded_during_another_registration_is_kept(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = (await api.register()).json()["id"]
    await post(api, f"{subject}/withdrawal", why="moved")
    seal = api.persons.private

    async def sealed(*arguments: Any) -> Private:
        private = await seal(*arguments)
        if arguments[0] == subject:
            assert (await post(api, f"{subject}/tracking-code", form="20-1404-10", key="m" * 32)).status_code == 200
        return private

    monkeypatch.setattr(api.persons, "private", sealed)
    assert (await api.register()).status_code == 201
    record = (await api.store.read([subject]))[subject]
    assert [each["form"] for each in record.private.content["acts"]] == ["20-1404-9", "20-1404-10"]
    assert record.state.codes == 3 == len(record.private.content["codes"])


async def test_the_page_states_who_may_return_after_a_withdrawal(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    appealed = CaseAppealed(due=date(2025, 10, 25), form="20-1404-173")
    won = CaseAppealDecided(outcome="approved")
    closes, returns = "در این دوره نمی‌تواند دوباره ثبت‌نام کند", "پرونده بسته می‌شود و جایگاهش"
    desk = {"query": "۹۹۹۰۰۰۰۰۱۸", "reason": "caller", "round": "1404"}
    for count, expected in enumerate((returns, closes, closes, returns)):
        await consume(api, subject, *(REJECTED, appealed, won)[:count])
        page = await api.request("POST", "/desk", headers=PAGE, data=desk)
        assert expected in page.text, count


async def test_what_is_wrong_is_shown_at_its_form_as_it_was_filled_in(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    for path in (f"{subject}/review", f"{subject}/withdrawal"):
        refused = await post(api, path, act="withdrawal", why="moved", form="07-1404-9")
        assert refused.status_code == 422 and 'href="#withdrawal"' in refused.text
        assert 'value="07-1404-9"' in refused.text and '<option value="moved" selected>' in refused.text
    unexplained = await post(api, f"{subject}/withdrawal", why="because")
    assert unexplained.status_code == 422
    assert len(api.store.events[subject]) == 1


async def test_another_tracking_code_is_shown_on_the_receipt_only(api: RegistrationApi) -> None:
    made = (await api.register()).json()
    subject = made["id"]
    assert "کد پیشین" in (await post(api, f"{subject}/review", act="tracking_code")).text
    codes = set()
    for _ in range(2):
        receipt = await post(api, f"{subject}/tracking-code")
        found = re.search(r'<span class="code" dir="ltr">(\w{5}-\w{5})</span>', receipt.text)
        assert receipt.status_code == 200 and found, receipt.text
        codes.add(found[1])
    (code,) = codes
    assert decode(api.store.events[subject][-1]).event == ApplicantCodeReissued(application=1)
    assert (await api.request("GET", f"/v1/tracking/{code}", "")).status_code == 200
    assert (await api.request("GET", f"/v1/tracking/{made['tracking_code']}", "")).status_code == 404
    kept = (await api.store.read([subject]))[subject].private.content["acts"]
    assert [(each["act"], each["form"]) for each in kept] == [("tracking_code", "20-1404-9")]


async def test_an_appeal_is_confirmed_here_and_filed_by_screening(api: RegistrationApi) -> None:
    subject = (await api.register(county="2001")).json()["id"]
    early = await post(api, f"{subject}/review", act="appeal")
    assert "هنوز تصمیمی گرفته نشده است" in early.text and "/screening/cases" not in early.text
    await consume(api, subject, REJECTED)
    shown = await post(api, f"{subject}/review", act="appeal")
    assert f'<form method="post" action="/screening/cases/{subject}/appeal">' in shown.text
    assert '<input type="hidden" name="form" value="20-1404-9">' in shown.text
    county = await api.request(
        "POST",
        f"/desk/{subject}/review",
        "county_operator",
        scope="IR-20/2001",
        headers=PAGE,
        data=FORM | {"act": "appeal"},
    )
    assert "با نقش شما نمی‌شود" in county.text and "/screening/cases" not in county.text


async def test_a_foreign_person_is_a_missing_one_and_roles_are_those_of_the_api(api: RegistrationApi) -> None:
    subject = (await api.register()).json()["id"]
    for act in ("review", "withdrawal", "tracking-code"):
        form = FORM | {"act": "withdrawal", "why": "moved"}
        foreign = await api.request("POST", f"/desk/{subject}/{act}", scope="IR-07", headers=PAGE, data=form)
        assert foreign.status_code == 404
        assert (await post(api, f"{subject}/{act}", "screener", **form)).status_code == 403
    assert len(api.store.events[subject]) == 1


def test_an_act_is_closed_with_its_reason() -> None:
    one, today = Applicant(), date(2025, 9, 28)

    def shut(day: date = today) -> dict[str, str]:
        return {act: why for act in ACTS if (why := closed(one.state, act, one.at, day))}

    assert shut() == dict.fromkeys(ACTS, "erased"), "no one is there"
    one.execute(register())
    assert shut() == {"appeal": "no_decision"}
    one.consume(REJECTED)
    assert shut() == {} and shut(date(2025, 10, 30)) == {"appeal": "too_late"}
    one.consume(CaseAppealed(due=date(2025, 10, 25), form="20-1404-173"))
    assert shut() == {"appeal": "appealed"}
