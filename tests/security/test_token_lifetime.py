"""How long a token may be valid, and what ends it earlier."""

import time

import pytest

from security.auth import LEEWAY, Unauthenticated, Verifier
from security.revocation import TOKEN_SECONDS
from tests.support.tokens import Issuer


@pytest.fixture
def verifier(issuer: Issuer) -> Verifier:
    """A new verifier."""
    return Verifier(issuer.name, issuer.audience, issuer.jwks)


def test_a_token_that_is_valid_for_too_long_is_refused(issuer: Issuer, verifier: Verifier) -> None:
    now = int(time.time())
    assert verifier.verify(issuer.token("analyst", exp=now + TOKEN_SECONDS + LEEWAY - 1)).id
    for claims in ({"exp": now + TOKEN_SECONDS + LEEWAY + 60}, {"exp": now + 10, "iat": now - 3_600}, {"iat": 0}):
        with pytest.raises(Unauthenticated) as refused:
            verifier.verify(issuer.token("analyst", **claims))
        assert refused.value.why == "valid for too long"


@pytest.mark.parametrize("claim", ["sid", "jti"])
def test_a_revoked_session_or_token_is_refused_whether_cached_or_not(
    issuer: Issuer, verifier: Verifier, claim: str
) -> None:
    cached, fresh = (issuer.token("analyst", id=id, **{claim: "gone"}) for id in ("an-1", "an-2"))
    other = issuer.token("analyst", sid="s-2", jti="t-2")
    assert verifier.verify(cached).id == "an-1" and verifier.verify(other)
    verifier.revocations.ids = frozenset({"gone"})
    for token in (cached, fresh, cached):
        with pytest.raises(Unauthenticated):
            verifier.verify(token)
    assert verifier.verify(other) and len(verifier.verified) == 1


def test_a_role_needs_the_area_or_lead_that_it_is_bound_to(issuer: Issuer, verifier: Verifier) -> None:
    for role, claims in (
        ("council", {}),
        ("registrar", {"county": "2001"}),
        ("county_operator", {"province": "IR-20"}),
        ("lead", {"province": "IR-20"}),
    ):
        with pytest.raises(Unauthenticated) as refused:
            verifier.verify(issuer.token("auditor", role, **claims))
        assert "bound to" in refused.value.why
