"""Authentication: verified access tokens, and the principals that they name. Knows no web framework.

Routes declare who may use them in `web.authorization`; `security.scopes` restricts what a principal sees.
"""

import hashlib
import json
import re
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from contracts.codes import ROLES
from contracts.commands import Refused
from contracts.envelope import is_valid
from security.permissions import bound_to
from security.revocation import TOKEN_SECONDS, Revocations

if TYPE_CHECKING:
    from joserfc.jwk import Key

COOKIE = "peyvand_token"
TOKEN_TYPE = "at+jwt"  # RFC 9068: an ID token is not an access token
TOKEN_LIMIT = 8 << 10  # bytes
LEEWAY = 5.0  # seconds by which the clock of the issuer may be ahead
VERIFIED_KEPT = 10_000  # tokens; beyond that the one verified first is verified again
KNOWN_HEADERS = {"alg", "kid", "typ"}  # any other makes us trust another key or rule: jku, jwk, x5u, crit ...

_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # what neither a page nor a database can hold
PUBLIC = "public"  # the role of the principal of open routes
CONSUMER = "consumer"  # the role of another service of the platform, in tokens for one service only


class Principal(msgspec.Struct, frozen=True):
    """Who sends a request: a pseudonymous id, roles, and the scope they act in."""

    id: str
    roles: frozenset[str] = frozenset()
    province: str = ""
    county: str = ""
    lead: str = ""
    name: str = ""  # shown to themselves only; never stored, logged or emitted

    @property
    def scope(self) -> str:
        """Return "" for the whole country, `IR-20` for a province, `IR-20/2001` for a county."""
        return f"{self.province}/{self.county}" if self.county else self.province

    @property
    def actor(self) -> str:
        """Return how events name the principal: `role:id`."""
        role = next((role for role in ROLES if role in self.roles), "")
        return f"{role}:{self.id}" if role else f"{self.id}:"


def own_audience(audience: str, service: str) -> str:
    """Return the `aud` of tokens that one service of the platform uses at another, and nowhere else."""
    return f"{audience}-{service}"


def anonymous() -> Principal:
    """Return the principal of open routes."""
    return Principal("web", frozenset({PUBLIC}))


class Unauthenticated(Refused):
    """There is no valid token. The response does not disclose the reason."""

    def __init__(self, why: str = "") -> None:
        super().__init__("unauthenticated")
        self.why = why  # for the log, never for the response


class Verifier:
    """Verify access tokens against the pinned keys of the issuer, in machine time."""

    def __init__(
        self,
        issuer: str,
        audience: str,
        jwks_path: Path,
        *,
        service: str = "",
        is_area: Callable[[str, str], bool] = lambda province, county: True,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`is_area` returns whether the programme has this province, and this county in it."""
        self.issuer, self.audience, self.jwks_path, self.is_area, self.now = issuer, audience, jwks_path, is_area, now
        self.own_audience = own_audience(audience, service)
        self.keys: dict[str, tuple[Key, list[str]]] = {}  # kid -> key and the algorithms that suit it
        self.file_version = (0, 0)  # mtime and size of the key file when it was read
        self.checked_at = 0.0
        self.verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self.revocations = Revocations()

    def verify(self, token: str) -> Principal:
        """Return the principal that this token names. Raise Unauthenticated."""
        self._reload_keys()
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = self.verified.get(digest) or self._verify(token)
        if found.expires <= self.now() or not found.ids.isdisjoint(self.revocations.ids):
            self.verified.pop(digest, None)
            raise Unauthenticated("expired or revoked")
        self.verified[digest] = found
        if len(self.verified) > VERIFIED_KEPT:
            self.verified.popitem(last=False)
        return found.principal

    def _verify(self, token: str) -> "_Verified":
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jws import extract_compact

        if len(token) > TOKEN_LIMIT or not token.isascii():
            raise Unauthenticated("oversize or not ASCII")
        try:
            header: dict[str, Any] = dict(extract_compact(token.encode()).headers())
            if set(header) - KNOWN_HEADERS:
                raise Unauthenticated("header names more than alg, kid, typ")
            if str(header.get("typ", "")).lower().removeprefix("application/") != TOKEN_TYPE:
                raise Unauthenticated("typ")
            key, algorithms = self.keys[header["kid"]]
            jwt.decode(token, key, algorithms=algorithms)
            claims = json.loads(
                urlsafe_b64decode(f"{token.split('.')[1]}=="), object_pairs_hook=_unique, parse_constant=_no_number
            )
        except Unauthenticated:
            raise
        except (JoseError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
            raise Unauthenticated("unreadable, or signed by no pinned key") from e
        return self._principal(claims)

    def _principal(self, claims: dict[str, Any]) -> "_Verified":
        try:
            checked = msgspec.convert(claims, _Claims)
        except (msgspec.ValidationError, UnicodeEncodeError) as e:
            raise Unauthenticated("claims") from e
        times = (checked.exp, checked.nbf, checked.iat)
        now, audiences = self.now(), [checked.aud] if isinstance(checked.aud, str) else checked.aud
        for_service_only = self.audience not in audiences and self.own_audience in audiences
        known = {CONSUMER} if for_service_only else ROLES.keys() - {CONSUMER}
        roles = frozenset(checked.roles) & known
        faults = {
            "iss": checked.iss != self.issuer,
            "aud": self.audience not in audiences and not for_service_only,
            "exp, nbf or iat without an end": not all(map(isfinite, times)),
            "exp": checked.exp <= now,
            "nbf or iat in the future": max(checked.nbf, checked.iat) > now + LEEWAY,
            "valid for too long": checked.exp - checked.iat > TOKEN_SECONDS + LEEWAY,
            "sub": not is_valid("actor", f"role:{checked.sub}"),  # events name it
            "a role without the area or lead that it is bound to": not all(
                getattr(checked, claim) for claim in bound_to(roles)
            ),
            "a control character or half a surrogate pair": any(
                _NO_TEXT.search(each)
                for each in (checked.province, checked.county, checked.lead, checked.name, *checked.roles)
            ),
            "a county without a province": bool(checked.county) and not checked.province,
            "an unknown province or county": bool(checked.province)
            and not self.is_area(checked.province, checked.county),
        }
        if any(faults.values()):
            raise Unauthenticated(", ".join(fault for fault, found in faults.items() if found))
        principal = Principal(checked.sub, roles, checked.province, checked.county, checked.lead, checked.name)
        return _Verified(principal, checked.exp, frozenset({checked.sid, checked.jti} - {""}))

    def _reload_keys(self) -> None:
        """Read the pinned keys if their file has changed, at most once a second; then no cached token is valid."""
        if (now := time.monotonic()) < self.checked_at + 1 and self.keys:
            return
        self.checked_at = now
        try:
            stat = self.jwks_path.stat()
            if (file_version := (stat.st_mtime_ns, stat.st_size)) == self.file_version:
                return
            self.keys, self.file_version = _keys(json.loads(self.jwks_path.read_bytes())), file_version
        except (OSError, ValueError) as e:
            if not self.keys:
                raise Unauthenticated("no pinned keys") from e
            return  # the file is being replaced: keep the present keys
        self.verified.clear()


class _Verified(msgspec.Struct, frozen=True):
    """What is kept about a verified token; `ids` are those of its session and its own."""

    principal: Principal
    expires: float
    ids: frozenset[str]


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
    sid: str = ""
    jti: str = ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object. Raise ValueError for a name that stands twice: readers would disagree about its value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a claim twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _keys(jwks: dict[str, Any]) -> dict[str, tuple["Key", list[str]]]:
    """Return the public signature keys by kid, each with its allowed algorithms: a token cannot choose another."""
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
