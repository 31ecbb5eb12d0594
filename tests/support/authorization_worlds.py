"""The worlds of the authorisation tests: each service with the same things in three areas, and all its operations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from peyvand.operations_page import OperationsSettings, StatusCache, create
from recovery.reconciliation.client import PATH
from registration.api.dependencies import api_resources
from tests.support.authorization import AREAS, MISSING, Operation, World
from tests.support.market_api import MarketApi
from tests.support.registration_api import PERSON, ROUND, RegistrationApi, a_national_id, csv_file
from tests.support.reporting_round import app_of, ranking_cache
from tests.support.screening_api import ScreeningApi
from tests.support.service_api import subject_of
from tests.support.tokens import Issuer

OWNER = ("partitions/{partition}/digests", "partitions/{partition}/lines", "histories")
NOTHING = subject_of(999)  # there is no such subject
CAPACITY = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"}
SALE = {"channel": "cooperative", "counterparty_kind": "cooperative", "evidence": "E1"}
REASON = {"reason": "a test", "dry_run": True}


def place(area: str) -> dict[str, str]:
    """Return province and county of an area."""
    return {"province": area[:5], "county": area[6:]}


def _operators(prefix: str) -> dict[tuple[str, str], Operation]:
    """Return the operators' routes, which every service has; they are nationwide."""

    def nation(body: Mapping[str, Any] | None = None) -> Operation:
        return Operation("nation", lambda area: {"json": body} if body else {})

    letters = {**REASON, "letters": ["x"]}
    return {
        ("GET", f"{prefix}/v1/dead-letters"): nation(),
        ("GET", f"{prefix}/v1/dead-letters/letters"): nation(),
        ("POST", f"{prefix}/v1/dead-letters/retry"): nation(letters),
        ("POST", f"{prefix}/v1/dead-letters/discard"): nation(letters),
        ("POST", f"{prefix}/v1/replays/cursor-resets"): nation({**REASON, "topic": "peyvand.none"}),
        ("POST", f"{prefix}/v1/replays/republications"): nation({"reason": ""}),  # 422: memory has no log
        ("GET", f"{prefix}/v1/reconciliation"): nation(),
        ("POST", f"{prefix}/v1/reconciliation"): nation({"of": "all"}),  # 422: likewise
        **{("POST", f"{prefix}{PATH}/{path}"): nation({}) for path in OWNER},  # no officer's: services only
    }


async def registration(folder: Path) -> World:
    """Make registration with an applicant in each area, whose identity is known."""
    api = RegistrationApi(folder)
    world = World(api.app, api.issuer)
    world.store, world.leases = api.store, api.app.state.runtime.leases
    await api.open_round(40)
    people: dict[str, dict[str, Any]] = {}
    ids = {MISSING: NOTHING}
    for n, area in enumerate(AREAS, 1):
        person = {**PERSON, **place(area), "national_id": a_national_id(n), "mobile": f"0935{n:07d}"}
        people[area] = person | {"first_name": f"نمونه{'آبپ'[n - 1]}"}
        registered = await api.register(role="service", **people[area])
        assert registered.status_code == 201, registered.text
        ids[area] = registered.json()["id"]
        world.marks[area] = {
            ids[area],
            people[area]["first_name"],
            people[area]["mobile"],
            registered.json()["tracking_code"],
        }

    world.guard = api_resources(api.app.state.runtime).enumeration_guard
    csv = {area: csv_file(range(50 + n, 51 + n), **place(area)).encode() for n, area in enumerate(AREAS)}
    new = {area: {**people[area], "national_id": a_national_id(70 + n)} for n, area in enumerate(AREAS)}
    prefix, shown = "/registration/v1", {area: ids[area] for area in AREAS}
    cursor = (await api.request("GET", "/v1/rounds/1404/applications?limit=1", "ministry_admin")).json()["next"]
    text = {"Content-Type": "text/csv", "Idempotency-Key": "matrix-import"}
    once = {"Idempotency-Key": "matrix-reissue"}
    national_ids = {MISSING: a_national_id(99)} | {area: a_national_id(n) for n, area in enumerate(AREAS, 1)}
    quotas = b"province,name_fa,quota\nIR-20,\xd8\xb3\xd9\x85\xd9\x86\xd8\xa7\xd9\x86,41\n"
    world.operations = {
        ("GET", f"{prefix}/applications/{{applicant}}"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/applications/{{applicant}}/withdrawal"): Operation(
            "thing", lambda area: {"json": {"reason": "own_request"}}, ids
        ),
        ("POST", f"{prefix}/applications/{{applicant}}/erasure"): Operation(
            "thing", lambda area: {"json": {"reason": "request", "dry_run": True}}, ids
        ),
        ("POST", f"{prefix}/applications/{{applicant}}/identity"): Operation(
            "thing", lambda area: {"json": people.get(area, PERSON)}, ids
        ),
        ("GET", f"{prefix}/rounds/{{round_id}}/applications"): Operation("list", shown=shown, cursor=cursor),
        ("POST", f"{prefix}/rounds/{{round_id}}/applications"): Operation("place", lambda area: {"json": new[area]}),
        ("POST", f"{prefix}/rounds/{{round_id}}/applications/import"): Operation(
            "place", lambda area: {"content": csv[area], "headers": text}
        ),
        ("POST", f"{prefix}/rounds/{{round_id}}/tracking-codes"): Operation(
            "thing", lambda area: {"json": {"national_id": national_ids[area]}, "headers": once}, national_ids
        ),
        ("PUT", f"{prefix}/rounds/{{round_id}}"): Operation("nation", lambda area: {"json": ROUND}),
        ("PUT", f"{prefix}/rounds/{{round_id}}/quotas/{{province}}"): Operation(
            "nation", lambda area: {"json": {"quota": 41}}
        ),
        ("POST", f"{prefix}/rounds/{{round_id}}/quotas/import"): Operation(
            "nation", lambda area: {"content": quotas, "headers": {"Content-Type": "text/csv"}}
        ),
        **_operators("/registration"),
    }
    world.save()
    return world


async def screening(folder: Path) -> World:
    """Make screening with an open case in each area."""
    api = ScreeningApi(folder)
    world = World(api.app, api.issuer)
    world.store, world.leases = api.store, api.app.state.runtime.leases
    ids = {MISSING: NOTHING}
    for n, area in enumerate(AREAS, 1):
        ids[area] = await api.register(n, **place(area))
        world.marks[area] = {ids[area]}
    every, shown = [*AREAS, MISSING], {area: ids[area] for area in AREAS}
    cursor = (await api.request("GET", "/v1/cases?limit=1", "auditor", province="")).json()["next"]
    approve = {"outcome": "approved", "checklist": {"not_insured": True, "resident": True, "complete": True}}
    decision = {"outcome": "approved", "rule.not_insured": "yes", "rule.resident": "yes", "rule.complete": "yes"}
    prefix = "/screening/v1"
    world.operations = {
        ("GET", f"{prefix}/cases"): Operation("list", shown=shown, cursor=cursor),
        ("GET", "/screening/"): Operation("list", shown=shown),
        ("GET", f"{prefix}/cases/counts"): Operation("counts"),
        ("GET", f"{prefix}/cases/{{id}}"): Operation("thing", ids=ids),
        ("GET", "/screening/cases/{id}"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/decision"): Operation("thing", lambda area: {"json": approve}, ids),
        ("POST", "/screening/cases/{id}/decision"): Operation("thing", lambda area: {"data": decision}, ids),
        ("POST", f"{prefix}/applicants/{{id}}/capacity"): Operation("thing", lambda area: {"json": CAPACITY}, ids),
        ("POST", "/screening/cases/{id}/capacity"): Operation("thing", lambda area: {"data": CAPACITY}, ids),
        ("POST", f"{prefix}/cases/next"): Operation("claim"),
        ("POST", "/screening/next"): Operation("claim"),
        ("POST", f"{prefix}/cases/decisions"): Operation(
            "batch", lambda area: {"json": {"decisions": [{**approve, "id": ids[each]} for each in every]}}
        ),
        ("POST", f"{prefix}/applicants/capacities"): Operation(
            "batch", lambda area: {"json": {"capacities": [{**CAPACITY, "id": ids[each]} for each in every]}}
        ),
        **_operators("/screening"),
    }
    world.save()
    return world


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
        **_operators("/market"),
    }
    world.save()
    return world


async def reporting(folder: Path) -> World:
    """Make reporting, whose figures are public: only the operators' routes are closed."""
    issuer = Issuer(folder)
    world = World(app_of(await ranking_cache(), issuer.jwks), issuer)
    world.operations = _operators("")
    for path in ("/v1/replays/republications", *(f"{PATH}/{each}" for each in OWNER)):
        del world.operations["POST", path]  # reporting emits no events
    return world


async def operations(folder: Path) -> World:
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
    "operations": operations,
}
