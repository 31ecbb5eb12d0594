"""A screener sees name and number of the person of a case that they have claimed, and of no other; it is recorded."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from contracts.envelope import Envelope, encode
from contracts.events import ApplicantEvent, CapacityRequested, CaseClaimed, CaseDecided, CaseOpened, CaseReleased
from kernel.batch import process
from kernel.record import Message
from tests.support.registration_api import RegistrationApi, registration_api

PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class Case:
    """An applicant, and the events of screening about them."""

    def __init__(self, api: RegistrationApi, subject: str) -> None:
        self.api, self.subject, self.sequence = api, subject, 0

    async def happens(self, event: ApplicantEvent, actor: str = "") -> None:
        self.sequence += 1
        envelope = Envelope(
            source="screening",
            subject=self.subject,
            sequence=self.sequence,
            time=self.api.now,
            event=event,
            actor=actor,
        )
        await process(self.api.store, [Message(envelope, encode(envelope))], {}, self.api.clock)

    async def claimed(self, officer: str) -> None:
        await self.happens(CaseClaimed(until=self.api.now + timedelta(hours=2)), f"screener:{officer}")

    async def page(self, query: str = "?reason=call", **options: str) -> httpx.Response:
        path = f"/cases/{self.subject}/person{query}"
        return await self.api.request("GET", path, headers=PAGE, **({"role": "screener", "id": "of-1"} | options))

    async def api_status(self, officer: str) -> int:
        path = f"/v1/applications/{self.subject}"
        return (await self.api.request("GET", path, "screener", id=officer)).status_code


@pytest.fixture
async def case(tmp_path: Path) -> AsyncIterator[Case]:
    async with registration_api(tmp_path) as api:
        await api.open_round(quota=1)
        made = await api.register()
        found = Case(api, made.json()["id"])
        await found.happens(CaseOpened(due=api.now.date()))
        yield found


async def test_who_has_claimed_the_case_calls(case: Case) -> None:
    before = await case.page()
    assert before.status_code == 200 and "آزمون" not in before.text and "tries=1" in before.text, "it loads again"
    assert not case.api.audit.rows
    await case.claimed("of-1")
    asked = await case.page("")
    assert asked.status_code == 200 and "آزمون" not in asked.text and "<form" in asked.text and not case.api.audit.rows
    shown = await case.page()
    assert "مریم آزمون" in shown.text and 'href="tel:+98' in shown.text
    assert "9990000018" not in shown.text and "۹۹۹۰۰۰۰۰۱۸" not in shown.text, "the national ID is masked"
    assert shown.headers["x-frame-options"] == "SAMEORIGIN" and shown.headers["cache-control"] == "no-store"
    assert "frame-ancestors 'self'" in shown.headers["content-security-policy"]
    [row] = case.api.audit.rows
    assert (row.purpose, row.actor) == ("case/call", "screener:of-1")
    assert await case.api_status("of-1") == 200


async def test_no_one_else_does(case: Case) -> None:
    await case.claimed("of-1")
    rows = len(case.api.audit.rows)
    colleague = await case.page("?reason=call&tries=15", id="of-2")
    assert colleague.status_code == 403 and "آزمون" not in colleague.text
    assert await case.api_status("of-2") == 403
    assert (await case.page(scope="IR-23")).status_code == 404
    assert (await case.page("?reason=curious")).status_code == 422
    assert len(case.api.audit.rows) == rows


async def test_a_claim_that_is_over_shows_nothing(case: Case) -> None:
    await case.claimed("of-1")
    case.api.advance(hours=3)
    assert await case.api_status("of-1") == 403
    case.api.advance(hours=-3)
    await case.happens(CaseReleased(reason="returned"), "screener:of-1")
    assert await case.api_status("of-1") == 403
    await case.claimed("of-1")
    await case.happens(CaseDecided(outcome="approved"), "screener:of-1")
    assert await case.api_status("of-1") == 403, "there is nothing left to call for"
    await case.happens(CapacityRequested(due=case.api.now.date()))
    assert await case.api_status("of-2") == 200, "capacities are not claimed"


async def test_a_person_who_has_withdrawn_is_not_called(case: Case) -> None:
    await case.claimed("of-1")
    form = {"reason": "own_request", "form_number": "20-1404-9"}
    assert (await case.api.request("POST", f"/v1/applications/{case.subject}/withdrawal", json=form)).is_success
    gone = await case.page()
    assert gone.status_code == 200 and "آزمون" not in gone.text and "انصراف" in gone.text
    assert not case.api.audit.rows


async def test_no_screener_reads_who_has_withdrawn_whatever_is_left_open(case: Case) -> None:
    await case.claimed("of-1")
    await case.happens(CaseDecided(outcome="approved"), "screener:of-1")
    await case.happens(CapacityRequested(due=case.api.now.date()))
    form = {"reason": "own_request", "form_number": "20-1404-9"}
    assert (await case.api.request("POST", f"/v1/applications/{case.subject}/withdrawal", json=form)).is_success
    path = f"/v1/applications/{case.subject}?purpose=complaint"
    assert (await case.api.request("GET", path, "screener", id="of-2")).status_code == 403
    assert (await case.api.request("GET", path)).json()["identity"], "the registrar does, for a purpose"
