"""The authorization matrix: every route of every service refuses every role that its policy does not name."""

import re
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from base.clock import system_clock
from contracts.codes import ROLES
from kernel.service import Runtime
from registration.settings import RegistrationSettings
from run.api import service_app
from security.auth import COOKIE, PUBLIC
from tests.support.tokens import Issuer
from web.app import App, policies

SCOPE = {"province": "IR-20", "county": "2001", "lead": "l-1"}


class Untouched:
    """Replaces everything that a route may use: a request that gets as far as this was let in."""

    def __getattr__(self, name: str) -> "Untouched":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the route was entered")


SERVICES = ("registration", "screening", "market", "reporting")


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> App:
    """One of the four services."""
    settings = RegistrationSettings(
        service=request.param,
        environment="development",
        kafka="-",
        mongo="mongodb://127.0.0.1:1",  # type: ignore[arg-type]
        database="-",
        jwks=issuer.jwks,
        issuer=issuer.name,
        assets=tmp_path_factory.mktemp("assets"),
    )
    untouched: Any = Untouched()
    runtime = Runtime[Any](
        settings=settings, store=untouched, leases=untouched, clock=system_clock(), resources=untouched
    )
    return service_app(import_module(f"{request.param}.service").service, settings, runtime)


@pytest.fixture
async def client(service: App) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service."""
    address = "http://127.0.0.1:8080"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url=address) as client:
        yield client


def closed_routes(app: App) -> list[tuple[str, str, frozenset[str]]]:
    """Return method, a path and the roles of each route that is not public."""
    return [
        (method, re.sub(r"\{[^}]+\}", "x", path), policy.roles)
        for (method, path), policy in sorted(policies(app).items(), key=lambda item: item[0])
        if policy.action != PUBLIC
    ]


async def test_every_route_has_a_policy(service: App) -> None:
    declared = policies(service)

    assert declared and all(each.roles and each.roles <= {*ROLES, PUBLIC} for each in declared.values())
    writes = {path for (method, path), each in declared.items() if method != "GET" and each.action == PUBLIC}
    assert not any("/v1/" in path for path in writes), "a public write is a form, never the API"


async def test_request_without_valid_token_is_refused(
    service: App, client: httpx.AsyncClient, issuer: Issuer, tmp_path: Path
) -> None:
    forger = Issuer(tmp_path)
    forger.key = ECKey.generate_key("P-256", {"kid": "test-1"})
    forged, expired = forger.token(*ROLES, **SCOPE), issuer.token(*ROLES, **SCOPE, exp=1)
    for method, path, _ in closed_routes(service):
        for headers in (
            {},
            {"Authorization": "Bearer invalid"},
            {"Authorization": f"Bearer {forged}"},
            {"Authorization": f"Bearer {expired}"},
            {"Cookie": f"{COOKIE}={forged}", "Sec-Fetch-Site": "same-origin"},
        ):
            response = await client.request(method, path, headers=headers)
            assert response.status_code == 401, f"{method} {path} {headers}: {response.text}"
            assert response.json()["code"] == "unauthenticated"


async def test_request_with_another_role_is_refused(service: App, client: httpx.AsyncClient, issuer: Issuer) -> None:
    tokens = {role: issuer.bearer(role, **SCOPE) for role in ROLES}
    for method, path, roles in closed_routes(service):
        for role in ROLES:
            if role not in roles:
                response = await client.request(method, path, headers=tokens[role])
                assert response.status_code == 403, f"{method} {path} as {role}: {response.text}"
        all_others = issuer.bearer(*(set(ROLES) - roles), **SCOPE)
        assert (await client.request(method, path, headers=all_others)).status_code == 403


async def test_write_with_cookie_from_another_site_is_refused(
    service: App, client: httpx.AsyncClient, issuer: Issuer
) -> None:
    cookie = {"Cookie": f"{COOKIE}={issuer.token(*ROLES, **SCOPE)}"}
    for (method, path), _ in policies(service).items():
        if method != "GET":
            for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                response = await client.request(method, re.sub(r"\{[^}]+\}", "x", path), headers={**cookie, **headers})
                assert (response.status_code, response.json()["code"]) == (403, "cross_site"), f"{method} {path}"


async def test_every_openapi_document_is_complete(service: App, client: httpx.AsyncClient) -> None:
    prefix = service.state.prefix
    schema = (await client.get(f"{prefix}/openapi.json")).json()
    operations = [(path, method, each) for path, item in schema["paths"].items() for method, each in item.items()]
    declared = policies(service)

    assert operations and all(path.startswith(f"{prefix}/v1/") for path, _, _ in operations)
    listed = {(method.upper(), path) for path, method, _ in operations}
    published = {(method, path) for method, path in declared if path.startswith(f"{prefix}/v1/")}
    assert listed == published, "of the API, not of the pages, nor what services ask each other"
    assert len({each["operationId"] for _, _, each in operations}) == len(operations)
    for path, method, each in operations:
        where, policy = f"{method} {path}", declared[method.upper(), path]
        action = {"action": policy.action, "access": policy.access} if policy.action != PUBLIC else None
        assert each.get("summary") and each.get("description"), f"{where} has no summary or description"
        assert (each["security"] == []) is (policy.action == PUBLIC), where
        assert each.get("x-peyvand-action") == action, where
        assert each.get("x-peyvand-roles", [PUBLIC]) == sorted(policy.roles), where
        assert {"400", "429", "500", "503"} <= set(each["responses"]), where
        assert any(status.startswith("2") for status in each["responses"]), where
        for status, response in each["responses"].items():
            if status >= "4":
                assert "application/problem+json" in response["content"], f"{where} {status}"
