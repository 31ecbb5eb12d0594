"""Scopes: "" is the whole country, `IR-20` a province, `IR-20/2001` a county.

Reads put the scope of the principal into the query, or check the one record that they found with `is_visible`. A record
outside the scope is answered exactly as a missing one.
"""

from security.auth import Principal


def is_visible(scope: str, principal: Principal) -> bool:
    """Return whether the principal may see what lies in `scope`."""
    own = principal.scope
    return not own or scope == own or scope.startswith(own + "/")


def restricted(scope: str, province: str) -> str | None:
    """Return the part of a scope inside a province, all of it for ""; None if there is no such part."""
    own = scope.partition("/")[0]
    if not province or province == own:
        return scope
    return None if own else province
