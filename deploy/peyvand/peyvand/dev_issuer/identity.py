"""A chosen identity of development: roles, and the province, county or lead enterprise that they are bound to."""

from collections.abc import Mapping
from hashlib import blake2b

import msgspec

from programme.reference import counties, provinces


class Role(msgspec.Struct, frozen=True):
    """A role of the programme in both languages, and the kind of scope that it is bound to."""

    fa: str
    en: str
    bound_to: str = ""  # province | county | lead


ROLES: Mapping[str, Role] = {
    "registrar": Role("مسئول ثبت‌نام", "Registrar", "province"),
    "screener": Role("کارشناس پایش", "Screener", "province"),
    "manager": Role("مجری استان", "Executive manager", "province"),
    "labour_expert": Role("کارشناس ادارهٔ کار", "Labour expert", "province"),
    "county_operator": Role("کارشناس شهرستان", "County operator", "county"),
    "lead": Role("پیشران", "Lead enterprise", "lead"),
    "council": Role("عضو شورای راهبری", "Council member", "province"),
    "ministry_admin": Role("مدیر سهمیهٔ وزارت", "Ministry quota administrator"),
    "analyst": Role("تحلیلگر وزارت", "Ministry analyst"),
    "auditor": Role("ناظر", "Auditor"),
    "operator": Role("متصدی سامانه", "Operator"),
    "applicant": Role("متقاضی", "Applicant"),
    "service": Role("سرویس", "Service"),
}
MAX_LENGTH = 100  # characters of a name or an id


class DevIdentity(msgspec.Struct, frozen=True):
    """The claims of an access token about a person or script."""

    sub: str
    roles: tuple[str, ...]
    province: str = ""
    county: str = ""
    lead: str = ""
    name: str = ""


class InvalidIdentity(ValueError):
    """The form holds no valid identity: the field, and the reason in both languages."""

    def __init__(self, field: str, persian: str, english: str) -> None:
        super().__init__(english)
        self.field, self.persian, self.english = field, persian, english


def dev_identity(form: Mapping[str, str]) -> DevIdentity:
    """Return the identity in role (several separated by spaces), province, county, lead, sub and name.

    Raise InvalidIdentity.
    """
    roles = tuple(dict.fromkeys(form.get("role", "").split()))
    if not roles:
        raise InvalidIdentity("role", "نقش خود را انتخاب کنید.", "Choose a role.")
    if unknown := [role for role in roles if role not in ROLES]:
        known = ", ".join(ROLES)
        raise InvalidIdentity(
            "role", "این نقش شناخته نیست.", f"There is no role {unknown[0]!r}; the roles are {known}."
        )
    bound = {ROLES[role].bound_to for role in roles}
    county = form.get("county", "").strip() if "county" in bound else ""
    province = form.get("province", "").strip() if bound & {"province", "county"} else ""
    if county:
        province = province or _province_of(county)
    if bound & {"province", "county"}:
        _check_province(province)
    if "county" in bound:
        _check_county(county, province)
    lead = form.get("lead", "").strip()[:MAX_LENGTH] if "lead" in bound else ""
    if "lead" in bound and not lead:
        raise InvalidIdentity("lead", "شناسهٔ پیشران را بنویسید.", "Give the id of the lead enterprise.")
    name = " ".join(form.get("name", "").split())[:MAX_LENGTH] or ROLES[roles[0]].fa
    sub = form.get("sub", "").strip()
    if len(sub) > MAX_LENGTH or not sub.isprintable() or ":" in sub:
        raise InvalidIdentity("sub", "این شناسه پذیرفته نیست.", "sub must be short, printable and without a colon.")
    sub = sub or pseudonym(" ".join(roles), province, county, lead, form.get("name", ""))
    return DevIdentity(sub, roles, province, county, lead, name)


def pseudonym(*parts: str) -> str:
    """Return an id that is the same for the same form, such as `of-2f9c41d7`."""
    return "of-" + blake2b("/".join(parts).encode(), digest_size=4).hexdigest()


def _province_of(county: str) -> str:
    known = counties().get(county)
    return known.province if known else ""


def _check_province(code: str) -> None:
    if not code:
        raise InvalidIdentity("province", "استان را انتخاب کنید.", "This role needs a province, such as IR-20.")
    if code not in provinces():
        raise InvalidIdentity(
            "province",
            "این کد استان در فهرست امروز نیست.",
            f"{code!r} is no province code of today (ISO 3166-2:IR since 2020: IR-00 to IR-30).",
        )


def _check_county(code: str, province: str) -> None:
    if not code:
        raise InvalidIdentity("county", "شهرستان را انتخاب کنید.", "This role needs a county, such as 2001.")
    if code not in counties():
        raise InvalidIdentity("county", "این کد شهرستان شناخته نیست.", f"There is no county {code!r}.")
    if counties()[code].province != province:
        raise InvalidIdentity("county", "این شهرستان در آن استان نیست.", f"County {code} is not in {province}.")
