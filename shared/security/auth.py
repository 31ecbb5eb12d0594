"""Who asks, and what they may: verified access tokens, declared policies, scopes.

A route declares its policy in its signature, and a route without one does not start:

    principal: Annotated[Principal, allow("registrar", "manager")]     one of these roles, in the principal's scope
    principal: Annotated[Principal, public()]                          anybody; nobody's token is looked at

Where data is read, the scope goes into the query (`within(principal.scope)`) or is asked of the one
record (`visible(record.indexed["scope"], principal)`): what is foreign answers exactly as what is missing.
"""

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from contracts.commands import Refused

if TYPE_CHECKING:
    from joserfc.jwk import Key

COOKIE = "peyvand_token"
TOKEN_TYPE = "at+jwt"  # RFC 9068: an ID token is not an access token
TOKEN_LIMIT = 8 << 10  # bytes
LEEWAY = 5.0  # seconds that the issuer's clock may differ from ours
VERIFIED_KEPT = 10_000  # tokens
HEADERS_KNOWN = {"alg", "kid", "typ"}  # any other asks us to trust something else: jku, jwk, x5u, crit ...

# From the widest to the narrowest; an actor is named by the first that they have.
ROLES = (
    "ministry_admin",
    "council",
    "manager",
    "labour_expert",
    "screener",
    "registrar",
    "county_operator",
    "lead",
    "analyst",
    "auditor",
    "operator",
    "service",
    "applicant",
)
OF_A_PROVINCE = frozenset({"registrar", "screener", "manager", "labour_expert", "county_operator"})
PUBLIC = "public"


class Principal(msgspec.Struct, frozen=True):
    """Whoever asks: a pseudonymous id, roles, and the part of the country they act in."""

    id: str
    roles: frozenset[str] = frozenset()
    province: str = ""
    county: str = ""
    lead: str = ""
    name: str = ""  # shown to themselves; never stored, logged or told

    @property
    def scope(self) -> str:
        """ "" for the nation, `IR-20` for a province, `IR-20/2001` for a county."""
        return f"{self.province}/{self.county}" if self.county else self.province

    @property
    def actor(self) -> str:
        """How events name them: role and id."""
        role = next((role for role in ROLES if role in self.roles), "")
        return f"{role}:{self.id}" if role else f"{self.id}:"


def anonymous() -> Principal:
    """The principal of open routes."""
    return Principal("web", frozenset({PUBLIC}))


def is_visible(scope: str, principal: Principal) -> bool:
    """Whether what lies in `scope` may be seen by this principal; where not, answer as if it were missing."""
    own = principal.scope
    return not own or scope == own or scope.startswith(own + "/")


class Unauthenticated(Refused):
    """No token, or none that holds; which of the two, and why, is nobody's business."""

    def __init__(self, why: str = "") -> None:
        super().__init__("unauthenticated")
        self.why = why  # for our log, never for the answer


class Verifier:
    """Verifies access tokens against the issuer's pinned keys. Uses machine time, never programme time."""

    def __init__(self, issuer: str, audience: str, jwks_path: Path, *, now: Callable[[], float] = time.time) -> None:
        self.issuer, self.audience, self.jwks_path, self.now = issuer, audience, jwks_path, now
        self.keys: dict[str, tuple[Key, list[str]]] = {}  # kid -> key and the algorithms that suit it
        self.read_as = (0, 0)  # mtime and size of the key file when it was read
        self.looked_at = 0.0
        self.verified: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """The principal that this token names. Raises Unauthenticated."""
        self._look_at_keys()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        if known := self.verified.get(digest):
            principal, expires = known
            if self.now() < expires:
                return principal
            del self.verified[digest]
            raise Unauthenticated("expired")
        principal, expires = self._verified(token)
        self.verified[digest] = principal, expires
        if len(self.verified) > VERIFIED_KEPT:
            self.verified.popitem(last=False)
        return principal

    def _verified(self, token: str) -> tuple[Principal, float]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jws import extract_compact

        if len(token) > TOKEN_LIMIT or not token.isascii():
            raise Unauthenticated("oversize or not ASCII")
        try:
            header: dict[str, Any] = dict(extract_compact(token.encode()).headers())
            if set(header) - HEADERS_KNOWN:
                raise Unauthenticated("header names more than alg, kid, typ")
            if str(header.get("typ", "")).lower().removeprefix("application/") != TOKEN_TYPE:
                raise Unauthenticated("typ")
            key, algorithms = self.keys[header["kid"]]
            claims = jwt.decode(token, key, algorithms=algorithms).claims
        except Unauthenticated:
            raise
        except (JoseError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
            raise Unauthenticated(repr(e)) from e
        return self._claimed(claims)

    def _claimed(self, claims: dict[str, Any]) -> tuple[Principal, float]:
        try:
            told = msgspec.convert(claims, _Claims)
        except msgspec.ValidationError as e:
            raise Unauthenticated(str(e)) from e
        now, audiences = self.now(), [told.aud] if isinstance(told.aud, str) else told.aud
        roles = frozenset(told.roles) & set(ROLES)
        wrong = {
            "iss": told.iss != self.issuer,
            "aud": self.audience not in audiences,
            "exp": told.exp <= now,
            "nbf or iat in the future": max(told.nbf, told.iat) > now + LEEWAY,
            "sub": not told.sub.isprintable(),
            "a provincial role without a province": bool(roles & OF_A_PROVINCE) and not told.province,
            "a county role without a county": "county_operator" in roles and not told.county,
            "a county without a province": bool(told.county) and not told.province,
            "a lead role without a lead": "lead" in roles and not told.lead,
        }
        if any(wrong.values()):
            raise Unauthenticated(", ".join(why for why, so in wrong.items() if so))
        return Principal(told.sub, roles, told.province, told.county, told.lead, told.name), told.exp

    def _look_at_keys(self) -> None:
        """Reads the pinned keys when their file has changed, at most once a second; whom they verified is forgotten."""
        if (now := time.monotonic()) < self.looked_at + 1 and self.keys:
            return
        self.looked_at = now
        try:
            stat = self.jwks_path.stat()
            if (read_as := (stat.st_mtime_ns, stat.st_size)) == self.read_as:
                return
            self.keys, self.read_as = _keys(json.loads(self.jwks_path.read_bytes())), read_as
        except (OSError, ValueError) as e:
            if not self.keys:
                raise Unauthenticated(f"no pinned keys: {e}") from e
            return  # keep what we have: the file is being replaced
        self.verified.clear()


class _Claims(msgspec.Struct):
    iss: str
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    aud: str | list[str]
    exp: float
    iat: float = 0
    nbf: float = 0
    roles: list[str] = []
    province: str = ""
    county: str = ""
    lead: str = ""
    name: str = ""


def _keys(jwks: dict[str, Any]) -> dict[str, tuple["Key", list[str]]]:
    """Public signature keys by kid, each with the algorithms of the allow-list that suit it: the token chooses none."""
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kinds: dict[tuple[str, str], tuple[Any, list[str]]] = {
        ("OKP", "Ed25519"): (OKPKey, ["EdDSA", "Ed25519"]),
        ("EC", "P-256"): (ECKey, ["ES256"]),
        ("RSA", ""): (RSAKey, ["RS256"]),
    }
    keys: dict[str, tuple[Key, list[str]]] = {}
    for each in jwks.get("keys", ()):
        kind = kinds.get((each.get("kty", ""), each.get("crv", "")))
        if kind and each.get("kid") and each.get("use", "sig") == "sig":
            keys[each["kid"]] = kind[0].import_key(each), kind[1]
    return keys


# Policies, as dependencies


class Policy:
    """Who may use a route; `web.policies` reads it, and a route without one does not start."""

    def __init__(self, roles: frozenset[str]) -> None:
        self.roles = roles

    async def __call__(self, request: Request) -> Principal:
        """The principal, if they may. Raises Unauthenticated, Refused("forbidden")."""
        principal = anonymous() if PUBLIC in self.roles else signed_in(request)
        if not principal.roles & self.roles:
            raise Refused("forbidden")
        request.scope["peyvand.acting"] = principal
        return principal


def allow(*roles: str) -> Any:
    """A dependency that declares and checks a route's policy: the principal has one of these roles."""
    if unknown := set(roles) - set(ROLES):
        raise ValueError(f"no such role: {', '.join(sorted(unknown))}")
    if not roles:
        raise ValueError("a policy names the roles it allows; public() is for open routes")
    return Depends(Policy(frozenset(roles)))


def public() -> Any:
    """A dependency that declares a route open to anybody; it answers `anybody()` whatever token came along."""
    return Depends(Policy(frozenset({PUBLIC})))


async def authorized_principal(request: Request) -> Principal:
    """Whoever the route's policy let in, also for a dependency that is asked before the policy itself."""
    known: Principal | None = request.scope.get("peyvand.acting")
    if known is None:
        for policy in request.app.policies_of(request.scope["endpoint"]):
            known = await policy(request)
    if known is None:
        raise RuntimeError(f"{request.scope['path']} has no policy")
    return known


def signed_in(request: HTTPConnection) -> Principal:
    """Whoever's verified token came with this request, once per request. Raises Unauthenticated."""
    known: Principal | None = request.scope.get("peyvand.principal")
    if known is None:
        verifier: Verifier = request.app.state.verifier
        known = request.scope["peyvand.principal"] = verifier.verify(_token(request))
    return known


def _token(request: HTTPConnection) -> str:
    if authorization := request.headers.get("authorization"):
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("not a bearer token")
        return token.strip()
    if cookie := request.cookies.get(COOKIE):
        return cookie
    raise Unauthenticated("no token")
