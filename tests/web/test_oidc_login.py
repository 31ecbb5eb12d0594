"""Signing in walks the whole way: to the real development issuer, back with a code, and a token in a cookie."""

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
from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.settings import DoorSettings
from security.auth import COOKIE, Principal, allow
from tests.support.small_api import said
from web import oidc_login
from web.app import App, create_app, policies

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[str]:
    """The public address, with the development issuer behind it."""
    port = unused_port()
    home = f"http://127.0.0.1:{port}"
    upstream = {
        f"upstream_{name}": "http://127.0.0.1:1" for name in ("registration", "screening", "market", "reporting")
    }
    door = DoorSettings(
        environment="development",
        public_url=home,
        issuer=f"{home}/issuer",
        jwks=tmp_path / "jwks.json",
        issuer_key=tmp_path / "issuer.jwk",
        **upstream,  # type: ignore[arg-type]
    )
    app = web.Application()
    app.add_subapp("/issuer", Issuer(door).application())
    async with TestServer(app, port=port):
        yield home


@pytest.fixture
def app(home: str, tmp_path: Path) -> App:
    """A service with one page for officers."""
    settings = Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        public_url=home,
        issuer=f"{home}/issuer",
        jwks=tmp_path / "jwks.json",
    )
    router = APIRouter()

    @router.get("/desk")
    async def desk(principal: Annotated[Principal, allow("screener")]) -> str:
        return f"{principal.id} {principal.scope}"

    async def ready() -> list[str]:
        return []

    return create_app(
        settings, "Tests", lifespan=None, ready=ready, prefix="/screening", routers=[router, oidc_login.router()]
    )


@pytest.fixture
async def browser(app: App, home: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a browser."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=home, headers=BROWSER) as browser:
        yield browser


async def sent_back(home: str, went: httpx.Response) -> str:
    """Picks a role at the issuer, and returns the path that it sends the browser back to."""
    asked = {name: values[0] for name, values in parse_qs(urlsplit(went.headers["location"]).query).items()}
    picked = {"role": "screener", "province": "IR-20", "name": "سارا"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{home}/issuer/authorize", data={**asked, **picked})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].removeprefix(home)


async def test_somebody_who_is_not_signed_in_is_led_there_and_back(browser: httpx.AsyncClient, home: str) -> None:
    led = await browser.get("/screening/desk?province=IR-20")
    assert (led.status_code, led.headers["location"]) == (
        303,
        "/screening/sign-in?to=/screening/desk%3Fprovince%3DIR-20",
    )

    went = await browser.get(led.headers["location"])
    assert went.status_code == 303 and went.headers["location"].startswith(f"{home}/issuer/authorize?")
    back = await browser.get(await sent_back(home, went))

    assert (back.status_code, back.headers["location"]) == (303, "/screening/desk?province=IR-20")
    cookie = next(each for each in back.headers.get_list("set-cookie") if each.startswith(COOKIE))
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/;" in cookie and "Max-Age=3600" in cookie
    assert (await browser.get(back.headers["location"])).text.endswith('IR-20"')

    left = await browser.post("/screening/sign-out")
    assert (left.status_code, left.headers["location"]) == (303, "/")
    assert COOKIE not in browser.cookies
    assert (await browser.get("/screening/desk")).status_code == 303


async def test_programmes_are_told_401_instead(browser: httpx.AsyncClient) -> None:
    said(await browser.get("/screening/desk", headers={"Accept": "application/json"}), 401, "unauthenticated")


async def test_a_code_is_worth_nothing_to_another_browser(browser: httpx.AsyncClient, app: App, home: str) -> None:
    back = await sent_back(home, await browser.get("/screening/sign-in"))
    plain = {"Accept": "application/json"}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=home, headers=plain) as thief:
        said(await thief.get(back), 400, "sign_in_failed")
        await thief.get("/screening/sign-in")  # a way of their own, but another state
        said(await thief.get(back), 400, "sign_in_failed")
    other = back.replace("iss=", "iss=http%3A%2F%2Fevil.example&was=")
    said(await browser.get(other, headers=plain), 400, "sign_in_failed")
    assert (await browser.get(back)).status_code == 303
    assert COOKIE in browser.cookies


async def test_a_used_or_wrong_code_signs_nobody_in(browser: httpx.AsyncClient, home: str) -> None:
    plain = {"Accept": "application/json"}
    went = await browser.get("/screening/sign-in")
    state = parse_qs(urlsplit(went.headers["location"]).query)["state"][0]

    for query in (f"state={state}&code=wrong", f"state={state}", "code=x", "", f"state={state}&error=access_denied"):
        said(await browser.get(f"/screening/sign-in/callback?{query}", headers=plain), 400, "sign_in_failed")
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
async def test_nobody_is_sent_elsewhere(browser: httpx.AsyncClient, home: str, to: str) -> None:
    went = await browser.get("/screening/sign-in", params={"to": to})
    back = await browser.get(await sent_back(home, went))

    assert back.headers["location"] == "/screening/"


async def test_a_cookie_of_the_way_that_was_changed_leads_nowhere_else(browser: httpx.AsyncClient) -> None:
    way = {"state": "s" * 20, "verifier": "v" * 43, "to": "//evil.example"}
    for cookie in (base64.urlsafe_b64encode(json.dumps(way).encode()).decode(), "rubbish", "%%%"):
        response = await browser.get(
            f"/screening/sign-in/callback?state={'s' * 20}&code=c",
            headers={"Accept": "application/json", "Cookie": f"{oidc_login.WAY}={cookie}"},
        )
        said(response, 400, "sign_in_failed")


async def test_signing_out_from_elsewhere_is_refused(browser: httpx.AsyncClient) -> None:
    response = await browser.post(
        "/screening/sign-out", headers={"Sec-Fetch-Site": "cross-site", "Accept": "application/json"}
    )

    said(response, 403, "cross_site")


def test_its_routes_are_open_and_said_to_be(app: App) -> None:
    assert {roles for (_, path), roles in policies(app).items() if "/sign-" in path} == {frozenset({"public"})}
