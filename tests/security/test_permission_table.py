"""The permission table: well formed, complete, the only list of roles, and printed in docs/permissions.md."""

import re

import pytest

from contracts.codes import ROLES
from market.domain.connection import HIGHEST
from peyvand.documentation import PAGES, with_tables
from security.permissions import ACCESS, DIRECTORIES, ROLE_SCOPES, STANDS_FOR, TABLE, bound_to, permits, roles_for


def test_every_cell_is_an_access_and_the_scope_of_its_role() -> None:
    assert set(ROLE_SCOPES) == set(ROLES) - {"applicant"} and set(STANDS_FOR.values()) <= set(ROLE_SCOPES)
    for action, cells in TABLE.items():
        assert cells, action
        for role, cell in cells.items():
            access, scope = cell.split(" ")
            assert access in ACCESS, f"{action} {role}"
            assert scope == ("N" if action in DIRECTORIES else ROLE_SCOPES[role]), f"{action} {role}"


@pytest.mark.parametrize(
    ("action", "access", "roles"),
    [
        ("decide_screening", "W", {"screener", "manager"}),
        ("decide_screening", "R", {"screener", "manager", "labour_expert", "jahad_national", "auditor"}),
        ("decide_appeal", "W", {"manager", "labour_expert", "jahad_national"}),
        ("file_appeal", "W", {"registrar", "manager"}),
        ("see_identity", "R", {"registrar", "county_operator", "manager", "screener"}),
        ("set_quota", "W", {"ministry_admin", "jahad_national", "manager", "labour_expert"}),
        ("move_seats", "W", {"ministry_admin", "jahad_national"}),
        ("sign_proposal", "W", {"ministry_admin"}),
        ("dead_letters", "W", {"operator"}),
    ],
)
def test_access_includes_what_is_less(action: str, access: str, roles: set[str]) -> None:
    assert roles_for(action, access) == roles
    assert all(permits([role], action, access) is (role in roles) for role in ROLES)


def test_what_a_token_must_name() -> None:
    assert bound_to(["registrar"]) == {"province"} and bound_to(["county_operator"]) == {"province", "county"}
    assert bound_to(["lead", "council"]) == {"lead", "province"}
    assert bound_to(["auditor", "service", "applicant"]) == set()


def test_who_may_verify_evidence_is_who_the_rule_knows() -> None:
    assert roles_for("verify_evidence", "W") == set(HIGHEST)


def test_the_page_is_printed_from_the_table() -> None:
    page = next(each for each in PAGES if each.name == "permissions.md").read_text("utf-8")
    assert with_tables(page) == page, "run `python -m peyvand.documentation`"
    assert with_tables(page.replace("W C", "W P")) == page != page.replace("W C", "W P")
    assert "| call centre | `registrar` |" in page
    assert all(re.search(rf"^\| `{action}` \|", page, re.MULTILINE) for action in TABLE)
