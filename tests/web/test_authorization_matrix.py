"""Every route of every service against every role, from the policies that the routes declare: who may not, cannot."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from base.clock import system_clock
from registration.settings import KeySettings
from security.auth import COOKIE, PUBLIC, ROLES
from tests.support.tokens import Issuer
from web.app import App, policies

OWN = {"/healthz", "/readyz", "/metrics"}
WHERE = {"province": "IR-20", "county": "2001", "lead": "l-1"}


class Untouched:
    """Stands where a service keeps its records: whoever gets as far as this was let in."""

    def __getattr__(self, name: str) -> "Untouched":
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the records were asked")


async def ready() -> list[str]:
    """Nothing to wait for."""
    return []


def registration(settings: KeySettings) -> App:
    """Registration over nothing."""
    from registration.api import create

    nothing: Any = Untouched()
    return create(settings, nothing, nothing, nothing, ready=ready)


def screening(settings: KeySettings) -> App:
    """Screening over nothing."""
    from screening.api import create

    nothing: Any = Untouched()
    return create(settings, nothing, nothing, system_clock(), ready=ready)


def market(settings: KeySettings) -> App:
    """Market over nothing."""
    from market.api import create

    nothing: Any = Untouched()
    return create(settings, nothing, nothing, system_clock(), ready=ready)


def reporting(settings: KeySettings) -> App:
    """Reporting over nothing."""
    from reporting.main import create

    nothing: Any = Untouched()
    return create(settings, nothing, nothing)


SERVICES: list[Callable[[KeySettings], App]] = [registration, screening, market, reporting]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """Whose keys are pinned."""
    return Issuer(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module", params=SERVICES, ids=lambda each: each.__name__)
def service(request: pytest.FixtureRequest, known: Issuer, tmp_path_factory: pytest.TempPathFactory) -> App:
    """One of the four."""
    settings = KeySettings(
        service=request.param.__name__,
        environment="development",
        kafka="-",
        mongo="mongodb://127.0.0.1:1",  # type: ignore[arg-type]
        database="-",
        jwks=known.jwks,
        issuer=known.name,
        assets=tmp_path_factory.mktemp("assets"),
    )
    app: App = request.param(settings)
    return app


@pytest.fixture
async def caller(service: App) -> AsyncIterator[httpx.AsyncClient]:
    """Whoever asks."""
    address = "http://127.0.0.1:8080"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url=address) as caller:
        yield caller


def closed(app: App) -> list[tuple[str, str, frozenset[str]]]:
    """Method, a path and the roles of each route that is not open."""
    return [
        (method, re.sub(r"\{[^}]+\}", "x", path), roles)
        for (method, path), roles in sorted(policies(app).items())
        if PUBLIC not in roles
    ]


async def test_every_route_declares_who_may(service: App) -> None:
    declared = policies(service)

    assert declared and all(roles and roles <= {*ROLES, PUBLIC} for roles in declared.values())
    writes = {path for (method, path), roles in declared.items() if method != "GET" and PUBLIC in roles}
    assert not any("/v1/" in path for path in writes), "an open write is a form, never the API"


async def test_nobody_comes_in_without_a_token_that_holds(
    service: App, caller: httpx.AsyncClient, known: Issuer, tmp_path: Path
) -> None:
    forger = Issuer(tmp_path)
    forger.key = ECKey.generate_key("P-256", {"kid": "test-1"})
    forged, expired = forger.token(*ROLES, **WHERE), known.token(*ROLES, **WHERE, exp=1)
    for method, path, _ in closed(service):
        for headers in (
            {},
            {"Authorization": "Bearer rubbish"},
            {"Authorization": f"Bearer {forged}"},
            {"Authorization": f"Bearer {expired}"},
            {"Cookie": f"{COOKIE}={forged}", "Sec-Fetch-Site": "same-origin"},
        ):
            response = await caller.request(method, path, headers=headers)
            assert response.status_code == 401, f"{method} {path} {headers}: {response.text}"
            assert response.json()["code"] == "unauthenticated"


async def test_nobody_comes_in_with_another_role(service: App, caller: httpx.AsyncClient, known: Issuer) -> None:
    tokens = {role: known.bearer(role, **WHERE) for role in ROLES}
    for method, path, roles in closed(service):
        for role in ROLES:
            if role not in roles:
                response = await caller.request(method, path, headers=tokens[role])
                assert response.status_code == 403, f"{method} {path} as {role}: {response.text}"
        everything_else = known.bearer(*(set(ROLES) - roles), **WHERE)
        assert (await caller.request(method, path, headers=everything_else)).status_code == 403


async def test_no_write_by_cookie_comes_from_elsewhere(service: App, caller: httpx.AsyncClient, known: Issuer) -> None:
    cookie = {"Cookie": f"{COOKIE}={known.token(*ROLES, **WHERE)}"}
    for (method, path), _ in policies(service).items():
        if method != "GET":
            for headers in ({}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                response = await caller.request(method, re.sub(r"\{[^}]+\}", "x", path), headers={**cookie, **headers})
                assert (response.status_code, response.json()["code"]) == (403, "cross_site"), f"{method} {path}"


async def test_every_description_is_complete(service: App, caller: httpx.AsyncClient) -> None:
    prefix = service.state.prefix
    schema = (await caller.get(f"{prefix}/openapi.json")).json()
    operations = [(path, method, each) for path, item in schema["paths"].items() for method, each in item.items()]
    declared = policies(service)

    assert operations and all(path.startswith(f"{prefix}/v1/") for path, _, _ in operations)
    assert len({each["operationId"] for _, _, each in operations}) == len(operations)
    for path, method, each in operations:
        where, roles = f"{method} {path}", declared[method.upper(), path]
        assert each.get("summary") and each.get("description"), f"{where} says nothing about itself"
        assert (each["security"] == []) is (PUBLIC in roles), where
        assert each.get("x-peyvand-roles", [PUBLIC]) == sorted(roles), where
        assert {"400", "429", "500", "503"} <= set(each["responses"]), where
        assert any(status.startswith("2") for status in each["responses"]), where
        for status, response in each["responses"].items():
            if status >= "4":
                assert "application/problem+json" in response["content"], f"{where} {status}"
