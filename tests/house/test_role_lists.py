"""Who may do what stands in the permission table only: no other module of a service or of `web` lists roles."""

import ast

from security.permissions import ROLE_SCOPES
from tests.house.sources import Source, assert_none, code

PERMITTED = {
    "shared/security/permissions.py",
    "shared/contracts/codes.py",
    "services/market/market/domain/connection.py",  # the evidence that a role may show: a rule, compared with the table
}


def role_lists(source: Source) -> list[str]:
    """Return where a file lists two roles or more, in a collection or as the arguments of a call."""
    if source.path in PERMITTED:
        return []
    found = []
    for node in source.nodes:
        match node:
            case ast.Tuple(elts=items) | ast.Set(elts=items) | ast.List(elts=items) | ast.Call(args=items):
                pass
            case ast.Dict(keys=keys):
                items = [key for key in keys if key]
            case _:
                continue
        named = [each.value for each in items if isinstance(each, ast.Constant) and each.value in ROLE_SCOPES]
        if len(named) > 1:
            found.append(f"{source.path}:{node.lineno}: {', '.join(map(str, named))}")
    return found


def _checked() -> list[Source]:
    return [each for each in code() if each.path.startswith(("services/", "shared/"))]


def test_only_the_permission_table_lists_roles() -> None:
    assert_none([line for each in _checked() for line in role_lists(each)], "name an action of security.permissions")


def test_a_list_of_roles_is_found() -> None:
    for text in ('READERS = ("screener", "manager")', 'x = roles & {"lead", "auditor"}', 'allow("lead", "manager")'):
        assert role_lists(Source("services/market/market/api/x.py", text)), text
    assert not role_lists(Source("services/market/market/api/x.py", 'if "lead" in roles or roles == {"service"}: ...'))
