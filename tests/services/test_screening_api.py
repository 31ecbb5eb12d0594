"""Screening's API over ASGI: who may, what is told, lists in order, and that a foreign case is a missing one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from base.clock import Moment
from base.settings import Settings
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantAdmitted, ApplicantRegistered, Event
from kernel.batch import process
from kernel.record import Message
from screening.api import create
from screening.store import MemoryCases, memory_store
from tests.support.tokens import Issuer

START = datetime(2025, 9, 27, 6, tzinfo=UTC)
APPROVE = {"outcome": "approved", "reasons": ["meets_conditions"]}
KILIMS = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"}


class Desk:
    """Screening in memory, with registration dictating and officers asking."""

    def __init__(self, folder: Path) -> None:
        self.now, self.store, self.issuer = START, memory_store(), Issuer(folder)
        self.told: dict[str, int] = {}
        settings = Settings(
            service="screening", environment="development", kafka="-", mongo=SecretStr("-"), database="-",
            issuer=self.issuer.name, jwks=self.issuer.jwks,
        )  # fmt: skip

        async def ready() -> list[str]:
            return []

        self.app = create(settings, self.store, MemoryCases(self.store), self.clock, ready=ready)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1")

    def clock(self) -> Moment:
        return Moment(self.now, datetime.now(UTC))

    async def hears(self, n: int, event: Event, province: str = "IR-20", actor: str = "registrar:of-9") -> str:
        subject = name(n)
        self.told[subject] = self.told.get(subject, 0) + 1
        stands = Context(round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1")
        envelope = Envelope(
            source="registration", subject=subject, sequence=self.told[subject], time=self.now,
            event=event, actor=actor, context=stands,
        )  # fmt: skip
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)
        return subject

    async def registered(self, n: int, province: str = "IR-20", **more: str) -> str:
        person: dict[str, Any] = {
            "sex": "female",
            "age_band": "25-34",
            "work_mode": "independent",
            "intake_channel": "desk",
        }
        return await self.hears(n, ApplicantRegistered(**person), province, **more)

    async def asks(self, method: str, path: str, *roles: str, key: str = "", **more: Any) -> httpx.Response:
        claims = {"id": more.pop("id", "of-1"), "province": more.pop("province", "IR-20")}
        headers = self.issuer.bearer(*(roles or ("screener",)), **claims)
        headers |= {"Idempotency-Key": key} if key else {}
        return await self.http.request(method, f"/screening{path}", headers=headers, **more)


def name(n: int) -> str:
    return f"0199a000-0000-7000-8000-{n:012d}"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    await desk.http.aclose()


async def test_the_queue_is_ordered_by_deadline_and_paged(desk: Desk) -> None:
    for n in (3, 1, 2):
        await desk.registered(n)
        desk.now += timedelta(days=2)
    await desk.registered(4, "IR-23")
    first = (await desk.asks("GET", "/v1/cases?state=open&limit=2")).json()
    assert [each["id"] for each in first["items"]] == [name(3), name(1)]
    assert first["items"][0]["since"][:10] == "2025-09-27" and first["items"][0]["due"] == "2025-10-08"
    second = (await desk.asks("GET", f"/v1/cases?limit=2&after={first['next']}")).json()
    assert [each["id"] for each in second["items"]] == [name(2)] and second["next"] is None
    nation = (await desk.asks("GET", "/v1/cases", "auditor", province="")).json()
    assert len(nation["items"]) == 4
    assert (await desk.asks("GET", "/v1/cases?province=IR-23")).json()["items"] == []
    assert (await desk.asks("GET", "/v1/cases?after=WyJ4Il0")).status_code == 400


async def test_a_foreign_case_is_a_missing_one(desk: Desk) -> None:
    theirs = await desk.registered(1, "IR-23")
    for path in (f"/v1/cases/{theirs}", f"/v1/cases/{name(9)}"):
        answer = await desk.asks("GET", path)
        assert answer.status_code == 404
        assert {**answer.json(), "instance": ""} == {
            **(await desk.asks("GET", "/v1/cases/x")).json(),
            "instance": "",
        }
    for path, body in ((f"/v1/cases/{theirs}/decision", APPROVE), (f"/v1/applicants/{theirs}/capacity", KILIMS)):
        assert (await desk.asks("POST", path, json=body)).status_code == 404
    done = (await desk.asks("POST", "/v1/cases/decisions", json={"decisions": [{"id": theirs, **APPROVE}]})).json()
    assert done["items"][0]["code"] == "not_found" and done["refused"] == 1


async def test_a_case_is_decided_once_and_repeated_under_its_key(desk: Desk) -> None:
    case = await desk.registered(1)
    path = f"/v1/cases/{case}/decision"
    first = await desk.asks("POST", path, key="decision-1", json=APPROVE)
    assert first.status_code == 200 and first.json()["decision"]["rule_version"] == "1404-1"
    assert first.json()["state"] == "decided" and first.json()["holder"] == "registration"
    again = await desk.asks("POST", path, key="decision-1", json=APPROVE)
    assert again.json() == first.json()
    other = await desk.asks("POST", path, key="decision-1", json={"outcome": "rejected", "reasons": ["other"]})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    refused = await desk.asks("POST", path, json=APPROVE)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_decided")


async def test_refusals_name_the_field_and_speak_both_languages(desk: Desk) -> None:
    case = await desk.registered(1)
    refused = await desk.asks("POST", f"/v1/cases/{case}/decision", json={"outcome": "rejected"})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "reasons" and "دلیل" in refused.json()["detail_fa"]
    asked = {"outcome": "approved", "checklist": {"not_insured": True, "resident": False, "complete": True}}
    assert (await desk.asks("POST", f"/v1/cases/{case}/decision", json=asked)).json()["code"] == "not_eligible"


async def test_who_registered_does_not_decide(desk: Desk) -> None:
    case = await desk.registered(1, actor="registrar:of-1")
    refused = await desk.asks("POST", f"/v1/cases/{case}/decision", "manager", json=APPROVE)
    assert (refused.status_code, refused.json()["code"]) == (403, "registrar_may_not_screen")
    assert (await desk.asks("POST", f"/v1/cases/{case}/decision", id="of-2", json=APPROVE)).status_code == 200


@pytest.mark.parametrize("role", ["labour_expert", "council", "registrar", "lead", "analyst", "applicant"])
async def test_others_do_not_decide(desk: Desk, role: str) -> None:
    case = await desk.registered(1)
    answer = await desk.asks("POST", f"/v1/cases/{case}/decision", role, json=APPROVE)
    assert answer.status_code in (401, 403)  # a lead's token without a lead does not hold
    assert (await desk.http.get(f"/screening/v1/cases/{case}")).status_code == 401


async def test_a_list_is_answered_item_by_item_in_order(desk: Desk) -> None:
    cases = [await desk.registered(n) for n in range(1, 5)]
    decisions: list[dict[str, Any]] = [
        {"id": cases[2], "outcome": "rejected", "reasons": ["insured"]},
        {"id": cases[0], **APPROVE},
        {"id": cases[1], "outcome": "rejected"},
        {"id": name(99), **APPROVE},
        {"id": cases[0], "outcome": "rejected", "reasons": ["other"]},
    ]
    answer = await desk.asks("POST", "/v1/cases/decisions", key="morning-list", json={"decisions": decisions})
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [each["id"] for each in items] == [each["id"] for each in decisions]
    assert [each.get("code") for each in items] == [None, None, "reasons_missing", "not_found", "row_repeated"]
    assert items[1] == {"id": cases[0], "state": "decided"} and (answer.json()["done"], answer.json()["refused"]) == (
        2,
        3,
    )
    again = (await desk.asks("POST", "/v1/cases/decisions", key="morning-list", json={"decisions": decisions})).json()
    assert [each.get("repeated") for each in again["items"]] == [True, True, None, None, None]
    assert len(desk.store.emitted[cases[0]]) == 2, "nothing was done twice"


async def test_a_list_holds_at_most_500(desk: Desk) -> None:
    decisions = [{"id": name(n), **APPROVE} for n in range(501)]
    answer = await desk.asks("POST", "/v1/cases/decisions", json={"decisions": decisions})
    assert answer.status_code == 422


async def test_capacities_are_identified_singly_and_as_a_list(desk: Desk) -> None:
    cases = [await desk.registered(n) for n in (1, 2, 3)]
    await desk.asks("POST", "/v1/cases/decisions", json={"decisions": [{"id": each, **APPROVE} for each in cases]})
    for n in (1, 2):
        await desk.hears(n, ApplicantAdmitted())
    waiting = (await desk.asks("GET", "/v1/cases?state=awaiting_capacity")).json()["items"]
    assert [each["id"] for each in waiting] == cases[:2] and waiting[0]["holder"] == "screening"
    one = await desk.asks("POST", f"/v1/applicants/{cases[0]}/capacity", json={**KILIMS, "needs": ["training"]})
    assert one.json()["capacity"]["needs"] == ["training"] and one.json()["state"] == "identified"
    capacities = [{"id": each, **KILIMS} for each in cases]
    many = (await desk.asks("POST", "/v1/applicants/capacities", json={"capacities": capacities})).json()
    assert [each.get("code") for each in many["items"]] == ["capacity_known", None, "not_admitted"]
    wrong = await desk.asks("POST", f"/v1/applicants/{cases[2]}/capacity", json={**KILIMS, "price": 1})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "price")


async def test_a_case_tells_its_rules_and_its_history_and_nobody(desk: Desk) -> None:
    case = await desk.registered(1)
    await desk.asks("POST", f"/v1/cases/{case}/decision", json={"outcome": "rejected", "reasons": ["insured"]})
    answer = await desk.asks("GET", f"/v1/cases/{case}", "labour_expert")
    told = answer.json()
    assert [each["type"].split(".")[3:5] for each in told["history"]] == [["case", "opened"], ["case", "decided"]]
    assert {each["rule"]: each["holds"] for each in told["rules"]} == {
        "minimum_age": True, "field_of_round": True, "not_insured": False, "resident": None, "complete": None,
    }  # fmt: skip
    known = await desk.http.get(
        f"/screening/v1/cases/{case}",
        headers={**desk.issuer.bearer("screener", province="IR-20"), "If-None-Match": answer.headers["etag"]},
    )
    assert known.status_code == 304


async def test_counts_say_what_is_overdue(desk: Desk) -> None:
    await desk.registered(1)
    desk.now += timedelta(days=11)  # the due day itself
    await desk.registered(2)
    counts = (await desk.asks("GET", "/v1/cases/counts", "council")).json()
    assert counts == {"states": {"open": 2}, "overdue": 0, "due_today": 1}
    desk.now += timedelta(days=1)
    assert (await desk.asks("GET", "/v1/cases/counts")).json()["overdue"] == 1


async def test_two_officers_never_take_the_same_case(desk: Desk) -> None:
    for n in (1, 2):
        await desk.registered(n)
    await desk.registered(3, actor="registrar:of-1")
    taken = [(await desk.asks("POST", "/v1/cases/next", id=f"of-{n}")).json()["id"] for n in (1, 2)]
    assert taken == [name(1), name(2)]
    assert (await desk.asks("POST", "/v1/cases/next", id="of-1")).status_code == 404, (
        "nobody takes whom they registered"
    )
    assert (await desk.asks("POST", "/v1/cases/next", id="of-3")).json()["id"] == name(3)
