"""The development issuer: anybody may say who they are, so that everything else can walk the real path of OIDC.

Authorization code with PKCE for people, client credentials for scripts. It starts in development only.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey

from peyvand.dev_issuer.identity import Claimant, Unfit, claimant
from peyvand.gateway.settings import DoorSettings

ALGORITHM = "ES256"
CLIENT = "peyvand"  # the one public client; PKCE stands in for its secret
TOKEN_SECONDS = 3_600
CODE_SECONDS = 60
CODES_KEPT = 1_000  # at once; the oldest go first
VERIFIER_LENGTHS = range(43, 129)  # RFC 7636
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
NEVER_KEPT = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """An error of RFC 6749, as the client is told it."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description


class Grant(msgspec.Struct, frozen=True):
    """What one authorization code stands for, until it is used or its minute is over."""

    claimant: Claimant
    redirect_uri: str
    challenge: str
    nonce: str
    openid: bool
    until: float


class Request(msgspec.Struct, frozen=True):
    """An authorization request whose client and way back are known to be ours."""

    redirect_uri: str
    state: str
    challenge: str
    nonce: str
    scope: str


class Issuer:
    """Signs what people and scripts say about themselves. Raises ValueError outside development."""

    def __init__(self, settings: DoorSettings) -> None:
        if settings.environment != "development":
            raise ValueError(
                "the development issuer gives a token to anybody who asks; it starts only where "
                "PEYVAND_ENVIRONMENT=development. In production point PEYVAND_ISSUER at the ministry's own"
            )
        self.settings = settings
        self.key = signing_key(settings.issuer_key)
        self.public = {"keys": [{**self.key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}
        _write_whole(settings.jwks, json.dumps(self.public).encode(), 0o644)
        self.codes: dict[str, Grant] = {}

    def application(self) -> web.Application:
        """To be mounted at the issuer's path."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/authorize", self._ask)
        app.router.add_post("/authorize", self._answer)
        app.router.add_post("/token", self._token)
        return app

    def token(self, who: Claimant) -> str:
        """An access token (RFC 9068) for one hour."""
        now = int(time.time())
        claims = {
            "iss": self.settings.issuer,
            "aud": self.settings.audience,
            "client_id": CLIENT,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(12),
            **msgspec.to_builtins(who),
        }
        return self._sign(claims, "at+jwt")

    def _sign(self, claims: Mapping[str, object], kind: str) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self.key.kid, "typ": kind}, dict(claims), self.key, [ALGORITHM])

    async def _configuration(self, request: web.Request) -> web.Response:
        here = self.settings.issuer
        return web.json_response(
            {
                "issuer": here,
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}/token",
                "jwks_uri": f"{here}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "client_credentials"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": ["openid"],
                "claims_supported": ["sub", "roles", "province", "county", "lead", "name"],
                "ui_locales_supported": ["fa", "en"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    async def _jwks(self, request: web.Request) -> web.Response:
        return web.json_response(self.public, content_type="application/jwk-set+json")

    # People: who are you, and back with a code

    async def _ask(self, request: web.Request) -> web.StreamResponse:
        from peyvand.dev_issuer.sign_in_page import sign_in_page

        try:
            asked = self._request(request.query)
        except OAuthError as e:
            return self._refuse(request.query, e)
        return sign_in_page(request.query, _language(request), asked.redirect_uri)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        from peyvand.dev_issuer.sign_in_page import sign_in_page

        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            asked = self._request(form)
        except OAuthError as e:
            return self._refuse(form, e)
        try:
            who = claimant(form)
        except Unfit as e:
            return sign_in_page(form, _language(request), asked.redirect_uri, fault=e)
        code = secrets.token_urlsafe(32)
        self._forget(time.monotonic())
        self.codes[code] = Grant(
            who,
            asked.redirect_uri,
            asked.challenge,
            asked.nonce,
            "openid" in asked.scope.split(),
            time.monotonic() + CODE_SECONDS,
        )
        return self._back(asked.redirect_uri, code=code, state=asked.state)

    def _request(self, given: Mapping[str, str]) -> Request:
        """The request, checked. Raises OAuthError."""
        self._way_back(given)
        if given.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        challenge = given.get("code_challenge", "")
        if given.get("code_challenge_method") != "S256" or len(challenge) != 43 or not UNRESERVED.issuperset(challenge):
            raise OAuthError("invalid_request", "PKCE is required: code_challenge with code_challenge_method S256")
        return Request(
            given["redirect_uri"],
            given.get("state", ""),
            challenge,
            given.get("nonce", ""),
            given.get("scope", ""),
        )

    def _way_back(self, given: Mapping[str, str]) -> str:
        """The address to send somebody back to: on the public address only. Raises OAuthError."""
        redirect_uri, home = given.get("redirect_uri", ""), urlsplit(self.settings.public_url)
        if given.get("client_id") != CLIENT:
            raise OAuthError("invalid_client", f"client_id must be {CLIENT}")
        if not redirect_uri.isascii() or not redirect_uri.isprintable() or "\\" in redirect_uri:
            raise OAuthError("invalid_request", "redirect_uri must be a plain address")
        there = urlsplit(redirect_uri)
        if (there.scheme, there.netloc) != (home.scheme, home.netloc) or there.fragment or not there.path:
            raise OAuthError("invalid_request", f"redirect_uri must be on {self.settings.public_url}")
        return redirect_uri

    def _refuse(self, given: Mapping[str, str], e: OAuthError) -> web.StreamResponse:
        """Back to the client with the error, unless the way back itself is what is wrong."""
        try:
            way_back = self._way_back(given)
        except OAuthError as unknown:
            return web.Response(status=400, text=f"{unknown.code}: {unknown.description}\n", headers=NEVER_KEPT)
        return self._back(way_back, error=e.code, error_description=e.description, state=given.get("state", ""))

    def _back(self, redirect_uri: str, **parameters: str) -> web.Response:
        parts = urlsplit(redirect_uri)
        said = urlencode({**{k: v for k, v in parameters.items() if v}, "iss": self.settings.issuer})
        location = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, said)))))
        return web.Response(status=303, headers={"Location": location, **NEVER_KEPT})

    # Tokens

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        try:
            match form.get("grant_type"):
                case "authorization_code":
                    answer = self._of_code(form)
                case "client_credentials":
                    answer = {"access_token": self.token(claimant(form))}
                case _:
                    raise OAuthError("unsupported_grant_type", "authorization_code or client_credentials")
        except Unfit as e:
            return _oauth_error(OAuthError("invalid_request", e.english))
        except OAuthError as e:
            return _oauth_error(e)
        return web.json_response({**answer, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}, headers=NEVER_KEPT)

    def _of_code(self, form: Mapping[str, str]) -> dict[str, str]:
        grant = self.codes.pop(form.get("code", ""), None)  # whatever follows, a code is used once
        verifier = form.get("code_verifier", "")
        if grant is None or grant.until < time.monotonic():
            raise OAuthError("invalid_grant", "the code is unknown, used or older than a minute; sign in again")
        if form.get("client_id") != CLIENT:
            raise OAuthError("invalid_client", f"client_id must be {CLIENT}")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not the one that the code was made for")
        if len(verifier) not in VERIFIER_LENGTHS or not UNRESERVED.issuperset(verifier):
            raise OAuthError("invalid_grant", "code_verifier must have 43 to 128 characters of RFC 7636")
        if not hmac.compare_digest(challenge_of(verifier), grant.challenge):
            raise OAuthError("invalid_grant", "code_verifier does not fit the code_challenge")
        answer = {"access_token": self.token(grant.claimant)}
        if grant.openid:
            answer["id_token"] = self._id_token(grant)
        return answer

    def _id_token(self, grant: Grant) -> str:
        now = int(time.time())
        claims = {"iss": self.settings.issuer, "aud": CLIENT, "sub": grant.claimant.sub, "iat": now}
        nonce = {"nonce": grant.nonce} if grant.nonce else {}
        return self._sign({**claims, "exp": now + TOKEN_SECONDS, "name": grant.claimant.name, **nonce}, "JWT")

    def _forget(self, now: float) -> None:
        over = [code for code, grant in self.codes.items() if grant.until < now]
        for code in over or list(self.codes)[: max(0, len(self.codes) - CODES_KEPT + 1)]:
            del self.codes[code]


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def signing_key(path: Path) -> ECKey:
    """The key kept in this file; made once, readable by its owner only."""
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        made = ECKey.generate_key("P-256", auto_kid=True)
        _write_whole(path, json.dumps(made.as_dict(private=True)).encode(), 0o600)
        kept = path.read_bytes()
    key = ECKey.import_key(json.loads(kept))
    key.ensure_kid()
    return key


def _write_whole(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    new.replace(path)


def _language(request: web.Request) -> str:
    asked = request.query.get("lang") or request.query.get("ui_locales") or request.cookies.get("peyvand_lang")
    return "en" if asked == "en" else "fa"


def _oauth_error(e: OAuthError) -> web.Response:
    return web.json_response(
        {"error": e.code, "error_description": e.description},
        status=401 if e.code == "invalid_client" else 400,
        headers=NEVER_KEPT,
    )
