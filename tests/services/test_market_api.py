"""Market's API over ASGI: lead enterprises, offers, connections singly and as lists, and who sees whose."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from base.clock import Moment
from base.settings import Settings
from contracts.commands import Tick
from contracts.envelope import Context, Envelope, encode
from contracts.events import CapacityIdentified
from kernel.batch import process
from kernel.commands import execute
from kernel.record import Message
from market.api import create
from market.store import MemoryQuestions, memory_store
from tests.support.tokens import Issuer

START = datetime(2025, 11, 1, 6, tzinfo=UTC)
SALE = {"channel": "cooperative", "counterparty_kind": "cooperative", "evidence": "E2"}


class Desk:
    """Market in memory, with screening dictating and officers asking."""

    def __init__(self, folder: Path) -> None:
        self.now, self.store, self.issuer = START, memory_store(), Issuer(folder)
        settings = Settings(
            service="market", environment="development", kafka="-", mongo=SecretStr("-"), database="-",
            issuer=self.issuer.name, jwks=self.issuer.jwks,
        )  # fmt: skip

        async def ready() -> list[str]:
            return []

        self.app = create(settings, self.store, MemoryQuestions(self.store), self.clock, ready=ready)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1")

    def clock(self) -> Moment:
        return Moment(self.now, datetime.now(UTC))

    async def ready(self, n: int, province: str = "IR-20") -> str:
        """A producer whose capacity screening has just told."""
        subject = name(n)
        known = CapacityIdentified(
            product_group="handicrafts", unit="piece", monthly_band="10-49", skill_level="skilled"
        )
        stands = Context(round="1404", province=province, county=f"{province[3:]}01", field="JF001", policy="1404-1")
        envelope = Envelope(source="screening", subject=subject, sequence=1, time=self.now, event=known, context=stands)
        await process(self.store, [Message(envelope, encode(envelope))], {}, self.clock)
        return subject

    async def asks(self, method: str, path: str, *roles: str, key: str = "", **more: Any) -> httpx.Response:
        claims = {"id": more.pop("id", "of-1"), "province": more.pop("province", "IR-20")}
        claims |= {"lead": more.pop("lead")} if "lead" in more else {}
        headers = self.issuer.bearer(*(roles or ("manager",)), **claims)
        headers |= {"Idempotency-Key": key} if key else {}
        return await self.http.request(method, f"/market{path}", headers=headers, **more)

    async def enlisted(self, called: str = "بافته‌های کویر", province: str = "IR-20") -> str:
        body = {"name": called, "services": ["sale"], "fields": ["JF001"], "province": province}
        lead: str = (await self.asks("POST", "/v1/leads", json=body, province=province)).json()["id"]
        return lead


def name(n: int) -> str:
    return f"0199a000-0000-7000-8000-{n:012d}"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    await desk.http.aclose()


async def test_a_lead_enterprise_joins_and_its_name_is_in_no_event(desk: Desk) -> None:
    body = {"name": " بافته‌هاي كوير ", "services": ["sale", "training"], "fields": ["JF001"], "province": "IR-20"}
    made = await desk.asks("POST", "/v1/leads", key="joining-1", json=body)
    assert made.status_code == 201 and made.headers["location"] == f"/market/v1/leads/{made.json()['id']}"
    assert made.json()["name"] == "بافته‌های کویر"
    assert (await desk.asks("POST", "/v1/leads", key="joining-1", json=body)).json() == made.json()
    assert (await desk.asks("POST", "/v1/leads", json=body)).json()["code"] == "taken"
    assert (await desk.asks("GET", "/v1/leads?province=IR-20")).json()["items"] == [made.json()]
    assert (await desk.asks("GET", "/v1/leads?province=IR-23")).json()["items"] == []
    assert (await desk.asks("GET", f"/v1/leads/{made.json()['id']}")).json() == made.json()
    (events,) = desk.store.emitted.values()
    assert len(events) == 1 and "کویر".encode() not in events[0] and b"\\u06a9" not in events[0]


async def test_who_enlists_where(desk: Desk) -> None:
    body = {"name": "پیشران", "services": ["sale"], "fields": ["JF001"], "province": "IR-23"}
    assert (await desk.asks("POST", "/v1/leads", json=body)).json()["code"] == "scope_other"
    assert (await desk.asks("POST", "/v1/leads", "ministry_admin", province="", json=body)).status_code == 201
    assert (await desk.asks("POST", "/v1/leads", "screener", json=body)).status_code == 403
    old = await desk.asks("POST", "/v1/leads", "ministry_admin", province="", json={**body, "province": "IR-31"})
    assert old.status_code == 422


async def test_producers_are_listed_by_state_within_the_scope(desk: Desk) -> None:
    for n in (2, 1, 3):
        await desk.ready(n)
    await desk.ready(4, "IR-23")
    first = (await desk.asks("GET", "/v1/producers?province=IR-20&state=ready&limit=2")).json()
    assert [each["id"] for each in first["items"]] == [name(1), name(2)]
    rest = (await desk.asks("GET", f"/v1/producers?state=ready&limit=2&after={first['next']}")).json()
    assert [each["id"] for each in rest["items"]] == [name(3)] and rest["next"] is None
    assert (await desk.asks("GET", "/v1/producers?province=IR-23")).json()["items"] == []
    assert (await desk.asks("GET", f"/v1/producers/{name(4)}")).status_code == 404
    assert (await desk.asks("GET", "/v1/producers?after=WzFd")).status_code == 400


async def test_from_an_offer_to_a_sustained_connection(desk: Desk) -> None:
    producer, lead = await desk.ready(1), await desk.enlisted()
    as_lead: dict[str, Any] = {"id": "le-1", "province": "", "lead": lead}
    offered = await desk.asks(
        "POST", f"/v1/producers/{producer}/offers", "lead", json={"channel": "cooperative"}, **as_lead
    )
    assert offered.status_code == 201
    assert offered.json() == {"offer": f"{producer}.o1", "producer": producer, "state": "offered", "answer": "open"}
    answered = await desk.asks("POST", f"/v1/offers/{producer}.o1/acceptance", json={"accepted": True})
    assert answered.json()["answer"] == "accepted"
    path = f"/v1/producers/{producer}/connections"
    body = {**SALE, "evidence": "E1", "offer": f"{producer}.o1"}
    made = await desk.asks("POST", path, "lead", json=body, key="connect-1", **as_lead)
    assert made.status_code == 201 and made.json()["connection"] == f"{producer}.c1"
    assert (await desk.asks("POST", path, "lead", json=body, key="connect-1", **as_lead)).json() == made.json()
    connection = f"/v1/connections/{producer}.c1"
    assert (await desk.asks("POST", f"{connection}/evidence", "labour_expert", json={"to": "E2"})).status_code == 200
    beyond = await desk.asks("POST", f"{connection}/evidence", json={"to": "E3"})
    assert (beyond.status_code, beyond.json()["code"]) == (403, "evidence_beyond_role")
    proven = await desk.asks("POST", f"{connection}/evidence", "service", province="", json={"to": "E3"})
    assert proven.json()["evidence"] == "E3"
    desk.now = desk.store.kept[producer].indexed["due"]
    await execute(desk.store, producer, Tick(desk.now), desk.clock)
    told = (await desk.asks("GET", f"/v1/producers/{producer}")).json()
    assert told["state"] == "sustained" and told["connections"][0]["evidence"] == "E4"
    assert [each["type"].split(".")[3:5] for each in told["history"]] == [
        ["producer", "readied"], ["offer", "made"], ["offer", "accepted"], ["producer", "connected"],
        ["connection", "evidenced"], ["connection", "evidenced"], ["connection", "sustained"],
    ]  # fmt: skip
    ended = await desk.asks("POST", f"{connection}/end", json={"reason": "completed"})
    assert (ended.json()["ended"], ended.json()["state"]) == ("completed", "ended")


async def test_a_lead_enterprise_has_what_is_its_own(desk: Desk) -> None:
    producer, foreign = await desk.ready(1), await desk.ready(2, "IR-23")
    mine, other = await desk.enlisted(), await desk.enlisted("دیگری")
    as_me, as_other = ({"id": each, "province": "", "lead": each} for each in (mine, other))
    body = {"channel": "cooperative"}
    assert (await desk.asks("POST", f"/v1/producers/{foreign}/offers", "lead", json=body, **as_me)).status_code == 404
    path = f"/v1/producers/{producer}/offers"
    for_other = await desk.asks("POST", path, "lead", json={**body, "lead": other}, **as_me)
    assert for_other.json()["code"] == "lead_unknown"
    assert (await desk.asks("POST", path, json={**body, "lead": name(77)})).json()["code"] == "lead_unknown"
    assert (await desk.asks("POST", path, json={**body, "lead": mine})).status_code == 201
    own = (await desk.asks("GET", "/v1/producers?state=offered", "lead", **as_me)).json()["items"]
    assert [each["id"] for each in own] == [producer]
    assert (await desk.asks("GET", "/v1/producers?state=offered", "lead", **as_other)).json()["items"] == []
    seen = (await desk.asks("GET", f"/v1/producers/{producer}", "lead", **as_other)).json()
    assert seen["offers"] == [] and seen["history"] == []
    answer = {"accepted": False, "reason": "price"}
    acceptance = f"/v1/offers/{producer}.o1/acceptance"
    assert (await desk.asks("POST", acceptance, "lead", json=answer, **as_other)).status_code == 404
    assert (await desk.asks("POST", acceptance, "lead", json=answer, **as_me)).json()["answer"] == "declined"
    unknown = await desk.asks("POST", path, "lead", json=body, id="x", province="", lead=name(88))
    assert unknown.status_code == 403


async def test_a_list_of_connections_is_answered_in_order(desk: Desk) -> None:
    producers = [await desk.ready(n) for n in (1, 2, 3)]
    theirs = await desk.ready(4, "IR-23")
    body = {
        "connections": [
            {"producer": producers[2], **SALE},
            {"producer": producers[0], **SALE, "evidence": "E3"},
            {"producer": theirs, **SALE},
            {"producer": producers[1], **SALE, "evidence": "E0"},
            {"producer": producers[2], **SALE},
        ]
    }
    answer = await desk.asks("POST", "/v1/connections/batch", key="fair-of-aban", json=body)
    items = answer.json()["items"]
    assert [each.get("code") for each in items] == [
        None, "evidence_beyond_role", "not_found", None, "row_repeated",
    ]  # fmt: skip
    assert items[0] == {"producer": producers[2], "connection": f"{producers[2]}.c1", "state": "connected"}
    again = (await desk.asks("POST", "/v1/connections/batch", key="fair-of-aban", json=body)).json()["items"]
    assert again[0] == {**items[0], "repeated": True} and len(desk.store.emitted[producers[2]]) == 2
    assert (await desk.asks("POST", "/v1/connections/batch", "screener", json=body)).status_code == 403


async def test_nobody_is_connected_before_they_are_ready(desk: Desk) -> None:
    answer = await desk.asks("POST", f"/v1/producers/{name(5)}/connections", json=SALE)
    assert answer.status_code == 404
    for path in (f"/v1/connections/{name(5)}.c1/end", "/v1/connections/c1/end"):
        assert (await desk.asks("POST", path, json={"reason": "price"})).json()["code"] == "connection_unknown"
    producer = await desk.ready(1)
    wrong = await desk.asks("POST", f"/v1/producers/{producer}/connections", json={**SALE, "channel": "smoke"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "channel")
    offer = {**SALE, "offer": f"{name(9)}.o1"}
    assert (await desk.asks("POST", f"/v1/producers/{producer}/connections", json=offer)).status_code == 404


async def test_the_page_says_who_leads_where(desk: Desk) -> None:
    assert "هنوز پیشرانی ثبت نشده است" in (await desk.http.get("/market/")).text
    await desk.enlisted()
    page = await desk.http.get("/market/?lang=en")
    assert (
        page.status_code == 200 and "1 lead enterprise trains" in page.text and page.text.count("/provinces/IR-") == 31
    )
