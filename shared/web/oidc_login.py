"""Signing in with the issuer, for a service with pages: authorization code with PKCE, the token in a cookie.

    create_app(..., prefix="/screening", routers=[..., signin.router()])

`/screening/sign-in?to=/screening/` goes to the issuer and comes back there; `/screening/sign-out` (POST) forgets. A
page that somebody who is not signed in asks for leads here by itself. The token is an access token like any other;
the cookie only carries it.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import urllib.parse
import urllib.request
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from base.settings import Settings
from contracts.commands import Refused
from security.auth import COOKIE, Unauthenticated, public
from web.rate_limit import limited

CLIENT = "peyvand"  # public: PKCE stands in for a secret
WAY = "peyvand_way"  # the cookie of the minutes between going and coming back
WAY_SECONDS = 600
ANSWER_LIMIT = 64 << 10  # bytes
ISSUER_SECONDS = 5.0

log = structlog.get_logger(__name__)


class _Way(msgspec.Struct):
    """What must be remembered until the issuer sends them back."""

    state: str
    verifier: str
    to: str


class _Tokens(msgspec.Struct):
    access_token: str
    token_type: str
    expires_in: int = 3_600


def router() -> APIRouter:
    """The routes, to be included under the service's prefix."""
    routes = APIRouter(dependencies=[public()], include_in_schema=False)
    few = [limited("sign-in", per_minute=60)]
    routes.add_api_route("/sign-in", _go, methods=["GET"], dependencies=few)
    routes.add_api_route("/sign-in/callback", _come_back, methods=["GET"], dependencies=few)
    routes.add_api_route("/sign-out", _forget, methods=["POST"])
    return routes


async def _go(request: Request, to: Annotated[str, Query(max_length=2_000)] = "") -> Response:
    settings, prefix = _here(request)
    way = _Way(secrets.token_urlsafe(24), secrets.token_urlsafe(48), to if own_path(to) else f"{prefix}/")
    asked = {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": _callback(settings, prefix),
        "state": way.state,
        "code_challenge": challenge(way.verifier),
        "code_challenge_method": "S256",
    }
    response = RedirectResponse(f"{settings.issuer}/authorize?{urllib.parse.urlencode(asked)}", 303)
    response.set_cookie(WAY, _packed(way), WAY_SECONDS, path=f"{prefix}/sign-in", **_guarded(settings))
    return response


async def _come_back(
    request: Request,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=2_000)] = "",
    iss: Annotated[str, Query(max_length=2_000)] = "",
) -> Response:
    settings, prefix = _here(request)
    way = _unpacked(request.cookies.get(WAY, ""))
    if way is None or not hmac.compare_digest(way.state.encode(), state.encode()) or not code:
        raise Refused("sign_in_failed")
    if iss and iss != settings.issuer:  # RFC 9207: the answer of another issuer
        raise Refused("sign_in_failed")
    try:
        tokens = await asyncio.to_thread(
            _exchange, f"{settings.issuer}/token", code, way.verifier, _callback(settings, prefix)
        )
        request.app.state.verifier.verify(tokens.access_token)
    except (OSError, msgspec.MsgspecError, Unauthenticated) as e:
        log.warning("sign_in", trouble=repr(e))
        raise Refused("sign_in_failed") from e
    response = RedirectResponse(way.to, 303)
    response.set_cookie(COOKIE, tokens.access_token, tokens.expires_in, path="/", **_guarded(settings))
    response.delete_cookie(WAY, path=f"{prefix}/sign-in", **_guarded(settings))
    return response


async def _forget(request: Request) -> Response:
    settings, _ = _here(request)
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE, path="/", **_guarded(settings))
    return response


def _here(request: Request) -> tuple[Settings, str]:
    return request.app.state.settings, request.app.state.prefix


def _callback(settings: Settings, prefix: str) -> str:
    return f"{settings.public_url}{prefix}/sign-in/callback"


def _guarded(settings: Settings) -> dict[str, Any]:
    return {"secure": settings.public_url.startswith("https://"), "httponly": True, "samesite": "lax"}


def own_path(to: str) -> bool:
    """Whether this is a path of ours: not another host's address in one of its disguises."""
    return to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() and "\\" not in to


def challenge(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier (RFC 7636)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _exchange(url: str, code: str, verifier: str, callback: str) -> _Tokens:
    """The tokens for a code; a thread's work. Raises OSError, MsgspecError."""
    asked: dict[str, Any] = {
        "grant_type": "authorization_code",
        "client_id": CLIENT,
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": callback,
    }
    request = urllib.request.Request(url, urllib.parse.urlencode(asked).encode(), {"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=ISSUER_SECONDS) as answer:
        return msgspec.json.decode(answer.read(ANSWER_LIMIT), type=_Tokens)


def _packed(way: _Way) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(way)).decode().rstrip("=")


def _unpacked(cookie: str) -> _Way | None:
    try:
        way = msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)), type=_Way)
    except (ValueError, msgspec.MsgspecError):
        return None
    return way if own_path(way.to) else None
