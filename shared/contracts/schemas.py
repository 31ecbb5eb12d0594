"""JSON Schema 2020-12 of every event, and the compatibility check between two versions of a schema."""

from collections.abc import Iterator
from typing import Any

import msgspec

from contracts.envelope import CODE_SYSTEM, LAST_SEQUENCE, PATTERNS
from contracts.events import PRODUCERS, TYPES, ApplicantEvent, Event
from contracts.events.fields import END, INSTANT_PATTERN
from contracts.subjects import SUBJECTS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
INSTANT = {"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}

_FIXED = ("type", "const", "format", "pattern", "default", "minimum", "maximum", "maxItems", "x-set-by")


def schemas() -> dict[str, Schema]:
    """Return the schema of each event type as it travels: a CloudEvent with its context and `data`."""
    return {name: _schema(producer_of(event), event) for name, event in TYPES.items()}


def producer_of(event: type[Event]) -> str:
    """Return the service that emits this event."""
    return next(service for service, module in PRODUCERS.items() if event.__module__ == module.__name__)


def data_schema(event: type[Event]) -> Schema:
    """Return the schema of `data`, the event's own fields. A field that is absent has its default."""
    generated = msgspec.json.schema(event)["$defs"][event.__name__]
    encoded = msgspec.json.encode(generated).replace(msgspec.json.encode(END)[1:-1], b"$")
    return dict(msgspec.json.decode(encoded))  # lists, not tuples, as in the published file


def incompatibilities(published: Schema, current: Schema, path: str = "") -> list[str]:
    """List how a schema breaks readers or writers of the published one; only optional fields and codes may be added."""
    return [*_changes(published, current, path), *_changes_inside(published, current, path)]


def _changes(published: Schema, current: Schema, path: str) -> Iterator[str]:
    for name in _FIXED:
        if published.get(name) != current.get(name):
            yield f"{path or 'schema'}: {name} was {published.get(name)!r} and is {current.get(name)!r}"
    for code in published.get("enum", []):
        if code not in current.get("enum", []):
            yield f"{path}: {code} is no longer a code"
    before, after = set(published.get("required", [])), set(current.get("required", []))
    yield from (f"{path}.{name}: became required" for name in sorted(after - before))
    yield from (f"{path}.{name}: is no longer sent" for name in sorted(before - after))


def _changes_inside(published: Schema, current: Schema, path: str) -> Iterator[str]:
    for name, inner in published.get("properties", {}).items():
        if name in current.get("properties", {}):
            yield from incompatibilities(inner, current["properties"][name], f"{path}.{name}")
        else:
            yield f"{path}.{name}: is gone"
    if "items" in published:
        yield from incompatibilities(published["items"], current.get("items", {}), f"{path}[]")


def _schema(producer: str, event: type[Event]) -> Schema:
    about_an_applicant = issubclass(event, ApplicantEvent)
    always = ["specversion", "id", "type", "source", "subject", "sequence", "time", "datacontenttype", "codesystem"]
    return {
        "$schema": DIALECT,
        "$id": f"urn:{event.TYPE}",
        "title": event.__name__,
        "description": event.__doc__,
        "type": "object",
        "required": [*always, "data", *(_CONTEXT if about_an_applicant else ())],
        "properties": {
            "specversion": {"description": "Version of the CloudEvents specification.", "const": "1.0"},
            "id": {
                "description": "Unique id of the event, `source/subject/sequence`. "
                "A consumer that has handled this id may skip the event.",
                "type": "string",
                "pattern": f"^{producer}/.+/[1-9][0-9]*$",
            },
            "type": {"description": "Type and version of the event.", "const": event.TYPE},
            "source": {"description": "Service that emits this event.", "const": producer},
            "subject": {
                "description": "What the event is about, and the key of the Kafka record: an applicant's UUID, or "
                "`round:`, `ledger:` or `lead:` with an id.",
                "type": "string",
                "pattern": f"^{SUBJECTS[event.KIND]}$",
            },
            "sequence": {
                "description": "Position among the events of this source about this subject: 1, 2, 3, without gaps.",
                "type": "integer",
                "minimum": 1,
                "maximum": LAST_SEQUENCE,
            },
            "time": {"description": "When it happened, in programme time (it may be simulated).", **INSTANT},
            "recorded": {"description": "When a machine recorded it, by its own clock.", **INSTANT},
            "datacontenttype": {"description": "Media type of `data`.", "const": "application/json"},
            "codesystem": {"description": "Code system of `province`.", "const": CODE_SYSTEM},
            **_CONTEXT,
            **_ORIGIN,
            "data": data_schema(event),
        },
    }


def _pattern(attribute: str) -> str:
    return f"^{PATTERNS[attribute]}$"


_CONTEXT = {
    "round": {
        "description": "Round: its Jalali year, and its number within the year where there are several.",
        "type": "string",
        "pattern": _pattern("round"),
    },
    "province": {
        "description": "Province of the applicant, the quota or the lead enterprise, as in `codesystem`.",
        "type": "string",
        "pattern": _pattern("province"),
    },
    "county": {
        "description": "County of the applicant; code of the Statistical Centre of Iran, province first.",
        "type": "string",
        "pattern": _pattern("county"),
    },
    "field": {
        "description": "Job field of the application.",
        "type": "string",
        "pattern": _pattern("field"),
    },
    "policy": {
        "description": "Version of the policies that apply.",
        "type": "string",
        "pattern": _pattern("policy"),
    },
}
_ORIGIN = {
    "actor": {
        "description": "Role and pseudonymous id of the person or job that caused it, `role:id`.",
        "type": "string",
        "pattern": _pattern("actor"),
    },
    "cause": {
        "description": "Event about the same subject to which this one is a reaction, `source/sequence`.",
        "type": "string",
        "pattern": _pattern("cause"),
    },
    "previous": {
        "description": "BLAKE2b-128 digest, in hexadecimal, of the bytes of this source's previous event about this "
        "subject; absent from the first. (In published examples: of the id of that event.)",
        "type": "string",
        "pattern": _pattern("previous"),
    },
    "traceparent": {
        "description": "W3C trace context.",
        "type": "string",
        "pattern": _pattern("traceparent"),
    },
}
