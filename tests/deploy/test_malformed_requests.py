"""The gateway's answers to malformed requests and its own errors: nothing quoted, nothing logged, no version named."""

import io
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from structlog.testing import capture_logs

from observability.log_fields import permitted
from peyvand.gateway.server import runner_of
from peyvand.gateway.settings import GatewaySettings
from tests.support.malformed_requests import answer, malformed_requests
from tests.support.ports import free_port

WORD = b"eyJhbGciOiJFUzI1NiJ9-9990000018"
REQUESTS = dict(malformed_requests(WORD))
VERSION = re.compile(rb"(?im)^server:.*(\d|python|aiohttp|uvicorn)")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[int]:
    """The gateway before services that are not running; its port."""
    away, port = f"http://127.0.0.1:{free_port()}", free_port()
    settings = GatewaySettings(
        environment="development",
        port=port,
        public_url=f"http://127.0.0.1:{port}",
        issuer=f"http://127.0.0.1:{port}/issuer",
        jwks=tmp_path / "jwks.json",
        issuer_key=tmp_path / "issuer.jwk",
        upstream_registration=away,
        upstream_screening=away,
        upstream_market=away,
        upstream_reporting=away,
    )
    runner = runner_of(settings)
    await runner.setup()
    await web.TCPSite(runner, settings.host, port).start()
    yield port
    await runner.cleanup()


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_malformed_request_is_neither_quoted_nor_logged(
    gateway: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), capture_logs() as lines:
        response = await answer("127.0.0.1", gateway, REQUESTS[name])
    assert WORD not in response
    logged = [each for each in caplog.records if each.levelno > logging.DEBUG]
    assert WORD.decode() not in json.dumps([permitted(each) for each in lines]) and not logged
    assert b" 500 " not in response.partition(b"\r\n")[0] and not VERSION.search(response)
    if response:
        head, _, body = response.partition(b"\r\n\r\n")
        assert b"application/problem+json" in head.lower(), head
        problem = json.loads(body)
        assert problem["detail"] and problem["detail_fa"]


def body(status: int) -> io.BytesIO | None:
    """Return a form that is too large, for the status of one."""
    return io.BytesIO(b"a=" + b"x" * (2 << 20)) if status == 413 else None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/metrics", 404, "not_found"),
        ("GET", "/issuer/nothing", 404, "not_found"),
        ("DELETE", "/issuer/token", 405, "method_not_allowed"),
        ("GET", "/market/", 503, "service_away"),
        ("POST", "/issuer/token", 413, "too_large"),
    ],
)
async def test_every_error_is_a_problem_or_a_page(gateway: int, method: str, path: str, status: int, code: str) -> None:
    url, form = f"http://127.0.0.1:{gateway}{path}", {"Content-Type": "application/x-www-form-urlencoded"}
    async with ClientSession() as client:
        async with client.request(method, url, data=body(status), headers=form) as response:
            problem: dict[str, Any] = await response.json(content_type="application/problem+json")
            assert (response.status, problem["code"], response.headers["Server"]) == (status, code, "peyvand")
            assert ("Allow" in response.headers) == (status == 405)
        async with client.request(method, url, data=body(status), headers={**form, "Accept": "text/html"}) as response:
            assert response.status == status and 'dir="rtl"' in await response.text()
        async with client.head(url) as response:
            assert response.headers["Server"] == "peyvand"


async def test_a_fault_of_the_gateway_is_a_problem(gateway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any) -> web.Response:
        raise ValueError(WORD.decode())

    monkeypatch.setattr("peyvand.gateway.reverse_proxy.ReverseProxy._forward", fails)
    with capture_logs() as lines:
        async with ClientSession() as client, client.get(f"http://127.0.0.1:{gateway}/") as response:
            problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (500, "failed")
    assert WORD.decode() not in json.dumps(problem)
    assert [each["event"] for each in lines] == ["request failed"]
