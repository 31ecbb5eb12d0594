"""The world of screening for the authorisation tests."""

from pathlib import Path

from programme.numbers import case_number
from tests.support.authorization import AREAS, MISSING, Operation, World
from tests.support.authorization_parts import NOTHING, operators, place
from tests.support.screening_api import ScreeningApi

CAPACITY = {"product_group": "handicrafts", "unit": "piece", "monthly_band": "10-49", "skill_level": "skilled"}


def form(area: str) -> dict[str, str]:
    """Return an appeal by a form of the province of an area."""
    return {"form": f"{area[3:5] if area != MISSING else '20'}-1404-173"}


async def screening(folder: Path) -> World:
    """Make screening with an open case in each area."""
    api = ScreeningApi(folder)
    world = World(api.app, api.issuer)
    world.store, world.leases = api.store, api.app.state.runtime.leases
    ids = {MISSING: NOTHING}
    for n, area in enumerate(AREAS, 1):
        ids[area] = await api.register(n, **place(area))
        world.marks[area] = {ids[area]}
    numbers = {area: case_number(id, area[:5]) for area, id in ids.items() if area != MISSING} | {
        MISSING: "20-0000-0000"
    }
    every, shown = [*AREAS, MISSING], {area: ids[area] for area in AREAS}
    cursor = (await api.request("GET", "/v1/cases?limit=1", "auditor", province="")).json()["next"]
    approve = {"outcome": "approved", "checklist": {"not_insured": True, "resident": True, "complete": True}}
    decision = {"outcome": "approved", "rule.not_insured": "yes", "rule.resident": "yes", "rule.complete": "yes"}
    papers, prefix = {"items": ["sample_photo"]}, "/screening/v1"
    world.operations = {
        ("GET", f"{prefix}/cases"): Operation("list", shown=shown, cursor=cursor),
        ("GET", "/screening/"): Operation("list", shown=shown),
        ("GET", f"{prefix}/cases/counts"): Operation("counts"),
        ("GET", f"{prefix}/cases/reviews"): Operation("directory"),
        ("GET", "/screening/reviews"): Operation("directory"),
        ("POST", f"{prefix}/cases/{{id}}/review"): Operation("thing", lambda area: {"json": {"agrees": True}}, ids),
        ("POST", "/screening/cases/{id}/review"): Operation("thing", lambda area: {"data": {"agrees": "yes"}}, ids),
        ("GET", f"{prefix}/cases/backlog"): Operation("directory"),
        ("GET", "/screening/backlog"): Operation("directory"),
        ("GET", f"{prefix}/cases/{{id}}"): Operation("thing", ids=ids),
        ("GET", f"{prefix}/cases/numbers/{{id}}"): Operation("thing", ids=numbers),
        ("GET", "/screening/cases/{id}"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/decision"): Operation("thing", lambda area: {"json": approve}, ids),
        ("POST", "/screening/cases/{id}/decision"): Operation("thing", lambda area: {"data": decision}, ids),
        ("GET", f"{prefix}/cases/{{id}}/info"): Operation("thing", ids=ids),
        ("GET", "/screening/cases/{id}/info"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/info"): Operation("thing", lambda area: {"json": papers}, ids),
        ("POST", "/screening/cases/{id}/info"): Operation("thing", lambda area: {"data": papers}, ids),
        ("POST", f"{prefix}/cases/{{id}}/info/receipt"): Operation("thing", lambda area: {"json": papers}, ids),
        ("POST", "/screening/cases/{id}/info/receipt"): Operation("thing", lambda area: {"data": papers}, ids),
        ("GET", f"{prefix}/cases/{{id}}/appeal"): Operation("thing", ids=ids),
        ("GET", "/screening/cases/{id}/appeal"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/appeal"): Operation("thing", lambda area: {"json": form(area)}, ids),
        ("POST", "/screening/cases/{id}/appeal"): Operation("thing", lambda area: {"data": form(area)}, ids),
        ("POST", f"{prefix}/cases/{{id}}/appeal/decision"): Operation("thing", lambda area: {"json": approve}, ids),
        ("POST", "/screening/cases/{id}/appeal/decision"): Operation("thing", lambda area: {"data": decision}, ids),
        ("POST", f"{prefix}/applicants/{{id}}/capacity"): Operation("thing", lambda area: {"json": CAPACITY}, ids),
        ("POST", "/screening/cases/{id}/capacity"): Operation("thing", lambda area: {"data": CAPACITY}, ids),
        ("POST", f"{prefix}/cases/{{id}}/claim"): Operation("thing", ids=ids),
        ("POST", "/screening/cases/{id}/claim"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/release"): Operation("thing", ids=ids),
        ("POST", "/screening/cases/{id}/release"): Operation("thing", ids=ids),
        ("POST", f"{prefix}/cases/{{id}}/calls"): Operation(
            "thing", lambda area: {"json": {"outcome": "reached"}}, ids
        ),
        ("POST", "/screening/cases/{id}/calls"): Operation("thing", lambda area: {"data": {"call": "reached"}}, ids),
        ("POST", f"{prefix}/cases/next"): Operation("claim"),
        ("POST", "/screening/next"): Operation("claim"),
        ("POST", f"{prefix}/cases/decisions"): Operation(
            "batch", lambda area: {"json": {"decisions": [{**approve, "id": ids[each]} for each in every]}}
        ),
        ("POST", f"{prefix}/applicants/capacities"): Operation(
            "batch", lambda area: {"json": {"capacities": [{**CAPACITY, "id": ids[each]} for each in every]}}
        ),
        **operators("/screening"),
    }
    world.save()
    return world
