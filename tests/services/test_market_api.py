"""Market's API over ASGI: lead enterprises, offers, connections one by one and as lists, access of each role."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.commands import Tick
from kernel.commands import execute
from tests.support.market_api import MarketApi
from tests.support.service_api import of_another_type, subject_of

SALE = {"channel": "cooperative", "counterparty_kind": "cooperative", "evidence": "E2"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[MarketApi]:
    """Market over memory, without producers."""
    api = MarketApi(tmp_path)
    yield api
    await api.http.aclose()


async def test_lead_enterprise_joins_and_no_event_contains_its_name(api: MarketApi) -> None:
    body = {"name": " بافته‌هاي كوير ", "services": ["sale", "training"], "fields": ["JF001"], "province": "IR-20"}
    made = await api.request("POST", "/v1/leads", key="joining-1", json=body)
    assert made.status_code == 201 and made.headers["location"] == f"/market/v1/leads/{made.json()['id']}"
    assert made.json()["name"] == "بافته‌های کویر"
    assert (await api.request("POST", "/v1/leads", key="joining-1", json=body)).json() == made.json()
    assert (await api.request("POST", "/v1/leads", json=body)).json()["code"] == "taken"
    assert (await api.request("GET", "/v1/leads?province=IR-20")).json()["items"] == [made.json()]
    assert (await api.request("GET", "/v1/leads?province=IR-23")).json()["items"] == []
    assert (await api.request("GET", f"/v1/leads/{made.json()['id']}")).json() == made.json()
    (events,) = api.store.events.values()
    assert len(events) == 1 and "کویر".encode() not in events[0] and b"\\u06a9" not in events[0]


@pytest.mark.parametrize("name", ["\u3164\u3164", "...", "\u064b\u064c\u064d", "\u200b \u200b", "\u02c6\u02c6", "--"])
async def test_names_without_a_letter_or_digit_are_refused(api: MarketApi, name: str) -> None:
    body = {"name": name, "services": ["sale"], "fields": ["JF001"], "province": "IR-20"}
    refused = await api.request("POST", "/v1/leads", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "name")


async def test_invisible_characters_make_no_second_name(api: MarketApi) -> None:
    await api.enlist("بافته")
    body = {"name": "با\u200bفته\u2060", "services": ["sale"], "fields": ["JF001"], "province": "IR-20"}
    assert (await api.request("POST", "/v1/leads", json=body)).json()["code"] == "taken"


async def test_managers_enlist_in_their_own_province_only(api: MarketApi) -> None:
    body = {"name": "پیشران", "services": ["sale"], "fields": ["JF001"], "province": "IR-23"}
    assert (await api.request("POST", "/v1/leads", json=body)).json()["code"] == "scope_other"
    assert (await api.request("POST", "/v1/leads", "ministry_admin", province="", json=body)).status_code == 201
    assert (await api.request("POST", "/v1/leads", "screener", json=body)).status_code == 403
    old_code = await api.request("POST", "/v1/leads", "ministry_admin", province="", json={**body, "province": "IR-31"})
    assert old_code.status_code == 422


async def test_producers_are_listed_by_state_within_the_scope(api: MarketApi) -> None:
    for n in (2, 1, 3):
        await api.ready(n)
    await api.ready(4, "IR-23")
    first = (await api.request("GET", "/v1/producers?province=IR-20&state=ready&limit=2")).json()
    assert [each["id"] for each in first["items"]] == [subject_of(1), subject_of(2)]
    rest = (await api.request("GET", f"/v1/producers?state=ready&limit=2&after={first['next']}")).json()
    assert [each["id"] for each in rest["items"]] == [subject_of(3)] and rest["next"] is None
    assert (await api.request("GET", "/v1/producers?province=IR-23")).json()["items"] == []
    assert (await api.request("GET", "/v1/producers?province=IR-31")).json()["code"] == "province_code_old"
    assert (await api.request("GET", f"/v1/producers/{subject_of(4)}")).status_code == 404
    assert (await api.request("GET", "/v1/producers?after=WzFd")).status_code == 400


async def test_from_an_offer_to_a_sustained_connection(api: MarketApi) -> None:
    producer, lead = await api.ready(1), await api.enlist()
    as_lead: dict[str, Any] = {"id": "le-1", "province": "", "lead": lead}
    offered = await api.request(
        "POST", f"/v1/producers/{producer}/offers", "lead", json={"channel": "cooperative"}, **as_lead
    )
    assert offered.status_code == 201
    assert offered.json() == {"offer": f"{producer}.o1", "producer": producer, "state": "offered", "answer": "open"}
    answered = await api.request("POST", f"/v1/offers/{producer}.o1/acceptance", json={"accepted": True})
    assert answered.json()["answer"] == "accepted"
    path = f"/v1/producers/{producer}/connections"
    body = {**SALE, "evidence": "E1", "offer": f"{producer}.o1"}
    made = await api.request("POST", path, "lead", json=body, key="connect-1", **as_lead)
    assert made.status_code == 201 and made.json()["connection"] == f"{producer}.c1"
    assert (await api.request("POST", path, "lead", json=body, key="connect-1", **as_lead)).json() == made.json()
    connection = f"/v1/connections/{producer}.c1"
    assert (await api.request("POST", f"{connection}/evidence", "labour_expert", json={"to": "E2"})).status_code == 200
    beyond = await api.request("POST", f"{connection}/evidence", json={"to": "E3"})
    assert (beyond.status_code, beyond.json()["code"]) == (403, "evidence_beyond_role")
    proven = await api.request("POST", f"{connection}/evidence", "service", province="", json={"to": "E3"})
    assert proven.json()["evidence"] == "E3"
    api.now = api.store.records[producer].indexed["due"]
    await execute(api.store, producer, Tick(api.now), api.clock)
    shown = (await api.request("GET", f"/v1/producers/{producer}")).json()
    assert shown["state"] == "sustained" and shown["connections"][0]["evidence"] == "E4"
    assert [each["type"].split(".")[3:5] for each in shown["history"]] == [
        ["producer", "readied"], ["offer", "made"], ["offer", "accepted"], ["producer", "connected"],
        ["connection", "evidenced"], ["connection", "evidenced"], ["connection", "sustained"],
    ]  # fmt: skip
    ended = await api.request("POST", f"{connection}/end", json={"reason": "completed"})
    assert (ended.json()["ended"], ended.json()["state"]) == ("completed", "ended")


async def test_history_names_a_type_that_this_version_does_not_know(api: MarketApi) -> None:
    """As after a rollback: a newer version has emitted it."""
    producer = await api.ready(1)
    api.store.events[producer].append(of_another_type(api.store.events[producer][-1], "ir.peyvand.market.new.v1"))
    shown = (await api.request("GET", f"/v1/producers/{producer}")).json()
    assert [each["type"] for each in shown["history"]][1:] == ["ir.peyvand.market.new.v1"]


async def test_lead_enterprise_has_access_to_its_own_only(api: MarketApi) -> None:
    producer, foreign = await api.ready(1), await api.ready(2, "IR-23")
    mine, other = await api.enlist(), await api.enlist("دیگری")
    as_own, as_other = ({"id": each, "province": "", "lead": each} for each in (mine, other))
    body = {"channel": "cooperative"}
    outside = await api.request("POST", f"/v1/producers/{foreign}/offers", "lead", json=body, **as_own)
    assert outside.status_code == 404
    path = f"/v1/producers/{producer}/offers"
    for_other = await api.request("POST", path, "lead", json={**body, "lead": other}, **as_own)
    assert for_other.json()["code"] == "lead_unknown"
    assert (await api.request("POST", path, json={**body, "lead": subject_of(77)})).json()["code"] == "lead_unknown"
    assert (await api.request("POST", path, json={**body, "lead": mine})).status_code == 201
    own = (await api.request("GET", "/v1/producers?state=offered", "lead", **as_own)).json()["items"]
    assert [each["id"] for each in own] == [producer]
    assert (await api.request("GET", "/v1/producers?state=offered", "lead", **as_other)).json()["items"] == []
    seen = (await api.request("GET", f"/v1/producers/{producer}", "lead", **as_other)).json()
    assert seen["offers"] == [] and seen["history"] == []
    answer = {"accepted": False, "reason": "price"}
    acceptance = f"/v1/offers/{producer}.o1/acceptance"
    assert (await api.request("POST", acceptance, "lead", json=answer, **as_other)).status_code == 404
    assert (await api.request("POST", acceptance, "lead", json=answer, **as_own)).json()["answer"] == "declined"
    unknown = await api.request("POST", path, "lead", json=body, id="x", province="", lead=subject_of(88))
    assert unknown.status_code == 403


async def test_list_of_connections_has_an_outcome_per_item_in_order(api: MarketApi) -> None:
    producers = [await api.ready(n) for n in (1, 2, 3)]
    outside = await api.ready(4, "IR-23")
    body = {
        "connections": [
            {"producer": producers[2], **SALE},
            {"producer": producers[0], **SALE, "evidence": "E3"},
            {"producer": outside, **SALE},
            {"producer": producers[1], **SALE, "evidence": "E0"},
            {"producer": producers[2], **SALE},
        ]
    }
    answer = await api.request("POST", "/v1/connections/batch", key="fair-of-aban", json=body)
    items = answer.json()["items"]
    assert [each.get("code") for each in items] == [
        None, "evidence_beyond_role", "not_found", None, "row_repeated",
    ]  # fmt: skip
    assert items[0] == {"producer": producers[2], "connection": f"{producers[2]}.c1", "state": "connected"}
    again = (await api.request("POST", "/v1/connections/batch", key="fair-of-aban", json=body)).json()["items"]
    assert again == items and len(api.store.events[producers[2]]) == 2
    assert (await api.request("POST", "/v1/connections/batch", "screener", json=body)).status_code == 403


async def test_repeated_request_returns_what_it_created_whatever_followed(api: MarketApi) -> None:
    producer = await api.ready(1)
    offers, connections = f"/v1/producers/{producer}/offers", f"/v1/producers/{producer}/connections"
    for number in (1, 2):
        offered = await api.request("POST", offers, key=f"offering-{number}", json={"channel": "direct"})
        connected = await api.request("POST", connections, key=f"connecting-{number}", json=SALE)
        assert offered.json()["offer"] == f"{producer}.o{number}"
        assert connected.json()["connection"] == f"{producer}.c{number}"
    repeated = await api.request("POST", offers, key="offering-1", json={"channel": "direct"})
    assert (repeated.status_code, repeated.json()["offer"]) == (201, f"{producer}.o1")
    repeated = await api.request("POST", connections, key="connecting-1", json=SALE)
    assert (repeated.status_code, repeated.json()["connection"]) == (201, f"{producer}.c1")
    assert len(api.store.events[producer]) == 5  # readied, and two of each


async def test_county_officer_sees_producers_of_own_county_only(api: MarketApi) -> None:
    producer = await api.ready(1)
    for county, expected in (("2001", [producer]), ("2002", [])):
        headers = api.issuer.bearer("manager", province="IR-20", county=county)
        page = (await api.http.get("/market/v1/producers", headers=headers)).json()
        assert [each["id"] for each in page["items"]] == expected
        found = await api.http.get(f"/market/v1/producers/{producer}", headers=headers)
        assert found.status_code == (200 if expected else 404)


async def test_unknown_producers_and_offers_are_refused(api: MarketApi) -> None:
    answer = await api.request("POST", f"/v1/producers/{subject_of(5)}/connections", json=SALE)
    assert answer.status_code == 404
    for path in (f"/v1/connections/{subject_of(5)}.c1/end", "/v1/connections/c1/end"):
        assert (await api.request("POST", path, json={"reason": "price"})).json()["code"] == "connection_unknown"
    producer = await api.ready(1)
    wrong = await api.request("POST", f"/v1/producers/{producer}/connections", json={**SALE, "channel": "smoke"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "channel")
    offer = {**SALE, "offer": f"{subject_of(9)}.o1"}
    assert (await api.request("POST", f"/v1/producers/{producer}/connections", json=offer)).status_code == 404


async def test_page_counts_lead_enterprises_by_province(api: MarketApi) -> None:
    assert "هنوز پیشرانی ثبت نشده است" in (await api.http.get("/market/")).text
    await api.enlist()
    page = await api.http.get("/market/?lang=en")
    assert (
        page.status_code == 200 and "1 lead enterprise trains" in page.text and page.text.count("/provinces/IR-") == 31
    )
