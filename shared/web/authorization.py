"""Policies: each route declares which action of the permission table it is; without one it does not start.

    principal: Annotated[Principal, allow("decide_screening")]         who may act; see `security.permissions`
    principal: Annotated[Principal, allow("decide_screening", "R")]    who may read
    principal: Annotated[Principal, public()]                          open; no token is read

The route receives the principal in those roles only that the action grants. The scope of the principal restricts what
the route returns: see `security.scopes`.
"""

from typing import Any

from fastapi import Depends
from msgspec.structs import replace
from starlette.requests import HTTPConnection, Request

from contracts.commands import Refused
from security.auth import COOKIE, PUBLIC, Principal, Unauthenticated, Verifier, anonymous
from security.permissions import roles_for


class AccessPolicy:
    """The action that a route is, and the access that it needs; `web.app.policies` lists them."""

    def __init__(self, action: str, access: str = "") -> None:
        """Raise ValueError if the permission table does not have them."""
        self.action, self.access = action, access
        self.roles = frozenset({PUBLIC}) if action == PUBLIC else roles_for(action, access)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccessPolicy) and (self.action, self.access) == (other.action, other.access)

    def __hash__(self) -> int:
        return hash((self.action, self.access))

    async def __call__(self, request: Request) -> Principal:
        """Return the principal if the policy admits them. Raise Unauthenticated, Refused: forbidden."""
        principal = anonymous() if self.action == PUBLIC else signed_in(request)
        if not (granting := principal.roles & self.roles):
            request.scope["peyvand.refused"] = principal, self.roles  # the error page names both
            raise Refused("forbidden")
        if granting != principal.roles:
            principal = replace(principal, roles=granting)
        request.scope["peyvand.authorized"] = principal
        return principal


def allow(action: str, access: str = "W") -> Any:
    """Return a dependency that admits the roles of an action (W act, R read, M masked, A counts) as a Principal."""
    return Depends(AccessPolicy(action, access))


def public() -> Any:
    """Return a dependency that declares a route open; it gives `anonymous()` whatever token the request carries."""
    return Depends(AccessPolicy(PUBLIC))


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
