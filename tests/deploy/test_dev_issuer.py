"""The development issuer: OpenID Connect with PKCE, client credentials, and the requests that it refuses."""

import json
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from contracts.codes import ROLES
from peyvand.dev_issuer import issuer as dev_issuer
from peyvand.dev_issuer import sessions
from peyvand.dev_issuer.identity import CHOSEN
from peyvand.dev_issuer.issuer import Issuer, challenge_of
from peyvand.gateway.settings import GatewaySettings
from programme.reference import provinces
from security.permissions import ROLE_SCOPES

PUBLIC_URL = "http://127.0.0.1:8080"
VERIFIER = "v" * 43
REDIRECT_URI = f"{PUBLIC_URL}/screening/sign-in/callback"
QUERY = {
    "response_type": "code",
    "client_id": "peyvand",
    "redirect_uri": REDIRECT_URI,
    "state": "s-1",
    "code_challenge": challenge_of(VERIFIER),
    "code_challenge_method": "S256",
}
SCREENER = {"role": "screener", "province": "IR-20", "name": "سارا"}

Client = TestClient[web.Request, web.Application]


def _settings(folder: Path) -> GatewaySettings:
    return GatewaySettings(
        environment="development",
        public_url=PUBLIC_URL,
        issuer=f"{PUBLIC_URL}/issuer",
        jwks=folder / "jwks.json",
        issuer_key=folder / "issuer.jwk",
        upstream_registration="http://a",
        upstream_screening="http://b",
        upstream_market="http://c",
        upstream_reporting="http://d",
    )


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    app = web.Application()
    app.add_subapp("/issuer", Issuer(_settings(tmp_path)).application())
    async with TestClient(TestServer(app)) as client:
        yield client


async def _code(client: Client, **changed: str) -> str:
    response = await client.post("/issuer/authorize", data={**QUERY, **SCREENER, **changed}, allow_redirects=False)
    assert response.status == 303, await response.text()
    return parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]


async def _token(client: Client, **form: str) -> tuple[int, dict[str, Any]]:
    response = await client.post("/issuer/token", data=form)
    assert response.headers["Cache-Control"] == "no-store"
    return response.status, await response.json()


async def _exchange(client: Client, issued: str, **changed: str) -> tuple[int, dict[str, Any]]:
    form = {
        "grant_type": "authorization_code",
        "code": issued,
        "client_id": "peyvand",
        "redirect_uri": REDIRECT_URI,
        "code_verifier": VERIFIER,
    }
    return await _token(client, **{**form, **changed})


def _claims(token: str, folder: Path) -> dict[str, Any]:
    """Return the claims of a token, verified with the pinned public keys."""
    keys = KeySet.import_key_set(json.loads((folder / "jwks.json").read_text()))
    return jwt.decode(token, keys, algorithms=["ES256"]).claims


async def test_a_token_has_the_identity_of_the_sign_in(client: Client, tmp_path: Path) -> None:
    response = await client.post("/issuer/authorize", data={**QUERY, **SCREENER}, allow_redirects=False)
    back = urlsplit(response.headers["Location"])
    query = parse_qs(back.query)
    assert f"{back.scheme}://{back.netloc}{back.path}" == REDIRECT_URI
    assert query["state"] == ["s-1"] and query["iss"] == [f"{PUBLIC_URL}/issuer"]
    status, tokens = await _exchange(client, query["code"][0])
    assert (status, tokens["token_type"], tokens["expires_in"]) == (200, "Bearer", 300)
    claims = _claims(tokens["access_token"], tmp_path)
    assert claims["roles"] == ["screener"] and claims["province"] == "IR-20" and claims["name"] == "سارا"
    assert claims["iss"] == f"{PUBLIC_URL}/issuer" and claims["aud"] == "peyvand"
    assert claims["exp"] - claims["iat"] == 300 and claims["sid"] and claims["jti"] and claims["nbf"] <= time.time()
    assert claims["sub"].startswith("of-")
    header = extract_compact(tokens["access_token"].encode()).headers()
    assert header["typ"] == "at+jwt" and header["alg"] == "ES256" and header["kid"]


async def test_openid_gets_an_id_token_for_the_client(client: Client, tmp_path: Path) -> None:
    _, tokens = await _exchange(client, await _code(client, scope="openid", nonce="n-1"))
    claims = _claims(tokens["id_token"], tmp_path)
    assert (claims["aud"], claims["nonce"]) == ("peyvand", "n-1")
    assert claims["sub"] == _claims(tokens["access_token"], tmp_path)["sub"]


async def test_the_same_form_gives_the_same_subject_and_another_name_another(client: Client, tmp_path: Path) -> None:
    subs = []
    for name in ("سارا", "سارا", "رضا"):
        _, tokens = await _exchange(client, await _code(client, name=name))
        subs.append(_claims(tokens["access_token"], tmp_path)["sub"])
    assert subs[0] == subs[1] != subs[2]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_verifier": "w" * 43}, "invalid_grant"),
        ({"code_verifier": ""}, "invalid_grant"),
        ({"code_verifier": "v" * 42}, "invalid_grant"),
        ({"code_verifier": challenge_of(VERIFIER)}, "invalid_grant"),
        ({"redirect_uri": f"{PUBLIC_URL}/market/sign-in/callback"}, "invalid_grant"),
        ({"client_id": "another"}, "invalid_client"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_code_is_bound_to_its_authorization_request(
    client: Client, changed: dict[str, str], error: str
) -> None:
    status, tokens = await _exchange(client, await _code(client), **changed)
    assert status in (400, 401) and tokens["error"] == error and tokens["error_description"]


async def test_a_code_is_used_once_even_if_the_first_attempt_fails(client: Client) -> None:
    code = await _code(client)
    assert (await _exchange(client, code))[0] == 200
    assert (await _exchange(client, code))[1]["error"] == "invalid_grant"
    code = await _code(client)
    assert (await _exchange(client, code, code_verifier="w" * 43))[0] == 400
    assert (await _exchange(client, code))[1]["error"] == "invalid_grant"


async def test_a_code_expires_after_a_minute(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    code, now = await _code(client), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert (await _exchange(client, code))[1]["error"] == "invalid_grant"


async def test_the_number_of_unused_codes_is_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_issuer, "MAX_CODES", 3)
    codes = [await _code(client) for _ in range(5)]
    assert (await _exchange(client, codes[0]))[0] == 400
    assert (await _exchange(client, codes[4]))[0] == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/callback",
        "http://127.0.0.1:8080@evil.example/x",
        "http://127.0.0.1:8080.evil.example/x",
        "http://127.0.0.1:8081/x",
        "https://127.0.0.1:8080/x",
        "//127.0.0.1:8080/x",
        "/screening/sign-in/callback",
        "http://127.0.0.1:8080\\@evil.example/x",
        "http://127.0.0.1:8080/x#fragment",
        "http://127.0.0.1:8080/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        "",
    ],
)
async def test_a_foreign_redirect_uri_is_refused(client: Client, redirect_uri: str) -> None:
    for response in (
        await client.get("/issuer/authorize", params={**QUERY, "redirect_uri": redirect_uri}, allow_redirects=False),
        await client.post(
            "/issuer/authorize", data={**QUERY, **SCREENER, "redirect_uri": redirect_uri}, allow_redirects=False
        ),
    ):
        assert response.status == 400 and "Location" not in response.headers and "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": VERIFIER[:42]}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
async def test_an_invalid_request_is_redirected_with_its_error(
    client: Client, changed: dict[str, str], error: str
) -> None:
    response = await client.get("/issuer/authorize", params={**QUERY, **changed}, allow_redirects=False)
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert response.headers["Location"].startswith(REDIRECT_URI)
    assert query["error"] == [error] and query["state"] == ["s-1"] and "code" not in query


@pytest.mark.parametrize(("lang", "word"), [("fa", "با چه نقشی وارد می‌شوید؟"), ("en", "Who are you today?")])
async def test_the_page_offers_every_role_and_province(client: Client, lang: str, word: str) -> None:
    response = await client.get("/issuer/authorize", params={**QUERY, "lang": lang})
    page = await response.text()
    assert word in page
    assert [role for role in ROLES if f'<option value="{role}"' not in page] == ["consumer"], "services choose no role"
    assert page.count('<option value="IR-') == len(provinces()) == 31
    assert "style=" not in page and "<script" not in page
    assert f'name="state" value="{QUERY["state"]}"' in page


async def test_parameters_are_escaped(client: Client) -> None:
    response = await client.get("/issuer/authorize", params={**QUERY, "state": '"><script>alert(1)</script>'})
    assert "<script" not in await response.text()


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"role": ""}, "role"),
        ({"role": "root"}, "role"),
        ({"province": ""}, "province"),
        ({"province": "IR-31"}, "province"),
        ({"province": "سمنان"}, "province"),
        ({"role": "county_operator"}, "county"),
        ({"role": "county_operator", "county": "0001"}, "county"),
        ({"role": "county_operator", "county": "9999"}, "county"),
        ({"role": "lead"}, "lead"),
    ],
)
async def test_an_invalid_identity_gets_no_code_and_no_token(
    client: Client, changed: dict[str, str], field: str
) -> None:
    response = await client.post("/issuer/authorize", data={**QUERY, **SCREENER, **changed}, allow_redirects=False)
    page = await response.text()
    assert response.status == 422 and "خطا" in page and f'href="#{field}"' in page and f'id="{field}"' in page
    status, tokens = await _token(client, grant_type="client_credentials", **{**SCREENER, **changed})
    assert (status, tokens["error"]) == (400, "invalid_request")


async def test_client_credentials_give_a_token(client: Client, tmp_path: Path) -> None:
    _, tokens = await _token(
        client, grant_type="client_credentials", role="county_operator", county="2001", sub="sim-1"
    )
    claims = _claims(tokens["access_token"], tmp_path)
    assert (claims["sub"], claims["province"], claims["county"]) == ("sim-1", "IR-20", "2001")
    _, tokens = await _token(
        client, grant_type="client_credentials", role="ministry_admin operator", province="IR-20", lead="x"
    )
    claims = _claims(tokens["access_token"], tmp_path)
    assert claims["roles"] == ["ministry_admin", "operator"]
    assert (claims["province"], claims["lead"]) == ("", "")  # a national role is bound to nothing


@pytest.mark.parametrize("sub", ["registrar:of-1", "x" * 101, "a\nb"])
async def test_an_ambiguous_subject_is_refused(client: Client, sub: str) -> None:
    status, tokens = await _token(client, grant_type="client_credentials", **SCREENER, sub=sub)
    assert (status, tokens["error"]) == (400, "invalid_request")


async def _refresh(client: Client, token: str, client_id: str = "peyvand") -> tuple[int, dict[str, Any]]:
    return await _token(client, grant_type="refresh_token", refresh_token=token, client_id=client_id)


async def _revoked(client: Client) -> list[str]:
    found: list[str] = (await (await client.get("/issuer/revoked")).json())["revoked"]
    return found


async def test_a_refresh_token_is_used_once_and_its_reuse_ends_the_session(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await _exchange(client, await _code(client))
    status, second = await _refresh(client, first["refresh_token"])
    assert status == 200 and second["refresh_token"] != first["refresh_token"]
    claims = [_claims(each["access_token"], tmp_path) for each in (first, second)]
    assert claims[0]["sid"] == claims[1]["sid"] and claims[0]["jti"] != claims[1]["jti"]
    assert claims[0]["sub"] == claims[1]["sub"] and claims[1]["exp"] - claims[1]["iat"] <= 300

    _, again = await _refresh(client, first["refresh_token"])  # two tabs at the same time
    assert again["refresh_token"] == second["refresh_token"]
    monkeypatch.setattr(sessions, "TOLERATED_SECONDS", -1.0)
    status, refused = await _refresh(client, first["refresh_token"])  # a copy, later
    assert (status, refused["error"]) == (400, "invalid_grant")
    assert (await _refresh(client, second["refresh_token"]))[0] == 400, "the session has ended for both"
    assert await _revoked(client) == [claims[0]["sid"]]


async def test_revocation_by_either_token_is_listed_until_the_tokens_expire(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = []
    for kind in ("refresh_token", "access_token"):
        _, tokens = await _exchange(client, await _code(client))
        response = await client.post("/issuer/revoke", data={"client_id": "peyvand", "token": tokens[kind]})
        assert response.status == 200
        assert (await _refresh(client, tokens["refresh_token"]))[1]["error"] == "invalid_grant"
        ended.append(_claims(tokens["access_token"], tmp_path)["sid"])
    for token in ("", "x", "a.b", "a.b.c", f"{ended[0]}.{'A' * 43}"):
        assert (await client.post("/issuer/revoke", data={"client_id": "peyvand", "token": token})).status == 200
    assert (await client.post("/issuer/revoke", data={"token": "x"})).status == 401
    assert await _revoked(client) == sorted(ended)

    etag = (await client.get("/issuer/revoked")).headers["ETag"]
    assert (await client.get("/issuer/revoked", headers={"If-None-Match": etag})).status == 304
    known, now = sessions.Sessions(), time.monotonic()
    known.revoke("s-1")
    monkeypatch.setattr(time, "monotonic", lambda: now + sessions.TOKEN_SECONDS + 1)
    assert known.revoked() == []


async def test_a_session_ends_after_a_day_and_their_number_is_bounded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, tokens = await _exchange(client, await _code(client))
    assert (await _refresh(client, tokens["refresh_token"], "another"))[1]["error"] == "invalid_client"
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "SESSION_SECONDS", -1)
        _, old = await _exchange(client, await _code(client))
    assert (await _refresh(client, old["refresh_token"]))[0] == 400
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    issued = [(await _exchange(client, await _code(client)))[1]["refresh_token"] for _ in range(3)]
    assert [(await _refresh(client, each))[0] for each in issued] == [400, 200, 200]


async def test_discovery_and_keys_match_the_pinned_file(client: Client, tmp_path: Path) -> None:
    discovery = await (await client.get("/issuer/.well-known/openid-configuration")).json()
    assert discovery["issuer"] == f"{PUBLIC_URL}/issuer" and discovery["token_endpoint"] == f"{PUBLIC_URL}/issuer/token"
    keys = await (await client.get("/issuer/jwks")).json(content_type="application/jwk-set+json")
    assert keys == json.loads((tmp_path / "jwks.json").read_text())
    assert all("d" not in key for key in keys["keys"])


async def test_every_role_is_verified_by_the_services(client: Client, tmp_path: Path) -> None:
    from security import auth

    verifier = auth.Verifier(f"{PUBLIC_URL}/issuer", "peyvand", tmp_path / "jwks.json")
    for role in CHOSEN:
        _, tokens = await _token(
            client, grant_type="client_credentials", role=role, province="IR-20", county="2001", lead="l-1", sub="x-1"
        )
        principal = verifier.verify(tokens["access_token"])
        scope = {"P": "IR-20", "C": "IR-20/2001"}.get(ROLE_SCOPES.get(role, ""), "")
        assert (principal.actor, principal.scope) == (f"{role}:x-1", scope)


def test_the_key_is_created_once_and_private(tmp_path: Path) -> None:
    first, second = Issuer(_settings(tmp_path)), Issuer(_settings(tmp_path))
    assert first.public == second.public
    assert stat.S_IMODE((tmp_path / "issuer.jwk").stat().st_mode) == 0o600


def test_it_refuses_to_start_outside_development(tmp_path: Path) -> None:
    settings = _settings(tmp_path).model_copy(update={"environment": "production"})
    with pytest.raises(ValueError, match="PEYVAND_ENVIRONMENT=development"):
        Issuer(settings)


@pytest.mark.parametrize("path", ["/issuer/token", "/issuer/revoke", "/issuer/authorize"])
@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        ("application/x-www-form-urlencoded; charset=undefined", b"a=%ff", 400),
        ("application/x-www-form-urlencoded; charset=punycode", b"\xff" * 9, 400),
        ("multipart/form-data; boundary=b", b"--b\r\n", 415),
    ],
)
async def test_a_form_is_read_in_utf8_whatever_its_sender_names(
    client: Client, path: str, media_type: str, body: bytes, status: int
) -> None:
    async with client.post(path, data=body, headers={"Content-Type": media_type}) as response:
        assert response.status == status
