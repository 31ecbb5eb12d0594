"""A chosen identity of development: roles, and the province, county or lead enterprise that they are bound to."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from contracts.codes import ROLES
from contracts.commands import Refused
from programme.reference import counties, provinces
from security.auth import CONSUMER
from security.permissions import bound_to

CHOSEN = {role: label for role, label in ROLES.items() if role != CONSUMER}  # that anybody may choose
MAX_LENGTH = 100  # characters of a name or an id


class DevIdentity(msgspec.Struct, frozen=True):
    """The claims of an access token about a person or script."""

    sub: str
    roles: tuple[str, ...]
    province: str = ""
    county: str = ""
    lead: str = ""
    name: str = ""


def dev_identity(form: Mapping[str, str]) -> DevIdentity:
    """Return the identity in role (several separated by spaces), province, county, lead, sub and name.

    Raise Refused.
    """
    roles = tuple(dict.fromkeys(form.get("role", "").split()))
    if not roles or not CHOSEN.keys() >= set(roles):
        raise Refused("role_unknown", "role", roles=tuple(CHOSEN))
    bound = bound_to(roles)
    county = form.get("county", "").strip() if "county" in bound else ""
    province = form.get("province", "").strip() if "province" in bound else ""
    if county:
        province = province or _province_of(county)
    if "province" in bound and province not in provinces():
        raise Refused("province_unknown", "province")
    if "county" in bound:
        _check_county(county, province)
    lead = form.get("lead", "").strip()[:MAX_LENGTH] if "lead" in bound else ""
    if "lead" in bound and not lead:
        raise Refused("missing_field", "lead")
    name = " ".join(form.get("name", "").split())[:MAX_LENGTH] or ROLES[roles[0]].fa
    sub = form.get("sub", "").strip()
    if len(sub) > MAX_LENGTH or not sub.isprintable() or ":" in sub:
        raise Refused("value_invalid", "sub")
    sub = sub or pseudonym(" ".join(roles), province, county, lead, form.get("name", ""))
    return DevIdentity(sub, roles, province, county, lead, name)


def pseudonym(*parts: str) -> str:
    """Return an id that is the same for the same form, such as `of-2f9c41d7`."""
    return "of-" + blake2b("/".join(parts).encode(), digest_size=4).hexdigest()


def _province_of(county: str) -> str:
    known = counties().get(county)
    return known.province if known else ""


def _check_county(code: str, province: str) -> None:
    if code not in counties():
        raise Refused("county_unknown", "county")
    if counties()[code].province != province:
        raise Refused("county_not_in_province", "county")
