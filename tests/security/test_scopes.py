"""What a principal may see, how they are named, and what a policy may say."""

import pytest

from contracts.commands import Refused
from security import auth
from security.auth import ROLES, Principal, Unauthenticated, allow, is_visible


@pytest.mark.parametrize(
    ("own", "scope", "seen"),
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
def test_what_is_visible(own: tuple[str, str], scope: str, seen: bool) -> None:
    assert is_visible(scope, Principal("x", frozenset(), *own)) is seen


def test_an_actor_is_named_by_the_widest_role() -> None:
    assert Principal("x", frozenset({"applicant", "manager"})).actor == "manager:x"
    assert auth.anonymous().actor == "web:"
    assert all(Principal("x", frozenset({role})).actor == f"{role}:x" for role in ROLES)


def test_a_policy_names_known_roles() -> None:
    with pytest.raises(ValueError, match="emperor"):
        allow("manager", "emperor")
    with pytest.raises(ValueError, match="public"):
        allow()


def test_unauthenticated_is_a_refusal() -> None:
    assert issubclass(Unauthenticated, Refused)
