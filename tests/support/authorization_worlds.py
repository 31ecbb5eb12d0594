"""The worlds of the authorisation tests: each service with the same things in three areas, and all its operations."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from peyvand.operations_page import OperationsSettings, StatusCache, create
from recovery.reconciliation.client import PATH
from tests.support.authorization import AREAS, MISSING, Operation, World
from tests.support.authorization_parts import NOTHING, OWNER, operators, place
from tests.support.authorization_registration import registration
from tests.support.authorization_screening import screening
from tests.support.market_api import MarketApi
from tests.support.reporting_round import app_of, ranking_cache
from tests.support.tokens import Issuer

SALE = {"channel": "cooperative", "counterparty_kind": "cooperative", "evidence": "E1"}


async def market(folder: Path) -> World:
    """Make market with a ready and a connected producer in each area; each area has a lead enterprise of its own."""
    api = MarketApi(folder)
    world = World(api.app, api.issuer)
    world.store, world.leases = api.store, api.app.state.runtime.leases
    ready, connected = {MISSING: NOTHING}, {MISSING: NOTHING}
    for n, area in enumerate(AREAS, 1):
        lead = world.leads[area] = await api.enlist(f"پیشران {'آبپ'[n - 1]}", area[:5])
        ready[area] = await api.ready(10 + n, **place(area))
        one = connected[area] = await api.ready(n, **place(area))
        as_lead = {"id": f"le-{n}", "province": "", "lead": lead}
        for path, body in (
            (f"producers/{one}/offers", {"channel": "cooperative"}),
            (f"offers/{one}.o1/acceptance", {"accepted": True}),
            (f"producers/{one}/connections", {**SALE, "offer": f"{one}.o1"}),
        ):
            done = await api.request("POST", f"/v1/{path}", "lead", json=body, **as_lead)
            assert done.is_success, done.text
        world.marks[area] = {ready[area], one}
    offers, connections = ({area: f"{id}.{name}" for area, id in connected.items()} for name in ("o1", "c1"))
    cursors = {
        state: (await api.request("GET", f"/v1/producers?state={state}&limit=1", "auditor", province="")).json()["next"]
        for state in ("ready", "connected")
    }
    shown = {area: ready[area] for area in AREAS}
    sold = [{**SALE, "producer": ready[each]} for each in (*AREAS, MISSING)]

    def enlist(area: str) -> dict[str, Any]:
        return {"json": {"name": "پیشران تازه", "services": ["sale"], "fields": ["JF001"], "province": area[:5]}}

    prefix = "/market/v1"
    world.operations = {
        ("GET", f"{prefix}/producers"): Operation("list", query="state=ready", shown=shown, cursor=cursors["ready"]),
        ("GET", f"{prefix}/producers/{{id}}"): Operation("thing", ids=ready),
        ("POST", f"{prefix}/producers/{{id}}/offers"): Operation(
            "thing", lambda area: {"json": {"channel": "cooperative"}}, ready
        ),
        ("POST", f"{prefix}/producers/{{id}}/connections"): Operation(
            "thing",
            lambda area: {"json": SALE},
            ready,
            other_missing="offer_unknown",  # a lead enterprise needs an offer of its own
        ),
        ("POST", f"{prefix}/offers/{{id}}/acceptance"): Operation(
            "thing", lambda area: {"json": {"accepted": True}}, offers, own_only=True
        ),
        ("POST", f"{prefix}/connections/{{id}}/end"): Operation(
            "thing", lambda area: {"json": {"reason": "completed"}}, connections, own_only=True
        ),
        ("POST", f"{prefix}/connections/{{id}}/evidence"): Operation(
            "thing", lambda area: {"json": {"to": "E2"}}, connections, own_only=True
        ),
        ("POST", f"{prefix}/connections/batch"): Operation("batch", lambda area: {"json": {"connections": sold}}),
        ("GET", f"{prefix}/leads"): Operation("directory"),
        ("GET", f"{prefix}/leads/{{id}}"): Operation("directory", ids=world.leads),
        ("POST", f"{prefix}/leads"): Operation("place", enlist, provincial=True),
        **operators("/market"),
    }
    world.save()
    return world


async def reporting(folder: Path) -> World:
    """Make reporting, whose figures are public: only the operators' routes are closed."""
    issuer = Issuer(folder)
    world = World(app_of(await ranking_cache(), issuer.jwks), issuer)
    world.operations = {("GET", "/work"): Operation("nation"), **operators("")}
    for path in ("/v1/replays/republications", *(f"{PATH}/{each}" for each in OWNER)):
        del world.operations["POST", path]  # reporting emits no events
    return world


async def operations_page(folder: Path) -> World:
    """Make the operations page."""
    issuer = Issuer(folder)
    settings = OperationsSettings(
        environment="development",
        kafka="-",
        mongo=SecretStr("-"),
        jwks=issuer.jwks,
        issuer=issuer.name,
    )

    def unreachable() -> Any:
        raise OSError("no platform")

    world = World(create(settings, StatusCache(unreachable)), issuer)
    world.operations = {("GET", f"/operations{path}"): Operation("nation") for path in ("", "/", "/now")}
    return world


WORLDS = {
    "registration": registration,
    "screening": screening,
    "market": market,
    "reporting": reporting,
    "operations": operations_page,
}
