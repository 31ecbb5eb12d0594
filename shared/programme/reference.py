"""Reference data: provinces, counties and job fields, from the published tables in `data/`."""

import csv
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from contracts.commands import Refused
from programme.text import loose_key, sort_key

_OLD_ONLY = frozenset({"IR-31", "IR-32"})  # codes withdrawn by the renumbering of 2020-11-24


class Province(msgspec.Struct, frozen=True):
    """A province by its ISO 3166-2:IR code of 2020, which is also the code of the Statistical Centre of Iran."""

    code: str
    name_fa: str
    name_en: str
    capital_fa: str
    capital_en: str
    old_code: str  # before 2020-11-24; 29 of the 31 denote another province today

    def name(self, lang: str) -> str:
        """Return the name in `fa` or `en`."""
        return self.name_fa if lang == "fa" else self.name_en


class County(msgspec.Struct, frozen=True):
    """A county by its code of the Statistical Centre: two digits of the province and two of the county."""

    code: str
    province: str
    name_fa: str
    name_en: str

    def name(self, lang: str) -> str:
        """Return the name in `fa` or `en`."""
        return self.name_fa if lang == "fa" else self.name_en


class JobField(msgspec.Struct, frozen=True):
    """A job field (رشته); a starred one requires the clearance of another authority."""

    code: str
    name_fa: str
    name_en: str
    group: str  # one of codes.PRODUCT_GROUPS
    starred: bool
    clearance_body: str
    insurable: bool

    def name(self, lang: str) -> str:
        """Return the name in `fa` or `en`."""
        return self.name_fa if lang == "fa" else self.name_en


@cache
def provinces() -> dict[str, Province]:
    """Return the 31 provinces by code, sorted by code; `by_name` for lists that people read."""
    rows = (
        Province(r["code"], r["name_fa"], r["name_en"], r["capital_fa"], r["capital_en"], r["iso_before_2020_11"])
        for r in _table("provinces")
    )
    return {each.code: each for each in sorted(rows, key=lambda each: each.code)}


@cache
def counties() -> dict[str, County]:
    """Return the 448 counties of 1399 by code, sorted by code."""
    rows = (County(r["code"], r["province_code"], r["name_fa"], r["name_en"]) for r in _table("counties"))
    return {each.code: each for each in sorted(rows, key=lambda each: each.code)}


@cache
def counties_of(province: str) -> tuple[County, ...]:
    """Return the counties of one province, sorted by code."""
    return tuple(each for each in counties().values() if each.province == province)


@cache
def job_fields() -> dict[str, JobField]:
    """Return the job fields by code."""
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


class Named(Protocol):
    """What has a name in both languages."""

    def name(self, lang: str) -> str:
        """Return the name in `fa` or `en`."""
        ...


N = TypeVar("N", bound=Named)


def by_name(items: Iterable[N], lang: str) -> list[N]:
    """Return provinces, counties or job fields in the alphabetical order of a language, for lists to choose from."""
    return sorted(items, key=lambda each: sort_key(each.name(lang)))


def province(code: str, field: str = "province") -> Province:
    """Return the province with this code. Raise Refused: province_unknown, province_code_old."""
    if code in _OLD_ONLY:
        raise Refused("province_code_old", field=field, given=code)
    if code not in provinces():
        raise Refused("province_unknown", field=field, given=code)
    return provinces()[code]


def province_or_all(code: str) -> str:
    """Return the code of a province, or "" for all of them. Raise Refused: province_unknown, province_code_old."""
    return province(code).code if code else ""


def province_named(code: str, name_fa: str) -> Province:
    """Return the province with this code and this name, compared regardless of spaces and letter variants.

    The code alone is not sufficient, because old codes were reassigned to other provinces.
    Raise Refused: province_unknown, province_code_old, province_name_mismatch.
    """
    found = province(code.strip())
    if _name_key(name_fa) != _name_key(found.name_fa):
        raise Refused(
            "province_name_mismatch", field="name_fa", given=found.code, expected=found.name_fa, name=name_fa.strip()
        )
    return found


def is_area(province: str, county: str) -> bool:
    """Return whether there is a province with this code and, if one is given, this county in it."""
    known = counties().get(county)
    return province in provinces() and (not county or (known is not None and known.province == province))


def county_in(code: str, of_province: str, field: str = "county") -> County:
    """Return the county with this code in this province. Raise Refused: county_unknown, county_not_in_province."""
    if code not in counties():
        raise Refused("county_unknown", field=field, given=code)
    if counties()[code].province != of_province:
        raise Refused("county_not_in_province", field=field, given=code)
    return counties()[code]


def job_field(code: str, field: str = "field") -> JobField:
    """Return the job field with this code. Raise Refused: field_unknown."""
    if code not in job_fields():
        raise Refused("field_unknown", field=field, given=code)
    return job_fields()[code]


def _name_key(name: str) -> str:
    return loose_key(name).replace("و", "")  # «و» joins two words in some sources and is omitted in others


def _table(name: str) -> Iterator[dict[str, str]]:
    text = (Path(__file__).parent / "data" / f"{name}.csv").read_text(encoding="utf-8")
    return csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
