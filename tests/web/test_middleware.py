"""The middleware: host and cross-site checks, headers of every response, request ids, health endpoints."""

import httpx
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from base.settings import Settings
from observability.health import ReadinessReason
from observability.log_fields import FIELDS
from security.auth import COOKIE
from tests.support.small_api import HERE, problem_of, routes
from tests.support.tokens import Issuer
from web.app import App, create_app
from web.pages import error_digits

# Hosts, cross-site writes, headers


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
async def test_write_with_cookie_needs_our_own_origin(
    client: httpx.AsyncClient, issuer: Issuer, headers: dict[str, str], status: int
) -> None:
    cookie = {"Cookie": f"{COOKIE}={issuer.token('registrar', province='IR-20')}"}
    response = await client.post("/t/v1/things", json={"name": "ab"}, headers={**cookie, **headers})

    assert response.status_code == status
    if status == 403:
        problem_of(response, 403, "cross_site")
    assert (await client.get("/t/v1/things", headers={**cookie, **headers})).status_code == 200


async def test_write_with_bearer_token_needs_no_origin(client: httpx.AsyncClient, issuer: Issuer) -> None:
    headers = {**issuer.bearer("registrar", province="IR-20"), "Origin": "https://partner.example"}

    assert (await client.post("/t/v1/things", json={"name": "ab"}, headers=headers)).status_code == 201


async def test_anonymous_write_from_another_site_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "k" * 8, "Sec-Fetch-Site": "cross-site"}

    problem_of(await client.post("/t/v1/imports", content=b"x", headers=headers), 403, "cross_site")


async def test_unknown_host_is_refused(app: App) -> None:
    for base, status in (("http://evil.example", 400), ("http://127.0.0.1.evil.example:8080", 400), (HERE, 200)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
            response = await client.get("/t/v1/things")
            assert response.status_code == status
            if status == 400:
                problem_of(response, 400, "host_unknown")


async def test_every_response_has_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/t/v1/things", "/t/v1/nowhere", "/t/v1/raise/bug", "/healthz"):
        headers = (await client.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:;")
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers
        assert "access-control-allow-origin" not in headers and "server" not in headers


async def test_production_requires_https(settings: Settings) -> None:
    async def ready() -> list[ReadinessReason]:
        return []

    production = settings.model_copy(update={"environment": "production", "public_url": "https://peyvand.example"})
    app = create_app(production, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[routes()])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://peyvand.example") as client:
        assert "max-age=63072000" in (await client.get("/t/v1/things")).headers["strict-transport-security"]
        problem_of(await client.get("http://test/t/v1/things"), 400, "host_unknown")


async def test_request_id_and_trace_of_the_caller_are_kept_if_valid(client: httpx.AsyncClient) -> None:
    for given in ("0af7651916cd43dd8448eb211c80319c", "0af76519-16cd-43dd-8448-eb211c80319c"):
        assert (await client.get("/healthz", headers={"X-Request-ID": given})).headers["x-request-id"] == given
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    traced = (await client.get("/healthz", headers={"traceparent": trace})).headers["x-request-id"]
    assert traced == "4bf92f3577b34da6a3ce929d0e0e4736"
    for invalid in ("x\u00e9", "a b c d e f g h", "x" * 65, "<script>alert(1)</script>", "req-9990000018"):
        response = await client.get("/healthz", headers=[(b"X-Request-ID", invalid.encode("latin-1"))])
        assert len(response.headers["x-request-id"]) == 32
    random = {(await client.get("/healthz")).headers["x-request-id"] for _ in range(2)}
    assert len(random) == 2


async def test_the_digits_that_a_page_shows_are_in_the_log_lines_of_the_request(client: httpx.AsyncClient) -> None:
    with capture_logs(processors=[merge_contextvars]) as lines:
        instance = (await client.get("/t/v1/raise/bug")).json()["instance"]
    failed = next(each for each in lines if each["event"] == "request failed")
    assert failed["error_id"] == error_digits(instance, "en") and FIELDS["error_id"](failed["error_id"])
    assert failed["request_id"] == instance.rpartition(":")[2]


# The process


async def test_health_endpoints_are_not_served_through_a_proxy(client: httpx.AsyncClient, app: App) -> None:
    assert (await client.get("/healthz")).json() == {"service": "tests", "version": "0.1.0"}
    assert (await client.get("/readyz")).json() == {"ready": True, "reasons": []}

    app.state.reasons = [ReadinessReason("not_assigned", "no partitions are assigned yet")]
    response = await client.get("/readyz")
    assert (response.status_code, response.json()["reasons"]) == (
        503,
        [{"code": "not_assigned", "text": "no partitions are assigned yet"}],
    )
    app.state.reasons = []

    for path in ("/healthz", "/readyz", "/metrics"):
        problem_of(await client.get(path, headers={"X-Forwarded-For": "203.0.113.7"}), 404, "not_found")


async def test_latency_is_labelled_by_path_template(client: httpx.AsyncClient) -> None:
    await client.get("/t/v1/things/the-one")
    await client.request("BREW", "/t/v1/things/the-one")
    await client.get("/t/v1/missing/the-other")
    text = (await client.get("/metrics")).text

    count = 'peyvand_http_request_seconds_count{method="GET",route="/t/v1/things/{thing}",service="tests",status="2xx"}'
    assert count in text and 'route="unmatched"' in text and 'method="other"' in text
    assert "the-one" not in text and "the-other" not in text and "BREW" not in text


async def test_documentation_page_loads_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    page = (await client.get("/t/docs")).text

    assert "/assets/vendor/swagger-ui-dist/" in page and "//cdn" not in page and "<script>" not in page
    assert "/t/openapi.json" in (await client.get("/t/docs/start.js")).text
