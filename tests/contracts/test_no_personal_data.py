"""No event can hold personal data: every field is a closed vocabulary, a narrow pattern, a small number, or a date
that the programme sets."""

import re
from datetime import date, datetime
from typing import Any

import msgspec
import pytest

from contracts.events import TYPES, ApplicantEvent, Event
from contracts.events.fields import ProgrammeDay
from contracts.schemas import Schema, data_schema, schemas
from tests.house.sources import assert_none

# Data that identifies a person, in the forms in which it could be written.
PERSONAL = {
    "national ID": ["9990000018", "۹۹۹۰۰۰۰۰۱۸", "999-000001-8", "999000001", "999****018"],
    "mobile": ["+989123456789", "09123456789", "۰۹۱۲۳۴۵۶۷۸۹", "9123456789"],
    "name": ["زهرا محمدی", "زهرا", "Zahra", "zahra", "Zahra Mohammadi", "z.mohammadi"],
    "birth date": ["1375-07-05", "1996-09-26", "1375/07/05", "۱۳۷۵-۰۷-۰۵", "13750705"],
    "address": ["سمنان، خیابان امام، پلاک ۴", "12 Imam St", "3519613111"],
    "hash": ["5d41402abc4b2a76b9719d911017c592", "v1:" + "5d" * 32, "5d" * 32, "5d" * 20],
    "contact": ["zahra@example.ir", "https://example.ir/zahra"],
}
LEAST_NATIONAL_ID = 10_000_000  # as a number: the prefix 000 is not issued
ADVICE = "use a type of contracts/events/fields.py"
DERIVED = {"data", "id", "previous", "traceparent"}  # checked elsewhere, derived from the others, or random


def personal_fields(schema: Schema, path: str = "data") -> list[str]:
    """List the fields that could hold personal data, and why."""
    if "const" in schema:
        return []
    kind = schema.get("type")
    if kind == "object":
        return [
            found for name, inner in schema["properties"].items() for found in personal_fields(inner, f"{path}.{name}")
        ]
    if kind == "array":
        return personal_fields(schema["items"], f"{path}[]")
    if kind == "boolean":
        return []
    if kind == "integer":
        fits = schema.get("maximum", LEAST_NATIONAL_ID) < LEAST_NATIONAL_ID
        return [] if fits else [f"{path}: a number that could be a national ID"]
    if kind == "string" and "enum" in schema:
        known = {each for forms in PERSONAL.values() for each in forms}
        return [f"{path}: {code} is personal" for code in schema["enum"] if code in known]
    if kind == "string" and "pattern" in schema:
        return [
            f"{path}: could hold a {what}"
            for what, forms in PERSONAL.items()
            if any(re.search(schema["pattern"], form) for form in forms)
        ]
    if kind == "string" and schema.get("x-set-by") == "programme":
        return []
    return [f"{path}: free text, or a date that the programme does not set"]


@pytest.mark.parametrize("event", TYPES.values(), ids=TYPES)
def test_no_event_can_hold_personal_data(event: type[Event]) -> None:
    assert_none(personal_fields(data_schema(event)), ADVICE)


@pytest.mark.parametrize("name", TYPES)
def test_no_context_can_hold_personal_data(name: str) -> None:
    attributes = schemas()[name]["properties"]
    set_by_programme = {"time", "recorded", "sequence"}
    found = [
        each
        for attribute, schema in attributes.items()
        if attribute not in DERIVED | set_by_programme
        for each in personal_fields(schema, attribute)
    ]
    assert_none(found, ADVICE)


@pytest.mark.parametrize("event", TYPES.values(), ids=TYPES)
def test_every_event_has_few_fields_a_docstring_and_a_versioned_type(event: type[Event]) -> None:
    own = set(event.__struct_fields__) - set(ApplicantEvent.__struct_fields__)
    assert len(own) <= 8
    assert event.__doc__ and event.TYPE.startswith("ir.peyvand.") and event.TYPE.endswith(".v1")


def _with(**field: Any) -> Schema:
    event: Any = msgspec.defstruct("Canary", list(field.items()), bases=(ApplicantEvent,), kw_only=True)
    return data_schema(event)


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
def test_a_field_that_could_hold_personal_data_is_noticed(field: dict[str, Any]) -> None:
    try:
        found = personal_fields(_with(**field))
    except (KeyError, TypeError):
        found = ["no schema can be generated"]
    assert found


@pytest.mark.parametrize(
    "pattern", [r"^\d+$", r"^[a-z]+$", r"^[0-9a-f]{32}$", r"^\+98", r"^.{0,200}$", r"^\d{4}-\d\d-\d\d$"]
)
def test_a_wide_pattern_is_noticed(pattern: str) -> None:
    assert personal_fields({"type": "string", "pattern": pattern})


def test_a_date_set_by_the_programme_is_allowed() -> None:
    assert personal_fields(_with(due=ProgrammeDay)) == []
