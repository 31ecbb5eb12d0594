"""Sign-in of people through the OpenID Connect issuer: authorization code with PKCE, the access token in a cookie.

    create_app(..., prefix="/screening", routers=[..., oidc_login.router()])

`/screening/sign-in?to=/screening/` redirects to the issuer, which redirects back to `/screening/sign-in/callback`.
A page requested without a valid token redirects here. An access token is valid for minutes, so the browser also keeps a
refresh token, which it sends to these routes only: with it the sign-in needs no one. A form is redirected here as well
(307: with what was typed) and back. `/screening/sign-in/end` (POST) ends the session at the issuer. Who asked for no
page lands on `/work`.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
import msgspec
import structlog
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.http_client import HttpClient, HttpError
from base.settings import Settings
from contracts.commands import Refused
from security.auth import COOKIE, Unauthenticated
from web.authorization import public
from web.dependencies import form_of
from web.rate_limit import limited

CLIENT_ID = "peyvand"  # a public client: PKCE replaces the secret
LOGIN_COOKIE = "peyvand_login"  # from the redirect to the issuer until the callback
REFRESH_COOKIE = "peyvand_refresh"
PREFIXES = ("", "/screening", "/registration", "/operations")  # where people sign in: these share one session
HOME = "/work"  # where a person lands who asked for no other page
LOGIN_SECONDS = 600
TOKEN_RESPONSE_LIMIT = 64 << 10  # bytes
ISSUER_TIMEOUT = 5.0  # seconds

To = Annotated[str, Query(max_length=2_000)]  # the path to return to

log = structlog.get_logger(__name__)


class _Login(msgspec.Struct):
    """What the browser keeps until the callback."""

    state: str
    verifier: str
    to: str


class _Tokens(msgspec.Struct):
    access_token: str
    token_type: str
    expires_in: int = 300
    refresh_token: str = ""


def router() -> APIRouter:
    """Return the routes, to be included under the prefix of the service."""
    routes = APIRouter(dependencies=[public()], include_in_schema=False)
    limits = [limited("sign-in", per_minute=60)]
    routes.add_api_route("/sign-in", _sign_in, methods=["GET"], dependencies=limits)
    routes.add_api_route("/sign-in", _renew_for_form, methods=["POST"], dependencies=limits)
    routes.add_api_route("/sign-in/callback", _complete, methods=["GET"], dependencies=limits)
    routes.add_api_route("/sign-in/end", _sign_out, methods=["POST"], dependencies=limits)
    return routes


async def _sign_in(request: Request, to: To = "") -> Response:
    settings, prefix = _configuration(request)
    if tokens := await _renewed(request):
        return _with_tokens(RedirectResponse(to if is_own_path(to) else HOME, 303), settings, tokens)
    if "hx-request" in request.headers:  # a part of a page: only the page as a whole can leave for the issuer
        return Response(status_code=401, headers={"HX-Refresh": "true"})
    login = _Login(secrets.token_urlsafe(24), secrets.token_urlsafe(48), to if is_own_path(to) else HOME)
    parameters = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": _callback(settings, prefix),
        "state": login.state,
        "code_challenge": challenge(login.verifier),
        "code_challenge_method": "S256",
    }
    response = RedirectResponse(f"{settings.issuer}/authorize?{urlencode(parameters)}", 303)
    response.set_cookie(
        LOGIN_COOKIE, _encode(login), LOGIN_SECONDS, path=f"{prefix}/sign-in", **_cookie_flags(settings)
    )
    return response


async def _renew_for_form(request: Request, to: To = "") -> Response:
    """Send a form, redirected here because its token had expired, back with a new one; else show how to go on."""
    settings, prefix = _configuration(request)
    if not is_own_path(to) or not to.startswith(f"{prefix}/") or to.startswith(f"{prefix}/sign-in"):
        raise Refused("sign_in_failed")
    if tokens := await _renewed(request):
        return _with_tokens(RedirectResponse(to, 307), settings, tokens)
    from web.pages import shared_pages

    fields = (await form_of(request)).multi_items()
    return shared_pages().render(
        request, "sign_in_again.html", status=401, to=to, fields=fields, sign_in=f"{prefix}/sign-in?to={prefix}/"
    )


async def _complete(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=2_000)] = "",
    iss: Annotated[str, Query(max_length=2_000)] = "",
) -> Response:
    settings, prefix = _configuration(request)
    login = _decode(request.cookies.get(LOGIN_COOKIE, ""))
    if login is None or not hmac.compare_digest(login.state.encode(), state.encode()) or not code:
        raise Refused("sign_in_failed")
    if iss and iss != settings.issuer:  # RFC 9207: a response of another issuer
        raise Refused("sign_in_failed")
    try:
        tokens = await _tokens(
            request,
            grant_type="authorization_code",
            code=code,
            code_verifier=login.verifier,
            redirect_uri=_callback(settings, prefix),
        )
    except (HttpError, msgspec.MsgspecError, Unauthenticated) as e:
        log.warning("sign-in failed: the issuer gave no valid access token", error=e)
        raise Refused("sign_in_failed") from e
    response = _with_tokens(RedirectResponse(login.to, 303), settings, tokens)
    response.delete_cookie(LOGIN_COOKIE, path=f"{prefix}/sign-in", **_cookie_flags(settings))
    return response


async def _sign_out(request: Request, to: To = "") -> Response:
    """Remove the cookies, and end the session at the issuer: from then on no copy of a token is accepted.

    Then show `to`, by default the public home page; a page of a role asks who signs in next.
    """
    settings, _ = _configuration(request)
    for name in (REFRESH_COOKIE, COOKIE):
        if token := request.cookies.get(name):
            try:
                await asyncio.to_thread(_post, settings.issuer, "/revoke", {"client_id": CLIENT_ID, "token": token})
            except HttpError as e:
                log.warning("sign-out could not end the session: its token is valid until it expires", error=e)
    response = RedirectResponse(to if is_own_path(to) else "/", 303)
    response.delete_cookie(COOKIE, path="/", **_cookie_flags(settings))
    for prefix in PREFIXES:
        response.delete_cookie(REFRESH_COOKIE, path=f"{prefix}/sign-in", **_cookie_flags(settings))
    return response


async def _renewed(request: Request) -> _Tokens | None:
    """Return new tokens for the refresh token of the browser; None if it has none or its session has ended."""
    if not (token := request.cookies.get(REFRESH_COOKIE)):
        return None
    try:
        return await _tokens(request, grant_type="refresh_token", refresh_token=token)
    except (HttpError, msgspec.MsgspecError, Unauthenticated) as e:
        log.info("the session is not renewed", error=e)
        return None


async def _tokens(request: Request, **form: str) -> _Tokens:
    """Return verified tokens of the issuer. Raise HttpError, MsgspecError, Unauthenticated."""
    issuer = request.app.state.settings.issuer
    response = await asyncio.to_thread(_post, issuer, "/token", {"client_id": CLIENT_ID, **form})
    tokens = msgspec.json.decode(response.content, type=_Tokens)
    request.app.state.verifier.verify(tokens.access_token)
    return tokens


def _with_tokens(response: Response, settings: Settings, tokens: _Tokens) -> Response:
    """Let the browser keep the tokens; the refresh token until it is closed, for the routes of the sign-in only."""
    flags = _cookie_flags(settings)
    response.set_cookie(COOKIE, tokens.access_token, tokens.expires_in, path="/", **flags)
    for prefix in PREFIXES if tokens.refresh_token else ():
        response.set_cookie(REFRESH_COOKIE, tokens.refresh_token, path=f"{prefix}/sign-in", **flags)
    return response


def _configuration(request: Request) -> tuple[Settings, str]:
    return request.app.state.settings, request.app.state.prefix


def _callback(settings: Settings, prefix: str) -> str:
    return f"{settings.public_url}{prefix}/sign-in/callback"


def _cookie_flags(settings: Settings) -> dict[str, Any]:
    return {"secure": settings.public_url.startswith("https://"), "httponly": True, "samesite": "lax"}


def is_own_path(to: str) -> bool:
    """Return whether this is a path on our host, not the address of another host in a disguise (`//`, `/\\`)."""
    return to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() and "\\" not in to


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _post(issuer: str, path: str, form: Mapping[str, str]) -> httpx.Response:
    """Send a form to the issuer; blocks. Raise HttpError."""
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    with HttpClient(issuer, timeout=ISSUER_TIMEOUT, max_body=TOKEN_RESPONSE_LIMIT) as client:
        return client.request("POST", path, content=urlencode(form).encode(), headers=headers)


def _encode(login: _Login) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(login)).decode().rstrip("=")


def _decode(cookie: str) -> _Login | None:
    try:
        login = msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)), type=_Login)
    except (ValueError, msgspec.MsgspecError):
        return None
    return login if is_own_path(login.to) else None
