"""Policies: what `allow` and `public` accept, and that they are checked once for the whole request."""

from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends
from starlette.requests import Request

from base.settings import Settings
from observability.health import ReadinessReason
from security.auth import COOKIE, Principal
from tests.support.small_api import HERE, problem_of
from tests.support.tokens import Issuer
from web.app import create_app
from web.authorization import allow, authorized_principal, public


def test_policy_names_an_action_of_the_table() -> None:
    for action, access in (("conquer", "W"), ("withdraw", "X"), ("operations", "W"), ("", "W")):
        with pytest.raises(ValueError, match="permission table"):
            allow(action, access)


Reader = Annotated[Principal, allow("import_connections", "R")]


async def early(request: Request) -> str:
    """Depend on the principal before the route's own policy is resolved."""
    return (await authorized_principal(request)).actor


@pytest.fixture
def client(settings: Settings) -> httpx.AsyncClient:
    """A client of routes with a dependency that needs the principal before the policy is checked."""
    router = APIRouter()

    @router.get("/v1/early")
    async def closed(actor: Annotated[str, Depends(early)], principal: Reader) -> str:
        return f"{actor} {principal.scope}"

    @router.get("/v1/open")
    async def opened(actor: Annotated[str, Depends(early)], principal: Annotated[Principal, public()]) -> str:
        return f"{actor} {principal.actor}"

    async def ready() -> list[ReadinessReason]:
        return []

    app = create_app(settings, "Tests", lifespan=None, ready=ready, prefix="/t", routers=[router])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE)


async def test_policy_holds_for_dependencies_that_come_before_it(client: httpx.AsyncClient, issuer: Issuer) -> None:
    manager = issuer.bearer("manager", province="IR-20")

    assert (await client.get("/t/v1/early", headers=manager)).json() == "manager:of-2f9c IR-20"
    problem_of(await client.get("/t/v1/early"), 401, "unauthenticated")
    problem_of(await client.get("/t/v1/early", headers=issuer.bearer("analyst")), 403, "forbidden")


async def test_open_route_ignores_any_token(client: httpx.AsyncClient, issuer: Issuer) -> None:
    for headers in ({}, issuer.bearer("manager", province="IR-20"), {"Authorization": "Bearer invalid"}):
        assert (await client.get("/t/v1/open", headers=headers)).json() == "web: web:"


async def test_token_comes_as_header_or_cookie_and_the_header_wins(client: httpx.AsyncClient, issuer: Issuer) -> None:
    cookie = {"Cookie": f"{COOKIE}={issuer.token('manager', province='IR-20', id='of-cookie')}"}
    header = issuer.bearer("manager", province="IR-21", id="of-header")

    assert (await client.get("/t/v1/early", headers=cookie)).json() == "manager:of-cookie IR-20"
    assert (await client.get("/t/v1/early", headers={**cookie, **header})).json() == "manager:of-header IR-21"
    response = await client.get("/t/v1/early", headers={**cookie, "Authorization": "Basic YTpi"})
    problem_of(response, 401, "unauthenticated")
    twice = [
        ("Authorization", value) for value in (header["Authorization"], issuer.bearer("operator")["Authorization"])
    ]
    problem_of(await client.get("/t/v1/early", headers=twice), 401, "unauthenticated")
