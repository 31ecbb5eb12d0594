"""No event can say who somebody is: every field is a closed vocabulary, a narrow pattern, a small number, or a day of
the programme."""

import re
from datetime import date, datetime
from typing import Any

import msgspec
import pytest

from contracts.events import TYPES, ApplicantEvent, Event
from contracts.events.words import ProgrammeDay
from contracts.schemas import Schema, data_schema, schemas

# What a person could be known by, in the forms it would be written in.
PERSONAL = {
    "national ID": ["9990000018", "۹۹۹۰۰۰۰۰۱۸", "999-000001-8", "999000001", "999****018"],
    "mobile": ["+989123456789", "09123456789", "۰۹۱۲۳۴۵۶۷۸۹", "9123456789"],
    "name": ["زهرا محمدی", "زهرا", "Zahra", "zahra", "Zahra Mohammadi", "z.mohammadi"],
    "birth date": ["1375-07-05", "1996-09-26", "1375/07/05", "۱۳۷۵-۰۷-۰۵", "13750705"],
    "address": ["سمنان، خیابان امام، پلاک ۴", "12 Imam St", "3519613111"],
    "hash": ["5d41402abc4b2a76b9719d911017c592", "v1:" + "5d" * 32, "5d" * 32, "5d" * 20],
    "contact": ["zahra@example.ir", "https://example.ir/zahra"],
}
LEAST_NATIONAL_ID = 10_000_000  # as a number: no place has the prefix 000
ENVELOPE_OF_ITS_OWN = {"data", "id", "previous", "traceparent"}  # made of the rest, or of machines' bytes


def tells(schema: Schema, at: str = "data") -> list[str]:
    """The fields that could say something personal, and why."""
    if "const" in schema:
        return []
    kind = schema.get("type")
    if kind == "object":
        return [told for name, inner in schema["properties"].items() for told in tells(inner, f"{at}.{name}")]
    if kind == "array":
        return tells(schema["items"], f"{at}[]")
    if kind == "boolean":
        return []
    if kind == "integer":
        fits = schema.get("maximum", LEAST_NATIONAL_ID) < LEAST_NATIONAL_ID
        return [] if fits else [f"{at}: a number that could be somebody's"]
    if kind == "string" and "enum" in schema:
        known = {each for forms in PERSONAL.values() for each in forms}
        return [f"{at}: {code} is personal" for code in schema["enum"] if code in known]
    if kind == "string" and "pattern" in schema:
        return [
            f"{at}: could hold a {what}"
            for what, forms in PERSONAL.items()
            if any(re.search(schema["pattern"], form) for form in forms)
        ]
    if kind == "string" and schema.get("x-of") == "programme":
        return []
    return [f"{at}: free text, or a day out of somebody's life"]


@pytest.mark.parametrize("event", TYPES.values(), ids=TYPES)
def test_no_event_can_tell_who_somebody_is(event: type[Event]) -> None:
    assert tells(data_schema(event)) == []


@pytest.mark.parametrize("name", TYPES)
def test_neither_can_the_context(name: str) -> None:
    attributes = schemas()[name]["properties"]
    of_the_programme = {"time", "recorded", "sequence"}
    told = [
        each
        for attribute, schema in attributes.items()
        if attribute not in ENVELOPE_OF_ITS_OWN | of_the_programme
        for each in tells(schema, attribute)
    ]
    assert told == []


@pytest.mark.parametrize("event", TYPES.values(), ids=TYPES)
def test_a_handful_of_fields_each(event: type[Event]) -> None:
    own = set(event.__struct_fields__) - set(ApplicantEvent.__struct_fields__)
    assert len(own) <= 8
    assert event.__doc__ and event.TYPE.startswith("ir.peyvand.") and event.TYPE.endswith(".v1")


def _with(**field: Any) -> Schema:
    made: Any = msgspec.defstruct("Canary", list(field.items()), bases=(ApplicantEvent,), kw_only=True)
    return data_schema(made)


@pytest.mark.parametrize(
    "field",
    [
        {"name": str},
        {"birth": date},
        {"born": datetime},
        {"national_id": int},
        {"note": str | None},
        {"reasons": tuple[str, ...]},
        {"extra": dict[str, str]},
        {"anything": Any},
        {"hash": msgspec.Raw},
    ],
    ids=str,
)
def test_the_guard_bites(field: dict[str, Any]) -> None:
    try:
        told = tells(_with(**field))
    except (KeyError, TypeError):
        told = ["not even a schema"]
    assert told


@pytest.mark.parametrize(
    "pattern", [r"^\d+$", r"^[a-z]+$", r"^[0-9a-f]{32}$", r"^\+98", r"^.{0,200}$", r"^\d{4}-\d\d-\d\d$"]
)
def test_a_wide_pattern_is_noticed(pattern: str) -> None:
    assert tells({"type": "string", "pattern": pattern})


def test_a_day_of_the_programme_is_allowed() -> None:
    assert tells(_with(due=ProgrammeDay)) == []
