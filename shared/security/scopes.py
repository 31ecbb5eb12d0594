"""Scopes: "" is the whole country, `IR-20` a province, `IR-20/2001` a county.

Reads put the scope of the principal into the query, or check the one record that they found with `is_visible`. A record
outside the scope is answered exactly as a missing one.
"""

import re

from contracts.commands import Refused
from security.auth import Principal

# The 31 provinces are IR-00 to IR-30 without a gap; a test compares this with the reference data.
_PROVINCE = re.compile(r"IR-(?:[0-2][0-9]|30)", re.ASCII)
_OLD_ONLY = frozenset({"IR-31", "IR-32"})  # codes that ended with the renumbering of 2020-11-24


def is_visible(scope: str, principal: Principal) -> bool:
    """Return whether the principal may see what lies in `scope`."""
    own = principal.scope
    return not own or scope == own or scope.startswith(own + "/")


def scope_of(principal: Principal, province: str) -> str | None:
    """Return the part of the principal's scope inside this province, all of it for ""; None if there is no such part.

    Raise Refused: province_unknown, province_code_old.
    """
    if not province:
        return principal.scope
    if province in _OLD_ONLY:
        raise Refused("province_code_old", field="province", given=province)
    if not _PROVINCE.fullmatch(province):
        raise Refused("province_unknown", field="province", given=province)
    if province == principal.province:
        return principal.scope
    return None if principal.province else province
