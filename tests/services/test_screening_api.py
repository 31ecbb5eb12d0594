"""Screening's API over ASGI: permissions, the queue, decisions, capacities, lists, claims, and foreign cases."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from contracts.events import ApplicantAdmitted
from tests.support.screening_api import ScreeningApi
from tests.support.service_api import of_another_type, subject_of

APPROVE = {
    "outcome": "approved",
    "checklist": {"not_insured": True, "resident": True, "complete": True},
}
KILIMS = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"}


def claims() -> list[float]:
    """Return how often the metric has counted a claimed case, and none."""
    name = "peyvand_screening_claims_total"
    return [REGISTRY.get_sample_value(name, {"result": each}) or 0 for each in ("claimed", "none")]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ScreeningApi]:
    """Screening over memory, without cases."""
    api = ScreeningApi(tmp_path)
    yield api
    await api.http.aclose()


async def test_queue_is_ordered_by_deadline_and_paged(api: ScreeningApi) -> None:
    for n in (3, 1, 2):
        await api.register(n)
        api.now += timedelta(days=2)
    await api.register(4, "IR-23")
    first = (await api.request("GET", "/v1/cases?state=open&limit=2")).json()
    assert [each["id"] for each in first["items"]] == [subject_of(3), subject_of(1)]
    assert first["items"][0]["since"][:10] == "2025-09-27" and first["items"][0]["due"] == "2025-10-08"
    second = (await api.request("GET", f"/v1/cases?limit=2&after={first['next']}")).json()
    assert [each["id"] for each in second["items"]] == [subject_of(2)] and second["next"] is None
    nationwide = (await api.request("GET", "/v1/cases", "auditor", province="")).json()
    assert len(nationwide["items"]) == 4
    of_province = (await api.request("GET", "/v1/cases?province=IR-23", "auditor", province="")).json()
    assert [each["id"] for each in of_province["items"]] == [subject_of(4)]
    assert (await api.request("GET", "/v1/cases?province=IR-23")).json()["items"] == []
    assert (await api.request("GET", "/v1/cases?province=IR-31")).json()["code"] == "province_code_old"
    assert (await api.request("GET", "/v1/cases?after=WyJ4Il0")).status_code == 400


async def test_county_officer_sees_cases_of_own_county_only(api: ScreeningApi) -> None:
    own = await api.register(1)
    issued = api.issuer.bearer("screener", province="IR-20", county="2001")
    other = api.issuer.bearer("screener", province="IR-20", county="2002")
    for headers, expected in ((issued, [own]), (other, [])):
        page = (await api.http.get("/screening/v1/cases", headers=headers)).json()
        assert [each["id"] for each in page["items"]] == expected
        counts = (await api.http.get("/screening/v1/cases/counts", headers=headers)).json()
        assert counts["states"] == ({"open": 1} if expected else {})
        assert (await api.http.get(f"/screening/v1/cases/{own}", headers=headers)).is_success == bool(expected)


async def test_foreign_case_is_answered_like_a_missing_one(api: ScreeningApi) -> None:
    foreign = await api.register(1, "IR-23")
    missing = {**(await api.request("GET", "/v1/cases/x")).json(), "instance": ""}
    for path in (f"/v1/cases/{foreign}", f"/v1/cases/{subject_of(9)}"):
        response = await api.request("GET", path)
        assert response.status_code == 404
        assert {**response.json(), "instance": ""} == missing
    for path, body in ((f"/v1/cases/{foreign}/decision", APPROVE), (f"/v1/applicants/{foreign}/capacity", KILIMS)):
        assert (await api.request("POST", path, json=body)).status_code == 404
    listed = (await api.request("POST", "/v1/cases/decisions", json={"decisions": [{"id": foreign, **APPROVE}]})).json()
    assert listed["items"][0]["code"] == "not_found" and listed["refused"] == 1


async def test_case_is_decided_once_and_repeated_under_its_key(api: ScreeningApi) -> None:
    case = await api.register(1)
    path = f"/v1/cases/{case}/decision"
    first = await api.request("POST", path, key="decision-1", json=APPROVE)
    assert first.status_code == 200 and first.json()["decision"]["rule_version"] == "1404-1"
    assert first.json()["state"] == "decided" and first.json()["holder"] == "registration"
    repeated = await api.request("POST", path, key="decision-1", json=APPROVE)
    assert repeated.json() == first.json()
    other = await api.request("POST", path, key="decision-1", json={"outcome": "rejected", "reasons": ["other"]})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    refused = await api.request("POST", path, json=APPROVE)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_decided")


async def test_refusals_name_the_field_in_both_languages(api: ScreeningApi) -> None:
    case = await api.register(1)
    refused = await api.request("POST", f"/v1/cases/{case}/decision", json={"outcome": "rejected"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "reasons" and "دلیل" in refused.json()["detail_fa"]
    body = {"outcome": "approved", "checklist": {"not_insured": True, "resident": False, "complete": True}}
    assert (await api.request("POST", f"/v1/cases/{case}/decision", json=body)).json()["code"] == "not_eligible"


async def test_registrar_of_an_applicant_may_not_decide(api: ScreeningApi) -> None:
    case = await api.register(1, actor="registrar:of-1")
    refused = await api.request("POST", f"/v1/cases/{case}/decision", "manager", json=APPROVE)
    assert (refused.status_code, refused.json()["code"]) == (403, "registrar_may_not_screen")
    assert (await api.request("POST", f"/v1/cases/{case}/decision", id="of-2", json=APPROVE)).status_code == 200


@pytest.mark.parametrize("role", ["labour_expert", "council", "registrar", "lead", "analyst", "applicant"])
async def test_other_roles_may_not_decide(api: ScreeningApi, role: str) -> None:
    case = await api.register(1)
    response = await api.request("POST", f"/v1/cases/{case}/decision", role, json=APPROVE)
    assert response.status_code in (401, 403)  # 401: the token of a lead without the claim `lead` is invalid
    assert (await api.http.get(f"/screening/v1/cases/{case}")).status_code == 401


async def test_list_of_decisions_has_an_outcome_per_item_in_order(api: ScreeningApi) -> None:
    cases = [await api.register(n) for n in range(1, 5)]
    decisions: list[dict[str, Any]] = [
        {"id": cases[2], "outcome": "rejected", "reasons": ["insured"]},
        {"id": cases[0], **APPROVE},
        {"id": cases[1], "outcome": "rejected"},
        {"id": subject_of(99), **APPROVE},
        {"id": cases[0], "outcome": "rejected", "reasons": ["other"]},
    ]
    body = {"decisions": decisions}
    response = await api.request("POST", "/v1/cases/decisions", key="morning-list", json=body)
    assert response.status_code == 200
    items = response.json()["items"]
    assert [each["id"] for each in items] == [each["id"] for each in decisions]
    assert [each.get("code") for each in items] == [None, None, "reasons_missing", "not_found", "row_repeated"]
    assert items[1] == {"id": cases[0], "state": "decided"}
    assert (response.json()["done"], response.json()["refused"]) == (2, 3)
    repeated = (await api.request("POST", "/v1/cases/decisions", key="morning-list", json=body)).json()
    assert repeated == response.json()
    assert len(api.store.events[cases[0]]) == 2, "a repeated request emits nothing"


async def test_reused_key_is_refused_per_item(api: ScreeningApi) -> None:
    case = await api.register(1)
    bodies = [{"decisions": [{"id": case, "outcome": "rejected", "reasons": [each]}]} for each in ("insured", "other")]
    first, reused = [
        (await api.request("POST", "/v1/cases/decisions", key="morning-list", json=body)).json()["items"][0]
        for body in bodies
    ]
    assert first == {"id": case, "state": "decided"} and reused["code"] == "idempotency_key_reused"


async def test_list_has_at_most_500_items(api: ScreeningApi) -> None:
    decisions = [{"id": subject_of(n), **APPROVE} for n in range(501)]
    response = await api.request("POST", "/v1/cases/decisions", json={"decisions": decisions})
    assert response.status_code == 422


async def test_capacities_are_identified_singly_and_as_a_list(api: ScreeningApi) -> None:
    cases = [await api.register(n) for n in (1, 2, 3)]
    await api.request("POST", "/v1/cases/decisions", json={"decisions": [{"id": each, **APPROVE} for each in cases]})
    for n in (1, 2):
        await api.consume(n, ApplicantAdmitted())
    pending = (await api.request("GET", "/v1/cases?state=awaiting_capacity")).json()["items"]
    assert [each["id"] for each in pending] == cases[:2] and pending[0]["holder"] == "screening"
    one = await api.request("POST", f"/v1/applicants/{cases[0]}/capacity", json={**KILIMS, "needs": ["training"]})
    assert one.json()["capacity"]["needs"] == ["training"] and one.json()["state"] == "identified"
    capacities = [{"id": each, **KILIMS} for each in cases]
    listed = (await api.request("POST", "/v1/applicants/capacities", json={"capacities": capacities})).json()
    assert [each.get("code") for each in listed["items"]] == ["capacity_known", None, "not_admitted"]
    wrong = await api.request("POST", f"/v1/applicants/{cases[2]}/capacity", json={**KILIMS, "price": 1})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "price")


async def test_case_shows_its_conditions_and_history_but_no_identity(api: ScreeningApi) -> None:
    case = await api.register(1)
    await api.request("POST", f"/v1/cases/{case}/decision", json={"outcome": "rejected", "reasons": ["insured"]})
    response = await api.request("GET", f"/v1/cases/{case}", "labour_expert")
    shown = response.json()
    assert [each["type"].split(".")[3:5] for each in shown["history"]] == [["case", "opened"], ["case", "decided"]]
    assert {each["rule"]: each["holds"] for each in shown["rules"]} == {
        "minimum_age": True, "field_of_round": True, "not_insured": False, "resident": None, "complete": None,
    }  # fmt: skip
    not_modified = await api.http.get(
        f"/screening/v1/cases/{case}",
        headers={**api.issuer.bearer("screener", province="IR-20"), "If-None-Match": response.headers["etag"]},
    )
    assert not_modified.status_code == 304


async def test_history_names_a_type_that_this_version_does_not_know(api: ScreeningApi) -> None:
    """As after a rollback: a newer version has emitted it."""
    case = await api.register(1)
    api.store.events[case].append(of_another_type(api.store.events[case][-1], "ir.peyvand.screening.new.v1"))
    shown = (await api.request("GET", f"/v1/cases/{case}")).json()
    assert [each["type"] for each in shown["history"]][1:] == ["ir.peyvand.screening.new.v1"]


async def test_counts_include_overdue_cases(api: ScreeningApi) -> None:
    await api.register(1)
    api.now += timedelta(days=11)  # the due day itself
    await api.register(2)
    counts = (await api.request("GET", "/v1/cases/counts", "council")).json()
    assert counts == {"states": {"open": 2}, "overdue": 0, "due_today": 1}
    api.now += timedelta(days=1)
    assert (await api.request("GET", "/v1/cases/counts")).json()["overdue"] == 1
    foreign = (await api.request("GET", "/v1/cases/counts?province=IR-23")).json()
    assert foreign == {"states": {}, "overdue": 0, "due_today": 0}
    assert (await api.request("GET", "/v1/cases/counts?province=IR-99")).json()["code"] == "province_unknown"


async def test_two_officers_never_claim_the_same_case(api: ScreeningApi) -> None:
    for n in (1, 2):
        await api.register(n)
    await api.register(3, actor="registrar:of-1")
    before = claims()
    claimed = [(await api.request("POST", "/v1/cases/next", id=f"of-{n}")).json()["id"] for n in (1, 2)]
    assert claimed == [subject_of(1), subject_of(2)]
    refused = await api.request("POST", "/v1/cases/next", id="of-1")
    assert refused.status_code == 404, "the registrar of an applicant is not offered the case"
    assert (await api.request("POST", "/v1/cases/next", id="of-3")).json()["id"] == subject_of(3)
    assert [after - n for after, n in zip(claims(), before, strict=True)] == [3, 1]
