"""The development issuer: OpenID Connect without authentication. It starts in development only.

Authorization code with PKCE and refresh tokens for people, client credentials for scripts. `/revoke` ends a session
(RFC 7009); `/revoked` lists the sessions that have ended, which the services poll.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from pydantic import SecretStr

from base.forms import fields_of, is_form
from contracts.commands import Refused
from peyvand.dev_issuer.identity import DevIdentity, dev_identity
from peyvand.dev_issuer.sessions import TOKEN_SECONDS, Session, Sessions, new_session_id
from peyvand.gateway.settings import GatewaySettings
from programme.messages import message_text
from security.auth import CONSUMER, own_audience

ALGORITHM = "ES256"
CLIENT = "peyvand"  # the one public client; it has PKCE instead of a secret
CODE_SECONDS = 60
MAX_CODES = 1_000  # unused ones at a time; the oldest are dropped first
VERIFIER_LENGTHS = range(43, 129)  # RFC 7636
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class OAuthError(Exception):
    """An error of RFC 6749."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description


class Grant(msgspec.Struct, frozen=True):
    """The grant of one authorization code, until it is used or expires."""

    identity: DevIdentity
    redirect_uri: str
    challenge: str
    nonce: str
    openid: bool
    expires: float


class AuthorizationRequest(msgspec.Struct, frozen=True):
    """An authorization request with a valid client and redirect URI."""

    redirect_uri: str
    state: str
    challenge: str
    nonce: str
    scope: str


class Issuer:
    """Issues tokens with the identity that was asked for."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Create or read the signing key. Raise ValueError outside development."""
        if settings.environment != "development":
            raise ValueError(
                "the development issuer gives a token to everyone; it starts only with "
                "PEYVAND_ENVIRONMENT=development. In production set PEYVAND_ISSUER to the ministry's issuer"
            )
        self.settings = settings
        self.key = signing_key(settings.issuer_key)
        self.public = {"keys": [{**self.key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}
        _replace_file(settings.jwks, json.dumps(self.public).encode(), 0o644)
        self.codes: dict[str, Grant] = {}
        self.sessions = Sessions()

    def application(self) -> web.Application:
        """Return the application to mount at the issuer's path."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/authorize", self._show_form)
        app.router.add_post("/authorize", self._submit_form)
        app.router.add_post("/token", self._token)
        app.router.add_post("/revoke", self._revoke)
        app.router.add_get("/revoked", self._revoked)
        return app

    def token(self, identity: DevIdentity, session: str = "", audience: str = "") -> str:
        """Return an access token (RFC 9068) of a session, by default of one without a refresh token."""
        now = int(time.time())
        claims = {
            "iss": self.settings.issuer,
            "aud": audience or self.settings.audience,
            "client_id": CLIENT,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(12),
            "sid": session or new_session_id(),
            **msgspec.to_builtins(identity),
        }
        return self._sign(claims, "at+jwt")

    def _sign(self, claims: Mapping[str, object], kind: str) -> str:
        return jwt.encode({"alg": ALGORITHM, "kid": self.key.kid, "typ": kind}, dict(claims), self.key, [ALGORITHM])

    async def _configuration(self, request: web.Request) -> web.Response:
        issuer = self.settings.issuer
        return web.json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "revocation_endpoint": f"{issuer}/revoke",
                "jwks_uri": f"{issuer}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
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

    # Authorization code

    async def _show_form(self, request: web.Request) -> web.StreamResponse:
        from peyvand.dev_issuer.sign_in_page import sign_in_page

        try:
            authorization = self._request(request.query)
        except OAuthError as e:
            return self._refuse(request.query, e)
        return sign_in_page(request, request.query, authorization.redirect_uri)

    async def _submit_form(self, request: web.Request) -> web.StreamResponse:
        from peyvand.dev_issuer.sign_in_page import sign_in_page

        form = await _form(request)
        try:
            authorization = self._request(form)
        except OAuthError as e:
            return self._refuse(form, e)
        try:
            identity = dev_identity(form)
        except Refused as e:
            return sign_in_page(request, form, authorization.redirect_uri, e)
        code = secrets.token_urlsafe(32)
        self._drop_expired(time.monotonic())
        self.codes[code] = Grant(
            identity,
            authorization.redirect_uri,
            authorization.challenge,
            authorization.nonce,
            "openid" in authorization.scope.split(),
            time.monotonic() + CODE_SECONDS,
        )
        return self._redirect(authorization.redirect_uri, code=code, state=authorization.state)

    def _request(self, given: Mapping[str, str]) -> AuthorizationRequest:
        """Return the validated request. Raise OAuthError."""
        self._redirect_uri(given)
        if given.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "response_type must be code")
        challenge = given.get("code_challenge", "")
        if given.get("code_challenge_method") != "S256" or len(challenge) != 43 or not UNRESERVED.issuperset(challenge):
            raise OAuthError("invalid_request", "PKCE is required: code_challenge with code_challenge_method S256")
        return AuthorizationRequest(
            given["redirect_uri"],
            given.get("state", ""),
            challenge,
            given.get("nonce", ""),
            given.get("scope", ""),
        )

    def _redirect_uri(self, given: Mapping[str, str]) -> str:
        """Return the redirect URI, which must be on the public address. Raise OAuthError."""
        redirect_uri, public = given.get("redirect_uri", ""), urlsplit(self.settings.public_url)
        if given.get("client_id") != CLIENT:
            raise OAuthError("invalid_client", f"client_id must be {CLIENT}")
        if not redirect_uri.isascii() or not redirect_uri.isprintable() or "\\" in redirect_uri:
            raise OAuthError("invalid_request", "redirect_uri must be a plain address")
        target = urlsplit(redirect_uri)
        if (target.scheme, target.netloc) != (public.scheme, public.netloc) or target.fragment or not target.path:
            raise OAuthError("invalid_request", f"redirect_uri must be on {self.settings.public_url}")
        return redirect_uri

    def _refuse(self, given: Mapping[str, str], e: OAuthError) -> web.StreamResponse:
        """Redirect to the client with the error, unless the redirect URI itself is invalid."""
        try:
            redirect_uri = self._redirect_uri(given)
        except OAuthError as invalid:
            return web.Response(status=400, text=f"{invalid.code}: {invalid.description}\n", headers=NO_STORE)
        return self._redirect(redirect_uri, error=e.code, error_description=e.description, state=given.get("state", ""))

    def _redirect(self, redirect_uri: str, **parameters: str) -> web.Response:
        parts = urlsplit(redirect_uri)
        query = urlencode({**{k: v for k, v in parameters.items() if v}, "iss": self.settings.issuer})
        location = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, query)))))
        return web.Response(status=303, headers={"Location": location, **NO_STORE})

    # Tokens

    async def _token(self, request: web.Request) -> web.Response:
        form = await _form(request)
        try:
            match form.get("grant_type"):
                case "authorization_code":
                    tokens = self._redeem_code(form)
                case "refresh_token":
                    tokens = self._refresh(form)
                case "client_credentials" if "audience" in form:
                    tokens = {"access_token": self._service_token(form)}
                case "client_credentials":
                    tokens = {"access_token": self.token(dev_identity(form))}
                case _:
                    raise OAuthError(
                        "unsupported_grant_type", "use authorization_code, refresh_token, client_credentials"
                    )
        except Refused as e:
            return _oauth_error(OAuthError("invalid_request", f"{e.field}: {message_text(e.code, 'en', **e.details)}"))
        except OAuthError as e:
            return _oauth_error(e)
        return web.json_response({**tokens, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}, headers=NO_STORE)

    def _service_token(self, form: Mapping[str, str]) -> str:
        """Return a token with which a service asks another one, and no third. Raise OAuthError."""
        client, given = form.get("client_id", ""), form.get("client_secret", "")
        secret = self.settings.clients.get(client, SecretStr("")).get_secret_value()
        if not secret or not hmac.compare_digest(secret.encode(), given.encode()):
            raise OAuthError("invalid_client", "client_id and client_secret must be those of a service")
        if form["audience"] not in {own_audience(self.settings.audience, each) for each in self.settings.clients}:
            raise OAuthError("invalid_target", "audience must be that of one service")
        return self.token(DevIdentity(client, (CONSUMER,)), audience=form["audience"])

    def _redeem_code(self, form: Mapping[str, str]) -> dict[str, str]:
        grant = self.codes.pop(form.get("code", ""), None)  # a code is used once, whatever the outcome
        verifier = form.get("code_verifier", "")
        if grant is None or grant.expires < time.monotonic():
            raise OAuthError("invalid_grant", "the code is unknown, used or older than a minute; sign in again")
        if form.get("client_id") != CLIENT:
            raise OAuthError("invalid_client", f"client_id must be {CLIENT}")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not the one that the code was issued for")
        if len(verifier) not in VERIFIER_LENGTHS or not UNRESERVED.issuperset(verifier):
            raise OAuthError("invalid_grant", "code_verifier must have 43 to 128 characters of RFC 7636")
        if not hmac.compare_digest(challenge_of(verifier), grant.challenge):
            raise OAuthError("invalid_grant", "code_verifier does not match the code_challenge")
        tokens = self._tokens(self.sessions.start(grant.identity))
        if grant.openid:
            tokens["id_token"] = self._id_token(grant)
        return tokens

    def _refresh(self, form: Mapping[str, str]) -> dict[str, str]:
        if form.get("client_id") != CLIENT:
            raise OAuthError("invalid_client", f"client_id must be {CLIENT}")
        session = self.sessions.refresh(form.get("refresh_token", ""))
        if session is None:
            raise OAuthError("invalid_grant", "the session has ended; sign in again")
        return self._tokens(session)

    def _tokens(self, session: Session) -> dict[str, str]:
        return {"access_token": self.token(session.identity, session.id), "refresh_token": session.token}

    async def _revoke(self, request: web.Request) -> web.Response:
        """End the session of a refresh or access token; an unknown token is none (RFC 7009)."""
        form = await _form(request)
        if form.get("client_id") != CLIENT:
            return _oauth_error(OAuthError("invalid_client", f"client_id must be {CLIENT}"))
        token = str(form.get("token", ""))
        if session := self.sessions.find(token):
            self.sessions.revoke(session.id)
        else:
            with suppress(JoseError, KeyError, ValueError):
                self.sessions.revoke(str(jwt.decode(token, self.key, [ALGORITHM]).claims["sid"]))
        return web.Response(headers=NO_STORE)

    async def _revoked(self, request: web.Request) -> web.Response:
        body = json.dumps({"revoked": self.sessions.revoked()}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type="application/json", headers={"ETag": etag})

    def _id_token(self, grant: Grant) -> str:
        now = int(time.time())
        claims = {"iss": self.settings.issuer, "aud": CLIENT, "sub": grant.identity.sub, "iat": now}
        nonce = {"nonce": grant.nonce} if grant.nonce else {}
        return self._sign({**claims, "exp": now + TOKEN_SECONDS, "name": grant.identity.name, **nonce}, "JWT")

    def _drop_expired(self, now: float) -> None:
        expired = [code for code, grant in self.codes.items() if grant.expires < now]
        for code in expired or list(self.codes)[: max(0, len(self.codes) - MAX_CODES + 1)]:
            del self.codes[code]


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def signing_key(path: Path) -> ECKey:
    """Return the key in this file; create it the first time, readable by its owner only."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        created = ECKey.generate_key("P-256", auto_kid=True)
        _replace_file(path, json.dumps(created.as_dict(private=True)).encode(), 0o600)
        content = path.read_bytes()
    key = ECKey.import_key(json.loads(content))
    key.ensure_kid()
    return key


def _replace_file(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    new.replace(path)


async def _form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form. Raise HTTPBadRequest, HTTPRequestEntityTooLarge, HTTPUnsupportedMediaType.

    aiohttp's own parser would decode it in the charset that the sender names, and some take minutes.
    """
    if not is_form(request.headers.get("Content-Type", "")):
        raise web.HTTPUnsupportedMediaType
    try:
        return dict(fields_of(await request.read()))
    except ValueError as e:
        raise web.HTTPBadRequest from e


def _oauth_error(e: OAuthError) -> web.Response:
    return web.json_response(
        {"error": e.code, "error_description": e.description},
        status=401 if e.code == "invalid_client" else 400,
        headers=NO_STORE,
    )
