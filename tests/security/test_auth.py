"""Access tokens: every invalid or hostile one is refused, and a valid one names exactly one principal and scope."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from programme.reference import is_area
from security import auth
from security.auth import Principal, Unauthenticated, Verifier
from tests.support.tokens import Issuer

LATER = 30 * 24 * 3_600  # seconds, counted from the collection of the tests: longer than they all take


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pinned keys."""
    return tmp_path_factory.mktemp("issuer")


@pytest.fixture(scope="module")
def issuer(folder: Path) -> Issuer:
    """The issuer whose keys are pinned."""
    return Issuer(folder)


@pytest.fixture
def verifier(issuer: Issuer) -> Verifier:
    """A new verifier, without cached tokens."""
    return Verifier(issuer.name, issuer.audience, issuer.jwks, is_area=is_area)


def refused(verifier: Verifier, token: str) -> str:
    """Return why a token is refused, twice: a refused token must not be cached."""
    with pytest.raises(Unauthenticated) as first:
        verifier.verify(token)
    with pytest.raises(Unauthenticated):
        verifier.verify(token)
    assert not verifier.verified
    assert first.value.code == "unauthenticated" and not first.value.details  # the response never discloses the reason
    return first.value.why


def signed(issuer: Issuer, claims: dict[str, Any] | None = None, **header: Any) -> str:
    """Return a token signed by the issuer, with any header and claims."""
    headers = {"alg": "ES256", "kid": issuer.key.kid, "typ": "at+jwt", **header}
    payload = json.dumps(claims if claims is not None else valid_claims(issuer)).encode()
    registry = jws.JWSRegistry(algorithms=["ES256", "EdDSA", "RS256", "HS256", "none"], strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = 1 << 20
    return jws.serialize_compact(headers, payload, issuer.key, registry=registry)


def compact(issuer: Issuer, payload: bytes) -> str:
    """Return a token with this payload, signed by the issuer."""
    return jws.serialize_compact({"alg": "ES256", "kid": issuer.key.kid, "typ": "at+jwt"}, payload, issuer.key)


def valid_claims(issuer: Issuer, **claims: Any) -> dict[str, Any]:
    """Return valid claims, with these added or replaced."""
    now = int(time.time())
    return {
        "iss": issuer.name,
        "sub": "of-2f9c",
        "aud": issuer.audience,
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "roles": ["manager"],
        "province": "IR-20",
        **claims,
    }


def b64(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


# Valid tokens


def test_valid_token_names_a_principal(issuer: Issuer, verifier: Verifier) -> None:
    token = issuer.token("county_operator", "registrar", province="IR-20", county="2001", name="مریم")

    principal = verifier.verify(token)

    assert principal == Principal("of-2f9c", frozenset({"county_operator", "registrar"}), "IR-20", "2001", "", "مریم")
    assert principal.scope == "IR-20/2001" and principal.actor == "registrar:of-2f9c"
    assert verifier.verify(token) is principal


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_type_of_access_tokens_is_accepted(issuer: Issuer, verifier: Verifier, typ: str) -> None:
    assert verifier.verify(signed(issuer, typ=typ))


def test_one_of_several_audiences_suffices(issuer: Issuer, verifier: Verifier) -> None:
    assert verifier.verify(issuer.token("analyst", aud=["other", "peyvand"]))


@pytest.mark.parametrize("kind", ["EdDSA", "ES256", "RS256"])
@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_each_allowed_algorithm_is_verified(tmp_path: Path, kind: str) -> None:
    other = Issuer(tmp_path)
    keys: dict[str, Callable[[], Any]] = {
        "EdDSA": lambda: OKPKey.generate_key("Ed25519", {"kid": "k"}),
        "ES256": lambda: ECKey.generate_key("P-256", {"kid": "k"}),
        "RS256": lambda: RSAKey.generate_key(2048, {"kid": "k"}),
    }
    other.key = keys[kind]()
    other.publish(other.key)
    token = jwt.encode({"alg": kind, "kid": "k", "typ": "at+jwt"}, valid_claims(other), other.key, [kind])

    assert Verifier(other.name, other.audience, other.jwks).verify(token).id == "of-2f9c"


def test_unknown_roles_are_ignored(issuer: Issuer, verifier: Verifier) -> None:
    assert verifier.verify(issuer.token("emperor", "analyst")).roles == {"analyst"}


# Invalid tokens

CLAIMS: dict[str, dict[str, Any]] = {
    "wrong issuer": {"iss": "http://127.0.0.1:8080/issuer/"},
    "issuer of another case": {"iss": "HTTP://127.0.0.1:8080/issuer"},
    "issuer is a list": {"iss": ["http://127.0.0.1:8080/issuer"]},
    "no issuer": {"iss": None},
    "wrong audience": {"aud": "other"},
    "audience as part of a word": {"aud": "peyvand-other"},
    "no audience": {"aud": None},
    "empty audiences": {"aud": []},
    "audiences that are objects": {"aud": [{"a": "peyvand"}]},
    "expired": {"exp": int(time.time()) - 1},
    "expired long ago": {"exp": 1},
    "no expiry": {"exp": None},
    "expiry as text": {"exp": "tomorrow"},
    "expiry as a boolean": {"exp": True},
    "not valid yet": {"nbf": int(time.time()) + LATER},
    "not before as text": {"nbf": "now"},
    "issued in the future": {"iat": int(time.time()) + LATER},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "x" * 129},
    "a subject with a newline": {"sub": "of-1\nadmin"},
    "a subject that is a number": {"sub": 7},
    "roles as text": {"roles": "manager"},
    "roles as numbers": {"roles": [1]},
    "roles as an object": {"roles": {"manager": True}},
    "a provincial role without a province": {"province": ""},
    "a screener without a province": {"roles": ["screener"], "province": ""},
    "a registrar without a province": {"roles": ["registrar"], "province": ""},
    "a county role without a county": {"roles": ["county_operator"]},
    "a county without a province": {"roles": ["analyst"], "province": "", "county": "2001"},
    "a lead role without a lead": {"roles": ["lead"]},
    "a province that is a list": {"province": ["IR-20"]},
    "a province that does not exist": {"province": "IR-77"},
    "a province by its old code": {"province": "IR-99"},
    "a county of another province": {"province": "IR-20", "county": "0701"},
    "a county that does not exist": {"province": "IR-20", "county": "9999"},
    "an endless expiry": {"exp": float("inf")},
    "an expiry that is no number": {"exp": float("nan")},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS.keys())
def test_invalid_claims_are_refused(issuer: Issuer, verifier: Verifier, claims: dict[str, Any]) -> None:
    payload = {name: value for name, value in valid_claims(issuer, **claims).items() if value is not None}

    assert refused(verifier, signed(issuer, payload))


def hostile_headers() -> dict[str, Callable[[Issuer], str]]:
    """Return tokens whose header or signature is not that of the pinned key."""
    attacker = ECKey.generate_key("P-256", {"kid": "test-1"})

    def by_attacker(issuer: Issuer, **header: Any) -> str:
        impostor = Issuer.__new__(Issuer)
        impostor.name, impostor.audience, impostor.key = issuer.name, issuer.audience, attacker
        return signed(impostor, **header)

    def unsigned(issuer: Issuer, alg: str) -> str:
        header = {"alg": alg, "kid": issuer.key.kid, "typ": "at+jwt"}
        return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(valid_claims(issuer)).encode())}."

    def confused(issuer: Issuer, secret: bytes, alg: str = "HS256") -> str:
        header = {"alg": alg, "kid": issuer.key.kid, "typ": "at+jwt"}
        body = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(valid_claims(issuer)).encode())}"
        return f"{body}.{b64(hmac.digest(secret, body.encode(), hashlib.sha256))}"

    return {
        "none": lambda i: unsigned(i, "none"),
        "None": lambda i: unsigned(i, "None"),
        "NONE": lambda i: unsigned(i, "nOnE"),
        "no algorithm": lambda i: unsigned(i, ""),
        "signature cut off": lambda i: signed(i).rpartition(".")[0] + ".",
        "HS256 with the public key as PEM": lambda i: confused(i, i.key.as_pem(private=False)),
        "HS256 with the public key as DER": lambda i: confused(i, i.key.as_der(private=False)),
        "HS256 with the public key as JWK": lambda i: confused(i, json.dumps(i.key.as_dict(private=False)).encode()),
        "HS256 with the key file": lambda i: confused(i, i.jwks.read_bytes()),
        "HS256 with an empty key": lambda i: confused(i, b""),
        "HS256 declared as ES256": lambda i: confused(i, i.key.as_pem(private=False), "ES256"),
        "RS256 over an EC key": lambda i: confused(i, b"", "RS256"),
        "another key under our kid": lambda i: by_attacker(i),
        "the key in the header (jwk)": lambda i: by_attacker(i, jwk=attacker.as_dict(private=False)),
        "the key's address (jku)": lambda i: by_attacker(i, jku="http://evil.example/jwks.json"),
        "the key's address, with a valid signature": lambda i: signed(i, jku="http://evil.example/jwks.json"),
        "a certificate's address (x5u)": lambda i: signed(i, x5u="http://evil.example/cert"),
        "a certificate (x5c)": lambda i: signed(i, x5c=["MIIB"]),
        "a critical extension (crit)": lambda i: hand_made(i, crit=["exp"], exp=1),
        "unencoded payload (b64)": lambda i: hand_made(i, b64=False, crit=["b64"]),
        "unknown kid": lambda i: signed(i, kid="test-2"),
        "kid as a path": lambda i: signed(i, kid="../../../../dev/null"),
        "kid as SQL": lambda i: signed(i, kid="test-1' OR '1'='1"),
        "empty kid": lambda i: signed(i, kid=""),
        "kid as a list": lambda i: hand_made(i, kid=["test-1"]),
        "kid as an object": lambda i: hand_made(i, kid={"$ne": ""}),
        "no kid": lambda i: hand_made(i, kid=None),
        "an ID token (JWT)": lambda i: signed(i, typ="JWT"),
        "a logout token": lambda i: signed(i, typ="logout+jwt"),
        "empty type": lambda i: signed(i, typ=""),
        "type as a list": lambda i: hand_made(i, typ=["at+jwt"]),
        "no type": lambda i: hand_made(i, typ=None),
        "payload of another token": lambda i: swapped(i),
        "one bit of the signature": lambda i: flipped(signed(i)),
        "der signature": lambda i: der(i),
    }


def hand_made(issuer: Issuer, **header: Any) -> str:
    """Return a token with a header that no library would write, and a valid signature of its bytes."""
    headers = {"alg": "ES256", "kid": issuer.key.kid, "typ": "at+jwt", **header}
    headers = {name: value for name, value in headers.items() if value is not None}
    body = f"{b64(json.dumps(headers).encode())}.{b64(json.dumps(valid_claims(issuer)).encode())}"
    signature = jws.JWSRegistry.algorithms["ES256"].sign(body.encode(), issuer.key)
    return f"{body}.{b64(signature)}"


def swapped(issuer: Issuer) -> str:
    """Return a token with other claims under the signature of a valid one."""
    header, _, signature = signed(issuer).split(".")
    return f"{header}.{b64(json.dumps(valid_claims(issuer, roles=['ministry_admin'])).encode())}.{signature}"


def flipped(token: str) -> str:
    """Return a token with one bit of its signature changed."""
    head, _, signature = token.rpartition(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[10] ^= 1
    return f"{head}.{b64(bytes(raw))}"


def der(issuer: Issuer) -> str:
    """Return a valid token whose signature is encoded as DER."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    head, _, signature = signed(issuer).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    return f"{head}.{b64(encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])))}"


HOSTILE = hostile_headers()


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_header_or_signature_is_refused(
    issuer: Issuer, verifier: Verifier, make: Callable[[Issuer], str]
) -> None:
    assert refused(verifier, make(issuer))


def test_functions_that_make_hostile_tokens_can_make_valid_ones(issuer: Issuer, verifier: Verifier) -> None:
    assert verifier.verify(signed(issuer)) and verifier.verify(hand_made(issuer))


NO_TOKENS = [
    "",
    ".",
    "..",
    "...",
    "a.b.c",
    "null",
    "{}.{}.{}",
    "eyJhbGciOiJub25lIn0",
    "eyJhbGciOiJub25lIn0.e30.",
    "e30.e30.e30",
    "\x00.\x00.\x00",
    "پیوند.پیوند.پیوند",
    "a" * 100_000,
    ".".join(["a"] * 5_000),
    b64(b"[" * 5_000) + "." + b64(b"{}") + ".AA",
    b64(b'{"alg":"ES256","kid":"test-1","typ":"at+jwt"}') + ".." + "AA",
]


@pytest.mark.parametrize("token", NO_TOKENS, ids=range(len(NO_TOKENS)))
def test_what_is_no_token_is_refused(verifier: Verifier, token: str) -> None:
    assert refused(verifier, token)


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"{", b"\xff", b"[" * 3_000, b'{"exp":1e999}'])
def test_payload_without_claims_is_refused(issuer: Issuer, verifier: Verifier, payload: bytes) -> None:
    assert refused(verifier, compact(issuer, payload))


@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_a_number_beyond_every_float_is_refused(issuer: Issuer, verifier: Verifier, claim: str) -> None:
    """`1e400` is valid JSON, and infinite in Python."""
    payload = json.dumps({**valid_claims(issuer), claim: 0}).replace(f'"{claim}": 0', f'"{claim}": 1e400')
    assert refused(verifier, compact(issuer, payload.encode()))


@pytest.mark.parametrize("claim", ["exp", "sub", "roles", "province"])
def test_a_claim_that_stands_twice_is_refused(issuer: Issuer, verifier: Verifier, claim: str) -> None:
    claims = valid_claims(issuer, province="IR-20")
    payload = json.dumps(claims)[:-1] + f', "{claim}": {json.dumps(claims[claim])}}}'
    assert refused(verifier, compact(issuer, payload.encode()))
    assert verifier.verify(compact(issuer, json.dumps(claims).encode())).province == "IR-20"


def test_oversize_token_is_refused(issuer: Issuer, verifier: Verifier) -> None:
    assert "oversize" in refused(verifier, signed(issuer, valid_claims(issuer, name="x" * 9_000)))


def test_symmetric_key_in_the_pinned_file_is_ignored(tmp_path: Path) -> None:
    other = Issuer(tmp_path)
    secret = OctKey.generate_key(256, {"kid": "k"})
    other.jwks.write_text(json.dumps({"keys": [secret.as_dict()]}))
    token = jwt.encode({"alg": "HS256", "kid": "k", "typ": "at+jwt"}, valid_claims(other), secret)

    assert refused(Verifier(other.name, other.audience, other.jwks), token)


def test_encryption_key_in_the_pinned_file_is_ignored(tmp_path: Path) -> None:
    other = Issuer(tmp_path)
    other.jwks.write_text(json.dumps({"keys": [{**other.key.as_dict(private=False), "use": "enc"}]}))

    assert refused(Verifier(other.name, other.audience, other.jwks), other.token("analyst"))


# Expiry, rotation and the cache


def test_verified_token_is_cached_until_it_expires(issuer: Issuer) -> None:
    now = time.time()
    verifier = Verifier(issuer.name, issuer.audience, issuer.jwks, now=lambda: now)
    token = issuer.token("analyst", exp=int(now) + 10)
    assert verifier.verify(token)

    now += 11
    assert "exp" in refused(verifier, token)


def test_cache_is_bounded(issuer: Issuer, verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "VERIFIED_KEPT", 5)
    for i in range(20):
        verifier.verify(issuer.token("analyst", id=f"an-{i}"))

    assert len(verifier.verified) == 5


def test_rotation_of_the_pinned_keys_takes_effect(tmp_path: Path) -> None:
    other = Issuer(tmp_path)
    verifier = Verifier(other.name, other.audience, other.jwks)
    old = other.token("analyst")
    assert verifier.verify(old)

    other.key = ECKey.generate_key("P-256", {"kid": "test-2", "use": "sig"})
    other.publish(other.key)
    verifier.checked_at = float("-inf")

    assert verifier.verify(other.token("analyst"))
    with pytest.raises(Unauthenticated):  # the key is gone, and with it the cached tokens
        verifier.verify(old)


def test_without_pinned_keys_every_token_is_refused(tmp_path: Path, issuer: Issuer) -> None:
    assert "no pinned keys" in refused(
        Verifier(issuer.name, "peyvand", tmp_path / "none.json"), issuer.token("analyst")
    )


def test_incomplete_key_file_keeps_the_present_keys(tmp_path: Path) -> None:
    other = Issuer(tmp_path)
    verifier = Verifier(other.name, other.audience, other.jwks)
    assert verifier.verify(other.token("analyst"))

    other.jwks.write_text('{"keys": [')
    verifier.checked_at = float("-inf")

    assert verifier.verify(other.token("analyst", id="an-2"))
