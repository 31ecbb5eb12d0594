"""Where a request comes from, and what every answer brings along."""

import asyncio

import httpx
import pytest

from base.settings import Settings
from security.auth import COOKIE
from tests.support.small_api import HERE, routes, said
from tests.support.tokens import Issuer
from web.app import App, create_app

# Cross-site, hosts, headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": HERE}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Origin": HERE}, 201),
        ({"Origin": "http://127.0.0.1:8001"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": HERE}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": f"{HERE}.evil.example"}, 403),
        ({}, 403),
    ],
)
async def test_a_write_by_cookie_comes_from_our_own_pages(
    client: httpx.AsyncClient, issuer: Issuer, headers: dict[str, str], status: int
) -> None:
    cookie = {"Cookie": f"{COOKIE}={issuer.token('registrar', province='IR-20')}"}
    response = await client.post("/t/v1/things", json={"name": "ab"}, headers={**cookie, **headers})

    assert response.status_code == status
    if status == 403:
        said(response, 403, "cross_site")
    assert (await client.get("/t/v1/things", headers={**cookie, **headers})).status_code == 200


async def test_a_programme_with_a_token_needs_no_origin(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Origin": "https://partner.example"}

    assert (await client.post("/t/v1/things", json={"name": "ab"}, headers=headers)).status_code == 201


async def test_a_form_of_nobody_signed_in_is_not_sent_from_elsewhere(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "k" * 8, "Sec-Fetch-Site": "cross-site"}

    said(await client.post("/t/v1/imports", content=b"x", headers=headers), 403, "cross_site")


async def test_another_host_is_refused(app: App) -> None:
    for base, status in (("http://evil.example", 400), ("http://127.0.0.1.evil.example:8080", 400), (HERE, 200)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            response = await client.get("/t/v1/things")
            assert response.status_code == status
            if status == 400:
                said(response, 400, "host_unknown")


async def test_every_answer_is_guarded(client: httpx.AsyncClient) -> None:
    for path in ("/t/v1/things", "/t/v1/nowhere", "/t/v1/raise/bug", "/healthz"):
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:;")
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers
        assert "access-control-allow-origin" not in headers and "server" not in headers


async def test_production_insists_on_https(settings: Settings) -> None:
    async def ready() -> list[str]:
        return []

    production = settings.model_copy(update={"environment": "production", "public_url": "https://peyvand.example"})
    app = create_app(production, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://peyvand.example") as client:
        assert "max-age=63072000" in (await client.get("/t/v1/things")).headers["strict-transport-security"]
        said(await client.get("http://test/t/v1/things"), 400, "host_unknown")


async def test_a_request_has_one_id_and_keeps_its_trace(client: httpx.AsyncClient) -> None:
    mine = (await client.get("/healthz", headers={"X-Request-ID": "req-0123456789"})).headers["x-request-id"]
    assert mine == "req-0123456789"
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    theirs = (await client.get("/healthz", headers={"traceparent": trace})).headers["x-request-id"]
    assert theirs == "4bf92f3577b34da6a3ce929d0e0e4736"
    for bad in ("x\u00e9", "a b c d e f g h", "x" * 65, "<script>alert(1)</script>"):
        response = await client.get("/healthz", headers=[(b"X-Request-ID", bad.encode("latin-1"))])
        assert len(response.headers["x-request-id"]) == 32
    assert (await client.get("/healthz")).headers["x-request-id"] != (await client.get("/healthz")).headers[
        "x-request-id"
    ]


# Of the process


async def test_health_is_for_the_processes_own_port(client: httpx.AsyncClient, app: App) -> None:
    assert (await client.get("/healthz")).json() == {"service": "tests", "version": "0.1.0"}
    assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}

    app.state.reasons = ["mongo: away"]
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["reasons"]) == (503, ["mongo: away"])

    for path in ("/healthz", "/readyz", "/metrics"):
        said(await client.get(path, headers={"X-Forwarded-For": "203.0.113.7"}), 404, "not_found")


async def test_latency_is_measured_by_template(client: httpx.AsyncClient) -> None:
    await client.get("/t/v1/things/the-one")
    await client.request("BREW", "/t/v1/things/the-one")
    await client.get("/t/v1/nowhere/the-other")
    text = (await client.get("/metrics")).text

    told = 'peyvand_http_request_seconds_count{method="GET",route="/t/v1/things/{thing}",service="tests",status="2xx"}'
    assert told in text and 'route="unmatched"' in text and 'method="other"' in text
    assert "the-one" not in text and "the-other" not in text and "BREW" not in text


async def test_documentation_needs_no_other_host(client: httpx.AsyncClient) -> None:
    page = (await client.get("/t/docs")).text

    assert "/assets/vendor/swagger-ui-dist/" in page and "//cdn" not in page and "<script>" not in page
    assert "/t/openapi.json" in (await client.get("/t/docs/start.js")).text


def test_stopping_is_told_to_what_streams(app: App) -> None:
    assert isinstance(app.state.stopping, asyncio.Event) and not app.state.stopping.is_set()
