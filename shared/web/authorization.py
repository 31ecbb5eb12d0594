"""Policies: each route declares in its signature who may use it; a route without a policy does not start.

    principal: Annotated[Principal, allow("registrar", "manager")]     one of these roles
    principal: Annotated[Principal, public()]                          open; no token is read

The scope of the principal restricts what the route returns: see `security.scopes`.
"""

from typing import Any

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from contracts.codes import ROLES
from contracts.commands import Refused
from security.auth import COOKIE, PUBLIC, Principal, Unauthenticated, Verifier, anonymous


class AccessPolicy:
    """The roles that may use a route; `web.app.policies` lists them."""

    def __init__(self, roles: frozenset[str]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        """Return the principal if the policy admits them. Raise Unauthenticated, Refused: forbidden."""
        principal = anonymous() if PUBLIC in self.roles else signed_in(request)
        if not principal.roles & self.roles:
            raise Refused("forbidden")
        request.scope["peyvand.authorized"] = principal
        return principal


def allow(*roles: str) -> Any:
    """Return a dependency that admits principals with one of these roles and gives the Principal."""
    if unknown := set(roles) - set(ROLES):
        raise ValueError(f"unknown role: {', '.join(sorted(unknown))}")
    if not roles:
        raise ValueError("a policy names the roles it allows; use public() for open routes")
    return Depends(AccessPolicy(frozenset(roles)))


def public() -> Any:
    """Return a dependency that declares a route open; it gives `anonymous()` whatever token the request carries."""
    return Depends(AccessPolicy(frozenset({PUBLIC})))


async def authorized_principal(request: Request) -> Principal:
    """Return the principal that the policy of the route admits, also if it has not been checked yet.

    FastAPI resolves some dependencies before the policy; those call this first. Raise what the policy raises.
    """
    principal: Principal | None = request.scope.get("peyvand.authorized")
    if principal is None:
        for policy in request.app.policies_of(request.scope["endpoint"]):
            principal = await policy(request)
    if principal is None:
        raise RuntimeError(f"{request.scope['path']} has no policy")
    return principal


def signed_in(request: HTTPConnection) -> Principal:
    """Return the principal of the request's token, verified once per request. Raise Unauthenticated."""
    principal: Principal | None = request.scope.get("peyvand.principal")
    if principal is None:
        verifier: Verifier = request.app.state.verifier
        principal = request.scope["peyvand.principal"] = verifier.verify(_token(request))
    return principal


def _token(request: HTTPConnection) -> str:
    if authorization := request.headers.getlist("authorization"):
        scheme, _, token = authorization[0].partition(" ")
        if len(authorization) > 1:
            raise Unauthenticated("two Authorization headers")
        if scheme.lower() != "bearer":
            raise Unauthenticated("not a bearer token")
        return token.strip()
    if cookie := request.cookies.get(COOKIE):
        return cookie
    raise Unauthenticated("no token")
