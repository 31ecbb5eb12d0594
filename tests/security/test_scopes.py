"""Scopes and actors: what a principal may see, and how events name them."""

import pytest

from contracts.commands import Refused
from programme import reference
from security.auth import ROLES, Principal, Unauthenticated, anonymous
from security.scopes import is_visible, scope_of


def principal(province: str = "", county: str = "") -> Principal:
    """Return a principal with this scope."""
    return Principal("x", frozenset(), province, county)


@pytest.mark.parametrize(
    ("own", "scope", "visible"),
    [
        (("", ""), "IR-20/2001", True),
        (("IR-20", ""), "IR-20", True),
        (("IR-20", ""), "IR-20/2001", True),
        (("IR-20", ""), "IR-2", False),
        (("IR-2", ""), "IR-20/2001", False),
        (("IR-20", ""), "IR-21/2101", False),
        (("IR-20", "2001"), "IR-20/2001", True),
        (("IR-20", "2001"), "IR-20/2002", False),
        (("IR-20", "2001"), "IR-20", False),
        (("IR-20", "2001"), "IR-20/20011", False),
        (("IR-20", ""), "", False),
    ],
)
def test_principal_sees_its_own_scope_only(own: tuple[str, str], scope: str, visible: bool) -> None:
    assert is_visible(scope, principal(*own)) is visible


@pytest.mark.parametrize(
    ("own", "province", "scope"),
    [
        (("", ""), "", ""),
        (("", ""), "IR-20", "IR-20"),
        (("IR-20", ""), "", "IR-20"),
        (("IR-20", ""), "IR-20", "IR-20"),
        (("IR-20", ""), "IR-21", None),
        (("IR-20", "2001"), "", "IR-20/2001"),
        (("IR-20", "2001"), "IR-20", "IR-20/2001"),
        (("IR-20", "2001"), "IR-21", None),
    ],
)
def test_scope_is_restricted_to_a_province(own: tuple[str, str], province: str, scope: str | None) -> None:
    assert scope_of(principal(*own), province) == scope


def refusal(province: str, own: str = "") -> tuple[str, str]:
    """Return code and field of the refusal of a province code; empty if it is accepted."""
    try:
        scope_of(principal(own), province)
    except Refused as refused:
        return refused.code, refused.field
    return "", ""


def test_province_codes_are_those_of_the_reference_data() -> None:
    """`security` may not import `programme`, so it has the codes as a pattern: both must refuse the same ones."""
    candidates = [f"IR-{n:02}" for n in range(100)]
    candidates += ["IR-2", "IR-200", "IR-020", "ir-20", "20", " IR-20", "IR-20\n", "IR-20/2001", "IR-۲۰", "IR-", "x"]
    accepted = []
    for code in candidates:
        try:
            reference.province(code)
        except Refused as refused:
            assert refusal(code) == (refused.code, refused.field), code
        else:
            assert refusal(code) == ("", ""), code
            accepted.append(code)

    assert accepted == list(reference.provinces()) and len(accepted) == 31
    assert refusal("IR-31") == ("province_code_old", "province")
    assert refusal("IR-99", own="IR-20") == ("province_unknown", "province"), "also for officers of a province"


def test_actor_is_named_by_the_widest_role() -> None:
    assert Principal("x", frozenset({"applicant", "manager"})).actor == "manager:x"
    assert anonymous().actor == "web:"
    assert all(Principal("x", frozenset({role})).actor == f"{role}:x" for role in ROLES)


def test_unauthenticated_is_a_refusal() -> None:
    assert issubclass(Unauthenticated, Refused)
