"""The application: which requests it refuses, with which problem, and who may use a route."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from base.settings import Settings
from observability.health import ReadinessReason
from tests.support.small_api import HERE, field_errors, problem_of, routes
from tests.support.tokens import Issuer
from web.app import App, UndeclaredRoute, create_app, policies
from web.authorization import allow, public
from web.pages import error_digits

# Bodies


@pytest.mark.parametrize(
    ("content", "status", "code", "errors"),
    [
        (b"{", 400, "json_invalid", {}),
        (b'{"name": "ab",', 400, "json_invalid", {}),
        (b"\x00", 400, "json_invalid", {}),
        (b'{"name":"\xff"}', 400, "malformed", {}),
        (b"[" * 20_000, 400, "malformed", {}),
        (b"", 422, "value_invalid", {"": "body_expected"}),
        (b"NaN", 422, "value_invalid", {"": "body_expected"}),
        (b"[]", 422, "value_invalid", {"": "body_expected"}),
        (b'{"name": NaN}', 422, "value_invalid", {"name": "wrong_type"}),
        (b'{"name": "ab", "inner": [{"share": NaN}]}', 422, "value_invalid", {"inner.0.share": "wrong_type"}),
        (b'{"name": "ab", "x": Infinity}', 422, "value_invalid", {"x": "unknown_field"}),
    ],
)
async def test_invalid_body_is_refused(
    client: httpx.AsyncClient, issuer: Issuer, content: bytes, status: int, code: str, errors: dict[str, str]
) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    problem = problem_of(await client.post("/t/v1/things", content=content, headers=headers), status, code)

    assert field_errors(problem) == errors if errors else "errors" not in problem


async def test_position_of_a_json_error_is_named(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    response = await client.post("/t/v1/things", content=b'{"name": ab}', headers=headers)
    problem = problem_of(response, 400, "json_invalid")

    assert "character 10," in problem["detail"] and "حرف شمارهٔ" in problem["detail_fa"]


async def test_other_media_type_is_refused(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = issuer.bearer("registrar", province="IR-20")
    for media_type in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        response = await client.post(
            "/t/v1/things", content=b"name=ab", headers={**headers, "Content-Type": media_type}
        )
        problem_of(response, 415, "media_type")
    response = await client.post(
        "/t/v1/imports", content=b"{}", headers={"Content-Type": "application/json", "Idempotency-Key": "k" * 8}
    )
    assert "text/csv" in problem_of(response, 415, "media_type")["detail"]


async def test_every_invalid_field_is_named_in_both_languages(client: httpx.AsyncClient, issuer: Issuer) -> None:
    body = {"name": "x", "count": 9, "person": "9990000017", "inner": [{"share": 1}, {"share": "many"}], "extra": 1}
    response = await client.post("/t/v1/things", json=body, headers=issuer.bearer("registrar", province="IR-20"))

    problem = problem_of(response, 422, "value_invalid")
    assert field_errors(problem) == {
        "name": "too_short",
        "count": "number_too_large",
        "person": "national_id_check_digit",
        "inner.1.share": "wrong_type",
        "extra": "unknown_field",
    }
    assert "9990000017" not in response.text and "many" not in response.text
    assert "5" in next(each["detail"] for each in problem["errors"] if each["field"] == "count")


async def test_body_is_limited_to_64_kb_and_of_an_import_to_more(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    response = await client.post("/t/v1/things", content=b" " * (1 << 16) + b" ", headers=headers)
    assert "64" in problem_of(response, 413, "too_large")["detail"]

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1_000

    problem_of(await client.post("/t/v1/things", content=chunks(), headers=headers), 413, "too_large")
    problem_of(await client.get("/t/v1/raise/missing", headers={"Content-Length": "99999999"}), 413, "too_large")

    csv = {"Content-Type": "text/csv; charset=utf-8", "Idempotency-Key": "import-1"}
    assert (await client.post("/t/v1/imports", content=b"x" * 500_000, headers=csv)).json() == 500_000
    problem_of(await client.post("/t/v1/imports", content=b"x" * (1 << 20) + b"x", headers=csv), 413, "too_large")


async def test_an_address_is_limited_to_8_kib_before_it_is_decoded(client: httpx.AsyncClient) -> None:
    address = "/t/v1/things?after="
    longest = "x" * ((8 << 10) - len(address) + 1)  # the question mark is not counted
    assert (await client.get(address + longest)).status_code == 422
    for query in (longest + "x", "%ff" * 3_000):
        response = await client.get(address + query)
        assert "8" in problem_of(response, 414, "address_too_long")["detail"]


# Refusals


@pytest.mark.parametrize(
    ("which", "status", "code"),
    [
        ("refused", 422, "national_id_length"),
        ("missing", 404, "not_found"),
        ("conflict", 409, "already_registered"),
        ("invalid", 422, "value_invalid"),
        ("taken", 409, "taken"),
        ("key_reused", 422, "idempotency_key_reused"),
        ("transient", 503, "unavailable"),
        ("bug", 500, "failed"),
    ],
)
async def test_each_exception_has_its_status_and_code(
    client: httpx.AsyncClient, which: str, status: int, code: str
) -> None:
    response = await client.get(f"/t/v1/raise/{which}")

    body = problem_of(response, status, code)
    assert ("retry-after" in response.headers) == (status == 503)
    if which == "refused":
        assert field_errors(body) == {"national_id": "national_id_length"}
    if which == "invalid":
        assert field_errors(body) == {"mobile": "missing_field", "birth_date": "date_invalid"}
    assert "10.0.0.7" not in response.text and "secret" not in response.text


async def test_unknown_path_and_method_are_problems(client: httpx.AsyncClient) -> None:
    problem_of(await client.get("/t/v1/nowhere"), 404, "not_found")
    for method in ("PUT", "TRACE", "CONNECT", "BREW"):
        response = await client.request(method, "/t/v1/things/7", content=b"an-echo")
        problem_of(response, 405, "method_not_allowed")
        assert "GET" in response.headers["allow"] and "an-echo" not in response.text


async def test_interrupted_response_is_not_completed(client: httpx.AsyncClient) -> None:
    with pytest.raises(ValueError, match="interrupted"):
        await client.get("/t/v1/interrupted")


async def test_browser_gets_a_page_and_program_gets_json(client: httpx.AsyncClient, issuer: Issuer) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = await client.get("/t/nowhere", headers=browser)

    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert 'dir="rtl"' in page.text and error_digits(page.headers["x-request-id"], "fa") in page.text
    problem_of(await client.get("/t/v1/nowhere", headers=browser), 404, "not_found")
    forbidden = await client.get("/t/page", headers={**browser, **issuer.bearer("analyst")})
    assert forbidden.status_code == 403 and forbidden.headers["content-type"].startswith("text/html")


# Authorization


async def test_policy_admits_only_its_roles(client: httpx.AsyncClient, issuer: Issuer) -> None:
    response = await client.post("/t/v1/things", json={"name": "ab"})
    problem_of(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"

    problem_of(
        await client.post("/t/v1/things", json={"name": "ab"}, headers=issuer.bearer("analyst")), 403, "forbidden"
    )
    for header in ("Bearer invalid", "Basic YTpi", "Bearer", "bearer  "):
        response = await client.post("/t/v1/things", json={"name": "ab"}, headers={"Authorization": header})
        problem_of(response, 401, "unauthenticated")

    response = await client.post(
        "/t/v1/things", json={"name": "ab"}, headers=issuer.bearer("registrar", province="IR-20")
    )
    assert response.status_code == 201 and response.json()["actor"] == "registrar:of-2f9c"


async def test_authentication_precedes_validation_of_the_body(client: httpx.AsyncClient) -> None:
    problem_of(await client.post("/t/v1/things", json={"extra": 1}), 401, "unauthenticated")


def test_policies_lists_the_policy_of_every_route(app: App) -> None:
    found = policies(app)

    assert found["POST", "/t/v1/things"].roles == {"registrar", "manager", "jahad_national", "ministry_admin"}
    assert found["GET", "/t/v1/things"].roles == found["GET", "/healthz"].roles == {"public"}
    assert (found["GET", "/t/page"].action, found["GET", "/t/page"].access) == ("import_connections", "R")


def undeclared() -> APIRouter:
    """Return a router with a route that has no policy."""
    router = APIRouter()

    @router.get("/v1/open")
    async def open_by_mistake() -> str:
        return "everything"

    return router


async def test_route_without_policy_does_not_start(settings: Settings, app: App, tmp_path: Path) -> None:
    async def ready() -> list[ReadinessReason]:
        return []

    def application(*routers: APIRouter) -> App:
        return create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=routers)

    missing = application(undeclared())
    with pytest.raises(UndeclaredRoute, match="GET /t/v1/open"):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(missing), base_url=HERE) as client:
            await client.get("/healthz")

    later, nested, plain, mounted, twice, read = (application() for _ in range(6))
    later.include_router(undeclared())
    outer = APIRouter()
    outer.include_router(undeclared(), prefix="/inner")
    nested.include_router(outer)
    plain.router.routes.append(Route("/plain", lambda request: Response("x")))
    mounted.mount("/app", application())
    twice.include_router(routes(), dependencies=[public()])  # two policies: which one holds?
    writing = APIRouter()
    writing.add_api_route("/v1/x", lambda: "x", methods=["POST"], dependencies=[allow("match", "R")])
    read.include_router(writing)
    for each in (later, nested, plain, mounted, twice, read):
        with pytest.raises(UndeclaredRoute):
            each.build_middleware_stack()

    declared, files = application(), application()
    declared.include_router(undeclared(), dependencies=[public()])
    files.mount("/assets", StaticFiles(directory=tmp_path))
    declared.build_middleware_stack()
    files.build_middleware_stack()
