"""Officers find a person who calls: in their own scope, with a reason, on record, and slowly where nothing is found."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided, CaseOpened, Event
from kernel.batch import process
from kernel.query import Query
from kernel.record import Message
from kernel.stores.memory import MemoryStore
from registration.api.dependencies import api_resources
from registration.api.enumeration_guard import PER_MINUTE
from registration.domain.applicant import State
from registration.domain.next_step import next_step
from registration.domain.progress import Application
from tests.support.registration_api import ERASURE, RegistrationApi, a_national_id, registration_api

SEARCH = "/v1/rounds/1404/searches"
PAGE = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


async def search(api: RegistrationApi, typed: str, reason: str = "caller", **options: Any) -> httpx.Response:
    return await api.request("POST", SEARCH, json={"query": typed, "reason": reason}, **options)


async def on_page(api: RegistrationApi, path: str = "/desk", role: str = "registrar", **form: str) -> httpx.Response:
    return await api.request("POST", path, role, headers=PAGE, data=form)


async def consume(api: RegistrationApi, subject: str, *events: Event) -> None:
    """Consume events of screening."""
    envelopes = [
        Envelope(source="screening", subject=subject, sequence=n, time=api.now, event=event)
        for n, event in enumerate(events, 1)
    ]
    await process(api.store, [Message(each, encode(each)) for each in envelopes], {}, api.clock)


async def test_a_person_is_found_by_either_number_in_any_spelling_with_masked_numbers(api: RegistrationApi) -> None:
    made = (await api.register(national_id=a_national_id(7))).json()
    code = made["tracking_code"]
    persian = a_national_id(7).translate(str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹"))
    for typed in (a_national_id(7), persian, code, code.lower().replace("-", " ")):
        found = await search(api, typed)
        assert found.status_code == 200, found.text
        assert found.json()["applicant"]["id"] == made["id"]
    identity = found.json()["identity"]
    assert identity == {
        "name": "مریم آزمون",
        "national_id": f"999****{a_national_id(7)[-3:]}",
        "telephone": "0912*****18",
    }
    assert a_national_id(7) not in found.text and "9120000018" not in found.text
    assert found.json()["next_step"] == "screening_call" and found.headers["Cache-Control"] == "no-store"


async def test_the_reading_is_recorded_with_its_reason_before_it_is_shown(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await api.register()).json()
    before = len(api.audit.rows)
    assert (await search(api, "9990000018", "complaint")).status_code == 200
    row = api.audit.rows[-1]
    assert len(api.audit.rows) == before + 1
    assert (row.actor, row.subject, row.purpose) == ("registrar:of-2f9c", made["id"], "search/complaint")

    async def unavailable(*args: object) -> None:
        raise ConnectionError

    opened: list[object] = []
    monkeypatch.setattr(api.audit, "append", unavailable)
    monkeypatch.setattr(api.persons, "open", opened.append)
    unrecorded = await search(api, "9990000018")
    assert unrecorded.status_code == 500 and opened == [] and "مریم" not in unrecorded.text


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"reason": "curiosity"}, "reason_unknown", "reason"),
        ({"reason": ""}, "reason_unknown", "reason"),
        ({"query": "9990000019"}, "person_not_found", "query"),  # no national ID, and ten characters as a code has
        ({"query": "12345"}, "search_unreadable", "query"),
        ({"query": ""}, "search_unreadable", "query"),
    ],
)
async def test_a_search_without_a_reason_or_a_readable_number_is_refused(
    api: RegistrationApi, changes: dict[str, str], code: str, field: str
) -> None:
    await api.register()
    before = len(api.audit.rows)
    refused = await api.request("POST", SEARCH, json={"query": "9990000018", "reason": "caller"} | changes)
    assert (refused.json()["code"], refused.json()["errors"][0]["field"]) == (code, field)
    assert len(api.audit.rows) == before
    unknown = await api.request("POST", "/v1/rounds/1499/searches", json={"query": "9990000018", "reason": "caller"})
    assert unknown.json()["code"] == "round_unknown"


async def test_a_foreign_person_is_exactly_a_missing_one_by_the_same_queries(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (await api.register(role="service", national_id=a_national_id(1), county="2001")).json()
    queries: list[tuple[str, Any]] = []
    find, find_by_unique = MemoryStore.find, MemoryStore.find_by_unique

    async def recorded(store: MemoryStore, query: Query) -> Any:
        queries.append(("find", sorted(query.where)))
        return await find(store, query)

    async def recorded_unique(store: MemoryStore, field: str, values: Any) -> Any:
        queries.append((field, len(values)))
        return await find_by_unique(store, field, values)

    monkeypatch.setattr(MemoryStore, "find", recorded)
    monkeypatch.setattr(MemoryStore, "find_by_unique", recorded_unique)

    async def answer(typed: str, **options: str) -> tuple[int, Any, Any]:
        queries.clear()
        response = await search(api, typed, **options)
        body = {name: value for name, value in response.json().items() if name != "instance"}
        return response.status_code, body, list(queries)

    missing = await answer(a_national_id(2), scope="IR-23")
    assert missing[0] == 404 and missing[2]
    assert await answer(a_national_id(1), scope="IR-23") == missing
    foreign, absent = await answer(made["tracking_code"], scope="IR-23"), await answer("AAAAA-AAAAA", scope="IR-23")
    assert foreign == absent and foreign[0] == 404
    neighbour = await answer(a_national_id(1), role="county_operator", scope="IR-20/2002")
    assert neighbour[:2] == missing[:2]
    own = await answer(a_national_id(1), role="county_operator", scope="IR-20/2001")
    assert own[0] == 200


async def test_misses_count_like_other_answers_that_reveal_who_applied(api: RegistrationApi) -> None:
    await api.register()
    guard = api_resources(api.app.state.runtime).enumeration_guard
    answers = [
        (await search(api, a_national_id(serial + 10))).status_code for serial in range(int(PER_MINUTE[False]) + 2)
    ]
    assert answers[0] == 404 and answers[-1] == 429 and guard.blocked_until
    assert (await search(api, "9990000018")).status_code == 429, "whatever a blocked officer looks for"


async def test_history_and_next_step_follow_the_application(api: RegistrationApi) -> None:
    made = (await api.register(national_id=a_national_id(7))).json()
    await api.run_jobs()
    await consume(api, made["id"], CaseOpened(due=date(2025, 10, 11)), CaseDecided(outcome="approved"))
    found = (await search(api, a_national_id(7))).json()
    assert found["next_step"] == "seat"
    api.advance(hours=1)
    await api.run_jobs()
    found = (await search(api, a_national_id(7))).json()
    assert [each["what"] for each in found["history"]] == [
        "applicant.registered",
        "applicant.identity_checked",
        "case.opened",
        "case.decided",
        "applicant.admitted",
    ]
    assert found["next_step"] == "capacity_call" and found["applicant"]["status"] == "admitted"
    assert found["history"][0]["by"] == "registrar" and "of-2f9c" not in str(found["history"])


async def test_of_an_erased_person_only_the_erasure_is_shown(api: RegistrationApi) -> None:
    made = (await api.register()).json()
    path = f"/v1/applications/{made['id']}/erasure"
    assert (await api.request("POST", path, "manager", json=ERASURE)).status_code == 200
    found = (await search(api, "9990000018")).json()
    assert (found["identity"], found["identity_withheld"], found["next_step"]) == (None, "erased", "none")
    assert [each["what"] for each in found["history"]] == ["applicant.erased"]
    page = await on_page(api, query="9990000018", reason="visitor", round="1404")
    assert page.status_code == 200 and "داده‌هایش پاک شده است" in page.text and "شاهرود" not in page.text


@pytest.mark.parametrize(
    ("current", "step"),
    [
        (Application(), "screening_call"),
        (Application(identity="mismatch"), "correct_identity"),
        (Application(identity="mismatch", outcome="rejected"), "none"),
        (Application(outcome="approved"), "seat"),
        (Application(outcome="rejected"), "none"),
    ],
)
def test_the_next_step_is_what_can_be_put_right_first(current: Application, step: str) -> None:
    assert next_step(State(application=1, current=current)) == step


# The page


async def test_the_page_finds_masks_and_shows_in_clear_on_record(api: RegistrationApi) -> None:
    made = (await api.register(national_id=a_national_id(7))).json()
    form = await api.request("GET", "/desk", headers=PAGE)
    assert form.status_code == 200 and "چه کسی تماس گرفته" in form.text and 'value="1404"' in form.text
    page = await on_page(api, query=made["tracking_code"], reason="caller", round="1404")
    assert page.status_code == 200 and "مریم آزمون" in page.text and "۰۹۱۲ ••• ••۱۸" in page.text
    assert "9120000018" not in page.text and "۹۱۲ ۰۰۰" not in page.text
    before = len(api.audit.rows)
    shown = await on_page(api, f"/desk/{made['id']}/identity", reason="caller")
    assert 'href="tel:+989120000018"' in shown.text and "۰۹۱۲ ۰۰۰ ۰۰۱۸" in shown.text and "۱۴ تیر ۱۳۶۸" in shown.text
    assert [each.purpose for each in api.audit.rows[before:]] == ["identity/caller"]
    unexplained = await on_page(api, f"/desk/{made['id']}/identity", reason="")
    assert unexplained.status_code == 422 and len(api.audit.rows) == before + 1
    english = await on_page(api, "/desk?lang=en", query=made["tracking_code"], reason="caller", round="1404")
    assert 'dir="ltr"' in english.text and "Who acts next?" in english.text and "0912 ••• ••18" in english.text


async def test_the_page_names_all_errors_at_once_and_keeps_what_was_typed(api: RegistrationApi) -> None:
    empty = await on_page(api, query="", reason="", round="1404")
    assert empty.status_code == 422 and 'href="#query"' in empty.text and 'href="#reason"' in empty.text
    missing = await on_page(api, query=a_national_id(3), reason="papers", round="1404")
    assert missing.status_code == 404 and f'value="{a_national_id(3)}"' in missing.text
    assert 'value="papers" selected' in missing.text and "با این شماره چیزی پیدا نشد" in missing.text
    unknown_round = await on_page(api, query=a_national_id(3), reason="papers", round="1")
    assert unknown_round.status_code == 404


async def test_the_page_is_for_registrars_managers_and_county_operators(api: RegistrationApi) -> None:
    signed_out = await api.request("GET", "/desk", "", headers=PAGE)
    assert signed_out.status_code == 303
    assert signed_out.headers["location"].startswith("/registration/sign-in?to=/registration/desk")
    for role, status in {"manager": 200, "county_operator": 200, "screener": 403, "auditor": 403}.items():
        scope = "IR-20/2003" if role == "county_operator" else "IR-20"
        assert (await api.request("GET", "/desk", role, scope=scope, headers=PAGE)).status_code == status, role
