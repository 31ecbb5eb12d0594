"""The world of registration for the authorisation tests."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contracts.envelope import Envelope, encode
from contracts.events import CapacityRequested
from kernel.batch import process
from kernel.record import Message
from registration.api.dependencies import api_resources
from tests.support.authorization import AREAS, MISSING, Operation, World
from tests.support.authorization_parts import NOTHING, operators, place
from tests.support.registration_api import PERSON, ROUND, RegistrationApi, a_national_id, csv_file


def correction(area: str) -> dict[str, str]:
    """Return a correction by a form of the area's province."""
    return {"last_name": "آزمونی", "form_number": f"{area[3:5]}-1404-204"}


async def _await_capacity(api: RegistrationApi, subject: str) -> None:
    """Let the applicant be one whom any screener of the province may call."""
    event = CapacityRequested(application=1, due=api.now.date())
    envelope = Envelope(source="screening", subject=subject, sequence=1, time=api.now, event=event)
    await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)


def seats(prefix: str) -> dict[tuple[str, str], Operation]:
    """Return the operations about the seats of provinces; applicants of the world hold no place on a waiting list."""
    codes = {MISSING: "IR-99"} | {area: area[:5] for area in AREAS}
    ledger = Operation("thing", ids=codes, provincial=True)
    ledgers = f"{prefix}/rounds/{{round_id}}/ledgers/{{province}}"
    return {
        ("GET", ledgers): ledger,
        ("GET", f"{ledgers}/waiting"): ledger,
        ("GET", f"{ledgers}/waiting/{{applicant}}"): Operation(
            "thing", ids=codes, provincial=True, other_missing="not_found"
        ),
        ("GET", "/registration/ledger"): Operation("nation"),
        ("GET", "/registration/ledger.csv"): Operation("nation"),
        ("GET", "/registration/ledger/{province}"): ledger,
        ("GET", "/registration/ledger/{province}/waiting"): ledger,
        ("GET", "/registration/windows"): Operation("nation"),
    }


async def imports(api: RegistrationApi) -> dict[tuple[str, str], Operation]:
    """Return the operations on the pages of imports, with an import of each province."""
    ids = {MISSING: NOTHING}
    for area in AREAS:
        file = csv_file(range(90, 92), **place(area)).replace("female", "x", 1)
        files = {"file": ("a.csv", file, "text/csv")}
        sent = await api.request("POST", "/imports", scope=area[:5], files=files, data={"round": "1404"})
        ids[area] = sent.headers["location"].rpartition("/")[2]
    page = "/registration/imports"

    def own(options: Callable[[str], Mapping[str, Any]] = lambda area: {}) -> Operation:
        return Operation("thing", options, ids, provincial=True, other_missing="import_of_another")

    return {
        ("GET", page): Operation("nation"),
        ("POST", page): Operation("nation"),
        ("GET", f"{page}/template.{{ending}}"): Operation("nation"),
        ("GET", f"{page}/{{id}}"): own(),
        ("POST", f"{page}/{{id}}/start"): own(lambda area: {"data": {"mode": "rows"}}),
        ("GET", f"{page}/{{id}}/refused"): own(),
        ("GET", f"{page}/{{id}}/codes"): own(),
    }


def on_form(area: str, **answers: str) -> dict[str, str]:
    """Return an act at the desk on a signed form of the area's province."""
    return {"form": f"{area[3:5]}-1404-206", "reason": "visitor", **answers}


async def proposals(api: RegistrationApi, prefix: str) -> dict[tuple[str, str], Operation]:
    """Return the operations about proposals: there is one for each of the two provinces."""
    ids, controls = {MISSING: NOTHING}, {MISSING: "1"}
    for area in AREAS[1:]:
        body = {"quotas": [{"province": area[:5], "quota": 50}], "reason": "demand"}
        path = "/v1/rounds/1404/proposals/quotas"
        made = (await api.request("POST", path, "ministry_admin", id="of-07aa", json=body)).json()
        ids[area], controls[area] = made["id"], made["control"]
    ids[AREAS[0]], controls[AREAS[0]] = ids[AREAS[1]], controls[AREAS[1]]
    one, page = f"{prefix}/rounds/{{round_id}}/proposals", "/registration/proposals"

    def thing(options: Callable[[str], Mapping[str, Any]] = lambda area: {}) -> Operation:
        return Operation("thing", options, ids, provincial=True)

    quotas = {"quota": "51", "reason": "demand", "round": "1404"}
    move = {"source": "IR-20", "target": "IR-23", "seats": 1, "reason": "demand"}
    return {
        ("GET", one): Operation("nation"),
        ("GET", f"{one}/{{id}}"): thing(),
        ("POST", f"{one}/quotas"): Operation(
            "place",
            lambda area: {"json": {"quotas": [{"province": area[:5], "quota": 51}], "reason": "demand"}},
            provincial=True,
        ),
        ("POST", f"{one}/moves"): Operation("nation", lambda area: {"json": move}),
        ("POST", f"{one}/{{id}}/signature"): thing(lambda area: {"json": {"control": controls[area]}}),
        ("POST", f"{one}/{{id}}/refusal"): thing(lambda area: {"json": {"reason": "later"}}),
        ("POST", f"{one}/{{id}}/withdrawal"): thing(),
        ("GET", page): Operation("nation"),
        ("GET", f"{page}/new"): Operation("nation"),
        ("POST", f"{page}/quota"): Operation("nation", lambda area: {"data": quotas}),
        ("POST", f"{page}/move"): Operation("nation", lambda area: {"data": {**move, "round": "1404"}}),
        ("GET", f"{page}/{{round_id}}/{{id}}"): thing(),
        ("POST", f"{page}/{{round_id}}/{{id}}/signature"): thing(lambda area: {"data": {"control": controls[area]}}),
        ("POST", f"{page}/{{round_id}}/{{id}}/refusal"): thing(lambda area: {"data": {"reason": "later"}}),
        ("POST", f"{page}/{{round_id}}/{{id}}/withdrawal"): thing(),
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
        await _await_capacity(api, ids[area])
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
            "thing", lambda area: {"json": {"reason": "own_request", "form_number": f"{area[3:5]}-1404-205"}}, ids
        ),
        ("POST", f"{prefix}/applications/{{applicant}}/correction"): Operation(
            "thing", lambda area: {"json": correction(area)}, ids
        ),
        ("POST", "/registration/desk/{applicant}/correction"): Operation(
            "thing",
            lambda area: {"data": {"last_name": "آزمونی", "form_number": f"{area[3:5]}-1404-204", "reason": "visitor"}},
            ids,
        ),
        ("POST", "/registration/desk/{applicant}/review"): Operation(
            "thing", lambda area: {"data": on_form(area, act="withdrawal", why="moved")}, ids
        ),
        ("POST", "/registration/desk/{applicant}/withdrawal"): Operation(
            "thing", lambda area: {"data": on_form(area, why="moved")}, ids
        ),
        ("POST", "/registration/desk/{applicant}/tracking-code"): Operation(
            "thing", lambda area: {"data": on_form(area)}, ids
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
        ("POST", f"{prefix}/rounds/{{round_id}}/applications/import/refused"): Operation(
            "directory", lambda area: {"content": csv[area], "headers": {"Content-Type": "text/csv"}}
        ),
        ("POST", f"{prefix}/rounds/{{round_id}}/tracking-codes"): Operation(
            "thing", lambda area: {"json": {"national_id": national_ids[area]}, "headers": once}, national_ids
        ),
        ("POST", f"{prefix}/rounds/{{round_id}}/searches"): Operation(
            "thing", lambda area: {"json": {"query": national_ids[area], "reason": "caller"}}, national_ids
        ),
        ("GET", "/registration/desk"): Operation("nation"),
        ("GET", "/registration/desk/register"): Operation("nation"),
        ("GET", "/registration/cases/{applicant}/person"): Operation("thing", ids=ids, query="reason=call"),
        ("GET", "/registration/desk/{applicant}/erasure"): Operation("thing", ids=ids),
        ("POST", "/registration/desk/{applicant}/erasure"): Operation(
            "thing", lambda area: {"data": {"reason": "court"}}, ids
        ),
        ("GET", "/registration/rounds"): Operation("nation"),
        **await imports(api),
        ("POST", "/registration/rounds"): Operation("nation"),
        ("POST", "/registration/desk/register"): Operation("nation"),
        ("POST", "/registration/desk"): Operation(
            "thing",
            lambda area: {"data": {"query": national_ids[area], "reason": "caller", "round": "1404"}},
            national_ids,
        ),
        ("POST", "/registration/desk/{applicant}/identity"): Operation(
            "thing", lambda area: {"data": {"reason": "caller"}}, ids
        ),
        **seats(prefix),
        **await proposals(api, prefix),
        ("PUT", f"{prefix}/rounds/{{round_id}}"): Operation("nation", lambda area: {"json": ROUND}),
        ("POST", f"{prefix}/rounds/{{round_id}}/quotas/import"): Operation(
            "nation", lambda area: {"content": quotas, "headers": {"Content-Type": "text/csv"}}
        ),
        **operators("/registration"),
    }
    world.save()
    return world
