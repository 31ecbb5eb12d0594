"""Scopes and actors: what a principal may see, and how events name them."""

import pytest

from contracts.codes import ROLES
from contracts.commands import Refused
from security.auth import Principal, Unauthenticated, anonymous
from security.scopes import is_visible, restricted


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
    assert restricted(principal(*own).scope, province) == scope


def test_actor_is_named_by_the_widest_role() -> None:
    assert Principal("x", frozenset({"applicant", "manager"})).actor == "manager:x"
    assert anonymous().actor == "web:"
    assert all(Principal("x", frozenset({role})).actor == f"{role}:x" for role in ROLES)


def test_unauthenticated_is_a_refusal() -> None:
    assert issubclass(Unauthenticated, Refused)
