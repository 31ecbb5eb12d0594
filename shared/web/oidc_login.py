"""Sign-in of people through the OpenID Connect issuer: authorization code with PKCE, the access token in a cookie.

    create_app(..., prefix="/screening", routers=[..., oidc_login.router()])

`/screening/sign-in?to=/screening/` redirects to the issuer, which redirects back to `/screening/sign-in/callback`.
`/screening/sign-out` (POST) removes the cookie. A page requested without a token redirects here. The token is an
access token like any other; the cookie only carries it.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from typing import Annotated, Any
from urllib.parse import urlencode

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
from web.rate_limit import limited

CLIENT_ID = "peyvand"  # a public client: PKCE replaces the secret
LOGIN_COOKIE = "peyvand_login"  # from the redirect to the issuer until the callback
LOGIN_SECONDS = 600
TOKEN_RESPONSE_LIMIT = 64 << 10  # bytes
ISSUER_TIMEOUT = 5.0  # seconds

log = structlog.get_logger(__name__)


class _Login(msgspec.Struct):
    """What the browser keeps until the callback."""

    state: str
    verifier: str
    to: str


class _Tokens(msgspec.Struct):
    access_token: str
    token_type: str
    expires_in: int = 3_600


def router() -> APIRouter:
    """Return the routes, to be included under the prefix of the service."""
    routes = APIRouter(dependencies=[public()], include_in_schema=False)
    limits = [limited("sign-in", per_minute=60)]
    routes.add_api_route("/sign-in", _redirect_to_issuer, methods=["GET"], dependencies=limits)
    routes.add_api_route("/sign-in/callback", _complete, methods=["GET"], dependencies=limits)
    routes.add_api_route("/sign-out", _sign_out, methods=["POST"])
    return routes


async def _redirect_to_issuer(request: Request, to: Annotated[str, Query(max_length=2_000)] = "") -> Response:
    settings, prefix = _configuration(request)
    login = _Login(secrets.token_urlsafe(24), secrets.token_urlsafe(48), to if is_own_path(to) else f"{prefix}/")
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
        tokens = await asyncio.to_thread(_exchange, settings.issuer, code, login.verifier, _callback(settings, prefix))
        request.app.state.verifier.verify(tokens.access_token)
    except (HttpError, msgspec.MsgspecError, Unauthenticated) as e:
        log.warning("sign-in failed: the issuer gave no valid access token", issuer=settings.issuer, error=repr(e))
        raise Refused("sign_in_failed") from e
    response = RedirectResponse(login.to, 303)
    response.set_cookie(COOKIE, tokens.access_token, tokens.expires_in, path="/", **_cookie_flags(settings))
    response.delete_cookie(LOGIN_COOKIE, path=f"{prefix}/sign-in", **_cookie_flags(settings))
    return response


async def _sign_out(request: Request) -> Response:
    settings, _ = _configuration(request)
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE, path="/", **_cookie_flags(settings))
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


def _exchange(issuer: str, code: str, verifier: str, callback: str) -> _Tokens:
    """Return the tokens for a code; blocks. Raise HttpError, MsgspecError."""
    form = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": callback,
    }
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    with HttpClient(issuer, timeout=ISSUER_TIMEOUT, max_body=TOKEN_RESPONSE_LIMIT) as client:
        response = client.request("POST", "/token", content=urlencode(form).encode(), headers=headers)
    return msgspec.json.decode(response.content, type=_Tokens)


def _encode(login: _Login) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(login)).decode().rstrip("=")


def _decode(cookie: str) -> _Login | None:
    try:
        login = msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)), type=_Login)
    except (ValueError, msgspec.MsgspecError):
        return None
    return login if is_own_path(login.to) else None
