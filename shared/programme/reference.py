"""Reference data: provinces, counties, job fields and holidays, as published; `data/` holds the tables."""

import csv
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path

import msgspec

from contracts.commands import Refused
from programme.text import loose_key

_OLD_ONLY = frozenset({"IR-31", "IR-32"})  # codes that ended with the renumbering of 2020-11-24


class Province(msgspec.Struct, frozen=True):
    """A province under its ISO 3166-2:IR code of 2020, which is also the Statistical Centre's."""

    code: str
    name_fa: str
    name_en: str
    capital_fa: str
    capital_en: str
    old_code: str  # before 2020-11-24; 29 of the 31 mean another province today


class County(msgspec.Struct, frozen=True):
    """A county under the Statistical Centre's code: two digits of its province and two of its own."""

    code: str
    province: str
    name_fa: str


class JobField(msgspec.Struct, frozen=True):
    """A job field (رشته); a starred one needs another body's clearance."""

    code: str
    name_fa: str
    name_en: str
    group: str  # one of codes.PRODUCT_GROUPS
    starred: bool
    clearance_body: str
    insurable: bool


class Holiday(msgspec.Struct, frozen=True):
    """A public holiday; lunar ones are confirmed year by year."""

    day: date
    name_fa: str
    kind: str  # fixed | lunar
    certainty: str  # certain | estimated


@cache
def provinces() -> dict[str, Province]:
    """The 31 provinces by code, in the order of their codes; this is the order they are listed in, everywhere."""
    rows = (
        Province(r["code"], r["name_fa"], r["name_en"], r["capital_fa"], r["capital_en"], r["iso_before_2020_11"])
        for r in _table("provinces")
    )
    return {each.code: each for each in sorted(rows, key=lambda each: each.code)}


@cache
def counties() -> dict[str, County]:
    """The 448 counties of 1399 by code, in the order of their codes."""
    rows = (County(r["code"], r["province_code"], r["name_fa"]) for r in _table("counties"))
    return {each.code: each for each in sorted(rows, key=lambda each: each.code)}


@cache
def counties_of(province: str) -> tuple[County, ...]:
    """The counties of one province, in the order of their codes."""
    return tuple(each for each in counties().values() if each.province == province)


@cache
def job_fields() -> dict[str, JobField]:
    """The job fields by code."""
    return {
        r["code"]: JobField(
            r["code"],
            r["name_fa"],
            r["name_en"],
            r["group"],
            r["starred"] == "1",
            r["clearance_body"],
            r["insurable"] == "1",
        )
        for r in _table("job_fields")
    }


@cache
def holidays() -> tuple[Holiday, ...]:
    """The public holidays of 1399 to 1406, one line per occasion; Fridays are not among them."""
    return tuple(
        Holiday(date.fromisoformat(r["gregorian"]), r["name_fa"], r["kind"], r["certainty"]) for r in _table("holidays")
    )


def province(code: str, field: str = "province") -> Province:
    """The province under this code. Raises Refused: province_unknown, province_code_old."""
    if code in _OLD_ONLY:
        raise Refused("province_code_old", field=field, given=code)
    if code not in provinces():
        raise Refused("province_unknown", field=field, given=code)
    return provinces()[code]


def province_named(code: str, name_fa: str) -> Province:
    """The province under this code if it also has this name, however its spaces and letters are typed.

    Codes alone prove nothing, as the old ones were given to other provinces.
    Raises Refused: province_unknown, province_code_old, province_name_mismatch.
    """
    found = province(code.strip())
    if _name_key(name_fa) != _name_key(found.name_fa):
        raise Refused(
            "province_name_mismatch", field="name_fa", given=found.code, expected=found.name_fa, name=name_fa.strip()
        )
    return found


def county_in(code: str, of_province: str, field: str = "county") -> County:
    """The county under this code, of this province. Raises Refused: county_unknown, county_not_in_province."""
    if code not in counties():
        raise Refused("county_unknown", field=field, given=code)
    if counties()[code].province != of_province:
        raise Refused("county_not_in_province", field=field, given=code)
    return counties()[code]


def job_field(code: str, field: str = "field") -> JobField:
    """The job field under this code. Raises Refused: field_unknown."""
    if code not in job_fields():
        raise Refused("field_unknown", field=field, given=code)
    return job_fields()[code]


def _name_key(name: str) -> str:
    return loose_key(name).replace("و", "")  # sources join with it, or leave it out


def _table(name: str) -> Iterator[dict[str, str]]:
    text = (Path(__file__).parent / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
