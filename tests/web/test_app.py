"""What an API refuses, how it says so, and who may use it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from starlette.responses import Response
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from base.settings import Settings
from security.auth import public
from tests.support.small_api import HERE, fields, said
from tests.support.tokens import Issuer
from web.app import App, UndeclaredRoute, create_app, policies

# What cannot be read


@pytest.mark.parametrize(
    ("content", "status", "code", "named"),
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
async def test_a_body_that_means_nothing(
    client: httpx.AsyncClient, issuer: Issuer, content: bytes, status: int, code: str, named: dict[str, str]
) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    told = said(await client.post("/t/v1/things", content=content, headers=headers), status, code)

    assert fields(told) == named if named else "errors" not in told


async def test_the_place_of_a_mistake_is_named(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    told = said(await client.post("/t/v1/things", content=b'{"name": ab}', headers=headers), 400, "json_invalid")

    assert "character 10," in told["detail"] and "نویسهٔ" in told["detail_fa"]


async def test_a_body_of_another_kind(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = issuer.bearer("registrar", province="IR-20")
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        response = await client.post("/t/v1/things", content=b"name=ab", headers={**headers, "Content-Type": kind})
        said(response, 415, "media_type")
    response = await client.post(
        "/t/v1/imports", content=b"{}", headers={"Content-Type": "application/json", "Idempotency-Key": "k" * 8}
    )
    assert "text/csv" in said(response, 415, "media_type")["detail"]


async def test_every_wrong_field_is_named_in_both_languages(client: httpx.AsyncClient, issuer: Issuer) -> None:
    body = {"name": "x", "count": 9, "person": "9990000017", "inner": [{"share": 1}, {"share": "many"}], "extra": 1}
    response = await client.post("/t/v1/things", json=body, headers=issuer.bearer("registrar", province="IR-20"))

    told = said(response, 422, "value_invalid")
    assert fields(told) == {
        "name": "too_short",
        "count": "number_too_large",
        "person": "national_id_check_digit",
        "inner.1.share": "wrong_type",
        "extra": "unknown_field",
    }
    assert "9990000017" not in response.text and "many" not in response.text
    assert "5" in next(each["detail"] for each in told["errors"] if each["field"] == "count")


async def test_a_body_may_be_64_kb_and_an_import_more(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Content-Type": "application/json"}
    response = await client.post("/t/v1/things", content=b" " * (1 << 16) + b" ", headers=headers)
    assert "64" in said(response, 413, "too_large")["detail"]

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1_000

    said(await client.post("/t/v1/things", content=chunks(), headers=headers), 413, "too_large")
    said(await client.get("/t/v1/raise/missing", headers={"Content-Length": "99999999"}), 413, "too_large")

    csv = {"Content-Type": "text/csv; charset=utf-8", "Idempotency-Key": "import-1"}
    assert (await client.post("/t/v1/imports", content=b"x" * 500_000, headers=csv)).json() == 500_000
    said(await client.post("/t/v1/imports", content=b"x" * (1 << 20) + b"x", headers=csv), 413, "too_large")


# What is refused


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
async def test_each_refusal_has_its_status(client: httpx.AsyncClient, which: str, status: int, code: str) -> None:
    response = await client.get(f"/t/v1/raise/{which}")

    body = said(response, status, code)
    assert ("retry-after" in response.headers) == (status == 503)
    if which == "refused":
        assert fields(body) == {"national_id": "national_id_length"}
    if which == "invalid":
        assert fields(body) == {"mobile": "missing_field", "birth_date": "date_invalid"}
    assert "10.0.0.7" not in response.text and "secret" not in response.text


async def test_unknown_places_and_methods(client: httpx.AsyncClient) -> None:
    said(await client.get("/t/v1/nowhere"), 404, "not_found")
    response = await client.put("/t/v1/things/7", json={})
    said(response, 405, "method_not_allowed")
    assert "GET" in response.headers["allow"]


async def test_half_an_answer_is_not_made_whole(client: httpx.AsyncClient) -> None:
    with pytest.raises(ValueError, match="in the middle"):
        await client.get("/t/v1/half")


async def test_people_get_a_page_and_programmes_do_not(client: httpx.AsyncClient, issuer: Issuer) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = await client.get("/t/nowhere", headers=browser)

    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert 'dir="rtl"' in page.text and page.headers["x-request-id"] in page.text
    said(await client.get("/t/v1/nowhere", headers=browser), 404, "not_found")
    foreign = await client.get("/t/page", headers={**browser, **issuer.bearer("analyst")})
    assert foreign.status_code == 403 and foreign.headers["content-type"].startswith("text/html")


# Who may


async def test_a_route_says_who_may(client: httpx.AsyncClient, issuer: Issuer) -> None:
    response = await client.post("/t/v1/things", json={"name": "ab"})
    said(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"

    said(await client.post("/t/v1/things", json={"name": "ab"}, headers=issuer.bearer("analyst")), 403, "forbidden")
    for header in ("Bearer rubbish", "Basic YTpi", "Bearer", "bearer  "):
        response = await client.post("/t/v1/things", json={"name": "ab"}, headers={"Authorization": header})
        said(response, 401, "unauthenticated")

    response = await client.post(
        "/t/v1/things", json={"name": "ab"}, headers=issuer.bearer("registrar", province="IR-20")
    )
    assert response.status_code == 201 and response.json()["actor"] == "registrar:of-2f9c"


async def test_who_may_not_learns_nothing_about_the_body(client: httpx.AsyncClient) -> None:
    said(await client.post("/t/v1/things", json={"extra": 1}), 401, "unauthenticated")


def test_policies_can_be_read(app: App) -> None:
    found = policies(app)

    assert found["POST", "/t/v1/things"] == {"registrar"}
    assert found["GET", "/t/v1/things"] == found["GET", "/healthz"] == {"public"}
    assert found["GET", "/t/page"] == {"manager"}
    assert all(found.values())


def undeclared() -> APIRouter:
    """Somebody forgot."""
    router = APIRouter()

    @router.get("/v1/open")
    async def open_by_oversight() -> str:
        return "all of it"

    return router


async def test_a_route_without_a_policy_does_not_start(settings: Settings, app: App, tmp_path: Path) -> None:
    async def ready() -> list[str]:
        return []

    def fresh(*routers: APIRouter) -> App:
        return create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=routers)

    forgotten = fresh(undeclared())
    with pytest.raises(UndeclaredRoute, match="GET /t/v1/open"):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(forgotten), base_url=HERE) as client:
            await client.get("/healthz")

    later, nested, plain, mounted = fresh(), fresh(), fresh(), fresh()
    later.include_router(undeclared())
    outer = APIRouter()
    outer.include_router(undeclared(), prefix="/inner")
    nested.include_router(outer)
    plain.router.routes.append(Route("/plain", lambda request: Response("x")))
    mounted.mount("/app", fresh())
    for each in (later, nested, plain, mounted):
        with pytest.raises(UndeclaredRoute):
            each.build_middleware_stack()

    declared, files = fresh(), fresh()
    declared.include_router(undeclared(), dependencies=[public()])
    files.mount("/assets", StaticFiles(directory=tmp_path))
    declared.build_middleware_stack()
    files.build_middleware_stack()
