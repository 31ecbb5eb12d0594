"""What somebody states to apply, checked the same way at the desk, on the page and in a file."""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from unicodedata import combining

import msgspec

from contracts import codes
from contracts.commands import Refused
from programme import calendar, numbers, reference, text
from programme.policies import Policy
from registration.domain import consent

OLDEST = 120  # years; more is a slip of the pen
NAME_LENGTH = 60


class Person(msgspec.Struct, frozen=True):
    """Who applies: what no event, log or metric ever holds."""

    national_id: str
    first_name: str
    last_name: str
    birth_date: date
    mobile: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """An application without a fault in it."""

    person: Person
    province: str
    county: str
    field: str
    sex: str
    age_band: str
    work_mode: str
    consent: str  # the version of the text that was agreed to


class NotAccepted(Exception):
    """At least one answer has a fault; each names its field."""

    def __init__(self, faults: list[Refused]) -> None:
        super().__init__(", ".join(f"{each.field}: {each.code}" for each in faults))
        self.faults = faults


Typed = Mapping[str, str]
ANSWERS = (
    "province",
    "county",
    "national_id",
    "first_name",
    "last_name",
    "birth_date",
    "sex",
    "mobile",
    "field",
    "work_mode",
    "consent",
)
_IN_NAMES = " \u200c-'’."


def accept(typed: Typed, today: date, policy: Policy) -> Accepted:
    """The application in these answers. Raises NotAccepted with every fault there is."""
    found, faults = check(ANSWERS, typed, today, policy)
    if faults:
        raise NotAccepted(faults)
    person = Person(**{name: found[name] for name in Person.__struct_fields__})
    return Accepted(
        person=person,
        province=found["province"],
        county=found["county"],
        field=found["field"],
        sex=found["sex"],
        age_band=calendar.age_band(calendar.age_on(person.birth_date, today)),
        work_mode=found["work_mode"],
        consent=found["consent"],
    )


def check(names: Iterable[str], typed: Typed, today: date, policy: Policy) -> tuple[dict[str, Any], list[Refused]]:
    """What these answers mean, and the faults of those that mean nothing."""
    found: dict[str, Any] = {}
    faults: list[Refused] = []
    for name in names:
        try:
            if not typed.get(name, "").strip():
                raise Refused("consent_missing" if name == "consent" else "missing_field", field=name)
            found[name] = _meaning(name, typed, today, policy)
        except Refused as refused:
            faults.append(refused)
    return found, faults


def _meaning(name: str, typed: Typed, today: date, policy: Policy) -> Any:
    said = typed[name]
    match name:
        case "national_id":
            return numbers.national_id(said)
        case "mobile":
            return numbers.mobile(said)
        case "first_name" | "last_name":
            return _name(said, name)
        case "birth_date":
            return _birth_date(said, today, policy)
        case "province":
            return reference.province(said.strip()).code
        case "county":
            return reference.county_in(text.digits(said.strip()), typed.get("province", "").strip()).code
        case "field":
            return reference.job_field(said.strip()).code
        case "sex":
            return _one_of(codes.SEXES, said, name)
        case "work_mode":
            return _one_of(codes.WORK_MODES, said, name)
        case "consent" if said.strip() in consent.TEXTS:
            return said.strip()
    raise Refused("consent_missing", field=name)


def _birth_date(said: str, today: date, policy: Policy) -> date:
    born = calendar.parse_date(said, "birth_date")
    if born > today:
        raise Refused("birth_date_future", field="birth_date")
    age = calendar.age_on(born, today)
    if age > OLDEST:
        raise Refused("birth_date_implausible", field="birth_date")
    if age < policy.minimum_age:
        raise Refused("underage", field="birth_date", minimum=policy.minimum_age)
    return born


def _name(said: str, field: str) -> str:
    name = text.display(said)
    if len(name) > NAME_LENGTH or not all(each.isalpha() or each in _IN_NAMES or combining(each) for each in name):
        raise Refused("name_invalid", field=field)
    return name


def _one_of(labels: Mapping[str, codes.Label], said: str, field: str) -> str:
    if said.strip() not in labels:
        raise Refused("code_unknown", field=field)
    return said.strip()
