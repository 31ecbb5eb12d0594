"""Sign-in with the real development issuer: redirect, callback with a code, token in a cookie."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from fastapi import APIRouter

from base.settings import Settings
from observability.health import ReadinessReason
from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.settings import GatewaySettings
from security.auth import COOKIE, Principal
from tests.support.small_api import problem_of
from web import oidc_login
from web.app import App, create_app, policies
from web.authorization import allow

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def public_url(tmp_path: Path) -> AsyncIterator[str]:
    """The public address of a running development issuer."""
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    upstream = {
        f"upstream_{name}": "http://127.0.0.1:1" for name in ("registration", "screening", "market", "reporting")
    }
    settings = GatewaySettings(
        environment="development",
        public_url=url,
        issuer=f"{url}/issuer",
        jwks=tmp_path / "jwks.json",
        issuer_key=tmp_path / "issuer.jwk",
        **upstream,  # type: ignore[arg-type]
    )
    app = web.Application()
    app.add_subapp("/issuer", Issuer(settings).application())
    async with TestServer(app, port=port):
        yield url


@pytest.fixture
def app(public_url: str, tmp_path: Path) -> App:
    """A service with one page for screeners."""
    settings = Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        public_url=public_url,
        issuer=f"{public_url}/issuer",
        jwks=tmp_path / "jwks.json",
    )
    router = APIRouter()

    @router.get("/page")
    async def page(principal: Annotated[Principal, allow("decide_screening", "R")]) -> str:
        return f"{principal.id} {principal.scope}"

    async def ready() -> list[ReadinessReason]:
        return []

    return create_app(
        settings, "Tests", lifespan=None, ready=ready, prefix="/screening", routers=[router, oidc_login.router()]
    )


@pytest.fixture
async def browser(app: App, public_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=public_url, headers=BROWSER) as browser:
        yield browser


async def callback_of(public_url: str, redirect: httpx.Response) -> str:
    """Choose a role at the issuer; return the path to which it redirects the browser."""
    parameters = {name: values[0] for name, values in parse_qs(urlsplit(redirect.headers["location"]).query).items()}
    chosen = {"role": "screener", "province": "IR-20", "name": "سارا"}
    async with httpx.AsyncClient() as client:
        response = await client.post(f"{public_url}/issuer/authorize", data={**parameters, **chosen})
    assert response.status_code == 303, response.text
    return response.headers["location"].removeprefix(public_url)


async def test_page_without_token_leads_through_sign_in_and_back(browser: httpx.AsyncClient, public_url: str) -> None:
    page = await browser.get("/screening/page?province=IR-20")
    assert (page.status_code, page.headers["location"]) == (
        303,
        "/screening/sign-in?to=/screening/page%3Fprovince%3DIR-20",
    )

    redirect = await browser.get(page.headers["location"])
    assert redirect.status_code == 303 and redirect.headers["location"].startswith(f"{public_url}/issuer/authorize?")
    completed = await browser.get(await callback_of(public_url, redirect))

    assert (completed.status_code, completed.headers["location"]) == (303, "/screening/page?province=IR-20")
    cookie = next(each for each in completed.headers.get_list("set-cookie") if each.startswith(COOKIE))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/;" in cookie and "Max-Age=3600" in cookie
    assert (await browser.get(completed.headers["location"])).text.endswith('IR-20"')

    signed_out = await browser.post("/screening/sign-out")
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, "/")
    assert COOKIE not in browser.cookies
    assert (await browser.get("/screening/page")).status_code == 303


async def test_program_gets_401_instead_of_a_redirect(browser: httpx.AsyncClient) -> None:
    problem_of(await browser.get("/screening/page", headers={"Accept": "application/json"}), 401, "unauthenticated")


async def test_code_is_bound_to_the_browser(browser: httpx.AsyncClient, app: App, public_url: str) -> None:
    callback = await callback_of(public_url, await browser.get("/screening/sign-in"))
    json_only = {"Accept": "application/json"}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=public_url, headers=json_only) as thief:
        problem_of(await thief.get(callback), 400, "sign_in_failed")
        await thief.get("/screening/sign-in")  # a sign-in of its own, with another state
        problem_of(await thief.get(callback), 400, "sign_in_failed")
    other = callback.replace("iss=", "iss=http%3A%2F%2Fevil.example&was=")
    problem_of(await browser.get(other, headers=json_only), 400, "sign_in_failed")
    assert (await browser.get(callback)).status_code == 303
    assert COOKIE in browser.cookies


async def test_invalid_code_or_state_is_refused(browser: httpx.AsyncClient, public_url: str) -> None:
    json_only = {"Accept": "application/json"}
    redirect = await browser.get("/screening/sign-in")
    state = parse_qs(urlsplit(redirect.headers["location"]).query)["state"][0]

    for query in (f"state={state}&code=wrong", f"state={state}", "code=x", "", f"state={state}&error=access_denied"):
        problem_of(await browser.get(f"/screening/sign-in/callback?{query}", headers=json_only), 400, "sign_in_failed")
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\nb",
        "",
    ],
)
async def test_redirect_stays_on_the_own_host(browser: httpx.AsyncClient, public_url: str, to: str) -> None:
    redirect = await browser.get("/screening/sign-in", params={"to": to})
    completed = await browser.get(await callback_of(public_url, redirect))

    assert completed.headers["location"] == "/screening/"


async def test_forged_login_cookie_is_refused(browser: httpx.AsyncClient) -> None:
    login = {"state": "s" * 20, "verifier": "v" * 43, "to": "//evil.example"}
    for cookie in (base64.urlsafe_b64encode(json.dumps(login).encode()).decode(), "invalid", "%%%"):
        response = await browser.get(
            f"/screening/sign-in/callback?state={'s' * 20}&code=c",
            headers={"Accept": "application/json", "Cookie": f"{oidc_login.LOGIN_COOKIE}={cookie}"},
        )
        problem_of(response, 400, "sign_in_failed")


async def test_sign_out_from_another_site_is_refused(browser: httpx.AsyncClient) -> None:
    response = await browser.post(
        "/screening/sign-out", headers={"Sec-Fetch-Site": "cross-site", "Accept": "application/json"}
    )

    problem_of(response, 403, "cross_site")


def test_routes_are_declared_public(app: App) -> None:
    assert {each.action for (_, path), each in policies(app).items() if "/sign-" in path} == {"public"}
