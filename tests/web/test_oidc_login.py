"""Sign-in with the real development issuer: redirect, callback with a code, token in a cookie."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import APIRouter
from starlette.requests import Request

from base.http_client import HttpClient
from base.settings import Settings
from observability import metrics
from observability.health import ReadinessReason
from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.settings import GatewaySettings
from security import revocation
from security.auth import COOKIE, Principal, Unauthenticated, Verifier
from tests.support.ports import free_port
from tests.support.small_api import problem_of
from web import oidc_login
from web.app import App, create_app, policies
from web.authorization import allow

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def public_url(tmp_path: Path) -> AsyncIterator[str]:
    """The public address of a running development issuer."""
    port = free_port()
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

    @router.post("/save")
    async def save(request: Request, principal: Annotated[Principal, allow("decide_screening")]) -> str:
        return f"{principal.id} {(await request.body()).decode()}"

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


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most a minute."""
    for _ in range(6_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold")


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
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Path=/;" in cookie and "Max-Age=300" in cookie
    assert (await browser.get(completed.headers["location"])).text.endswith('IR-20"')

    signed_out = await browser.post("/screening/sign-in/end")
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, "/")
    for to, then in (("/work", "/work"), ("//evil.example", "/")):
        again = await browser.post("/screening/sign-in/end", params={"to": to})
        assert (again.status_code, again.headers["location"]) == (303, then)
    assert COOKIE not in browser.cookies and oidc_login.REFRESH_COOKIE not in browser.cookies
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

    assert completed.headers["location"] == oidc_login.HOME


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
        "/screening/sign-in/end", headers={"Sec-Fetch-Site": "cross-site", "Accept": "application/json"}
    )

    problem_of(response, 403, "cross_site")


def test_routes_are_declared_public(app: App) -> None:
    assert {each.action for (_, path), each in policies(app).items() if "/sign-" in path} == {"public"}


# Renewal: an access token is valid for minutes, a session for a day


async def signed_in(browser: httpx.AsyncClient, public_url: str) -> str:
    """Sign in; return the access token."""
    await browser.get(await callback_of(public_url, await browser.get("/screening/sign-in")))
    return browser.cookies[COOKIE]


def expire(browser: httpx.AsyncClient) -> None:
    """Let the access token expire, as its cookie does."""
    browser.cookies.delete(COOKIE)


async def test_an_expired_token_is_renewed_unnoticed(browser: httpx.AsyncClient, public_url: str) -> None:
    first = await signed_in(browser, public_url)
    paths = {each.path for each in browser.cookies.jar if each.name == oidc_login.REFRESH_COOKIE}
    own = {f"{each}/sign-in" for each in ("", "/screening", "/registration", "/operations")}
    assert paths == own, "no other request carries the refresh token"
    expire(browser)
    page = await browser.get("/screening/page?a=1", follow_redirects=True)

    assert page.status_code == 200 and [each.status_code for each in page.history] == [303, 303]
    assert page.url.path == "/screening/page" and page.url.query == b"a=1" and browser.cookies[COOKIE] != first


async def test_a_form_with_an_expired_token_is_saved_as_typed(browser: httpx.AsyncClient, public_url: str) -> None:
    await signed_in(browser, public_url)
    expire(browser)
    saved = await browser.post("/screening/save", data={"reason": "نامه ناقص است"}, follow_redirects=True)

    assert saved.status_code == 200 and [each.status_code for each in saved.history] == [307, 307]
    assert "reason=%D9%86%D8%A7" in saved.text


async def test_a_form_of_an_ended_session_is_kept_on_the_page(browser: httpx.AsyncClient, public_url: str) -> None:
    token = await signed_in(browser, public_url)
    async with httpx.AsyncClient() as other:
        await other.post(f"{public_url}/issuer/revoke", data={"client_id": "peyvand", "token": token})
    expire(browser)
    typed = {"reason": '"><b>x', "outcome": "rejected"}
    page = await browser.post("/screening/save", data=typed, follow_redirects=True)

    assert page.status_code == 401 and 'action="/screening/save"' in page.text and "<b>x" not in page.text
    assert 'name="outcome" value="rejected"' in page.text and "&#34;&gt;&lt;b&gt;x" in page.text
    for to in ("//evil.example/", "https://evil.example", "/elsewhere", "/screening/sign-in?to=/screening/", ""):
        answer = await browser.post("/screening/sign-in", params={"to": to}, headers={"Accept": "application/json"})
        problem_of(answer, 400, "sign_in_failed")


async def test_a_part_of_a_page_reloads_the_page_when_the_session_has_ended(
    browser: httpx.AsyncClient, public_url: str
) -> None:
    part = {"Accept": "*/*", "HX-Request": "true"}
    ended = await browser.get("/screening/page", headers=part, follow_redirects=True)
    assert (ended.status_code, ended.headers["hx-refresh"]) == (401, "true")
    await signed_in(browser, public_url)
    expire(browser)
    assert (await browser.get("/screening/page", headers=part, follow_redirects=True)).status_code == 200


async def test_sign_out_ends_access_of_a_copied_token_at_every_service(
    browser: httpx.AsyncClient, app: App, public_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "INTERVAL", 0.01)
    token, issuer = await signed_in(browser, public_url), f"{public_url}/issuer"
    verifiers = [app.state.verifier, *(Verifier(issuer, "peyvand", tmp_path / "jwks.json") for _ in "ab")]
    async with AsyncExitStack() as stack:
        for each in verifiers:
            await stack.enter_async_context(revocation.polled(each.revocations, issuer, "tests"))
            assert each.verify(token).id and each.verified, "the copy is cached as verified"
        await browser.post("/screening/sign-in/end")
        await wait_until(lambda: all(each.revocations.ids for each in verifiers))
        for each in verifiers:
            with pytest.raises(Unauthenticated):
                each.verify(token)
    copy = {"Accept": "application/json", "Authorization": f"Bearer {token}"}
    problem_of(await browser.get("/screening/page", headers=copy), 401, "unauthenticated")
    other = await signed_in(browser, public_url)
    assert app.state.verifier.verify(other).id, "another session of the same person goes on"


async def test_every_api_polls_while_it_runs(app: App, browser: httpx.AsyncClient, public_url: str) -> None:
    token = await signed_in(browser, public_url)
    async with httpx.AsyncClient() as other:
        await other.post(f"{public_url}/issuer/revoke", data={"client_id": "peyvand", "token": token})
    assert app.state.verifier.verify(token).id, "not known yet"
    async with app.router.lifespan_context(app):
        await wait_until(lambda: bool(app.state.verifier.revocations.ids))
    with pytest.raises(Unauthenticated):
        app.state.verifier.verify(token)
    assert revocation.INTERVAL <= 5


async def test_without_the_issuer_expiry_decides(app: App, public_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verifier, down = app.state.verifier, "http://127.0.0.1:1"
    monkeypatch.setattr(revocation, "INTERVAL", 0.01)
    async with httpx.AsyncClient() as client:
        form = {"grant_type": "client_credentials", "role": "analyst"}
        token = (await client.post(f"{public_url}/issuer/token", data=form)).json()["access_token"]
    failed = metrics.REVOCATION_POLLS.labels("down", "failed")
    before = failed._value.get()
    async with revocation.polled(verifier.revocations, down, "down"):
        await wait_until(lambda: failed._value.get() >= before + 3)
        assert verifier.verify(token).roles == {"analyst"}
    verifier.now = lambda: time.time() + revocation.TOKEN_SECONDS + 1
    with pytest.raises(Unauthenticated):
        verifier.verify(token)


def test_what_was_revoked_stays_revoked_if_the_issuer_restarts() -> None:
    answers = iter([httpx.Response(200, json={"revoked": each}) for each in (["s-1"], [], [])])
    polls = iter([0.0, revocation.TOKEN_SECONDS - 1, revocation.TOKEN_SECONDS + 1])
    clock = [0.0]
    known = revocation.Revocations(lambda: clock[0])
    with HttpClient("http://issuer", transport=httpx.MockTransport(lambda _: next(answers))) as client:
        for ids in ({"s-1"}, {"s-1"}, set[str]()):
            clock[0] = next(polls)
            known.poll(client)
            assert known.ids == ids
