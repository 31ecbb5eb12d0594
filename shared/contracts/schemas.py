"""JSON Schema 2020-12 of every event, and whether a schema has only grown."""

from typing import Any

import msgspec

from contracts.envelope import CODE_SYSTEM
from contracts.events import PRODUCERS, TYPES, ApplicantEvent, Event

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
INSTANT = {"type": "string", "format": "date-time"}


def schemas() -> dict[str, Schema]:
    """The schema of each type as it travels: a CloudEvent with our context, and its own data."""
    return {name: _schema(service_of(event), event) for name, event in TYPES.items()}


def service_of(event: type[Event]) -> str:
    """The service that says this."""
    return next(service for service, module in PRODUCERS.items() if event.__module__ == module.__name__)


def data_schema(event: type[Event]) -> Schema:
    """The schema of an event's own fields; a field that is absent has its default."""
    made = msgspec.json.schema(event)["$defs"][event.__name__]
    return dict(msgspec.json.decode(msgspec.json.encode(made)))  # as it will be read again: arrays, no tuples


def shrunk(published: Schema, now: Schema, at: str = "") -> list[str]:
    """Where a schema breaks its promise to readers and writers; only optional fields and new codes may be added."""
    broken = [
        f"{at or 'schema'}: {name} was {published.get(name)!r} and is {now.get(name)!r}"
        for name in ("type", "const", "format", "pattern", "default", "minimum", "maximum", "x-of")
        if published.get(name) != now.get(name)
    ]
    broken += [
        f"{at}: {code} is no longer a code" for code in published.get("enum", []) if code not in now.get("enum", [])
    ]
    required = set(published.get("required", []))
    broken += [f"{at}.{name}: became required" for name in now.get("required", []) if name not in required]
    broken += [f"{at}.{name}: is no longer sent" for name in sorted(required - set(now.get("required", [])))]
    for name, inner in published.get("properties", {}).items():
        if name not in now.get("properties", {}):
            broken.append(f"{at}.{name}: is gone")
        else:
            broken += shrunk(inner, now["properties"][name], f"{at}.{name}")
    if "items" in published:
        broken += shrunk(published["items"], now.get("items", {}), f"{at}[]")
    return broken


def _schema(service: str, event: type[Event]) -> Schema:
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
            "specversion": {"const": "1.0"},
            "id": {
                "description": "source/subject/sequence",
                "type": "string",
                "pattern": f"^{service}/.+/[1-9][0-9]*$",
            },
            "type": {"const": event.TYPE},
            "source": {"description": "the service that says it", "const": service},
            "subject": {
                "description": "what it is about; an applicant is a bare UUID",
                "type": "string",
                "pattern": f"^{_UUID}$"
                if about_an_applicant
                else f"^(round:{_ROUND}|ledger:{_ROUND}/{_PROVINCE}|lead:{_UUID})$",
            },
            "sequence": {
                "description": "which of this service's events about this subject: 1, 2, 3 without holes",
                "type": "integer",
                "minimum": 1,
            },
            "time": {"description": "when it happened", **INSTANT},
            "recorded": {"description": "when a machine wrote it down", **INSTANT},
            "datacontenttype": {"const": "application/json"},
            "codesystem": {"description": "of the province's code", "const": CODE_SYSTEM},
            **_CONTEXT,
            **_ORIGIN,
            "data": data_schema(event),
        },
    }


_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ROUND = "1[34][0-9]{2}(-[0-9]{1,2})?"  # the Jalali year, and which of its rounds
_PROVINCE = "IR-(0[0-9]|[12][0-9]|30)"
_OTHER_SUBJECTS = f"^(round:{_ROUND}|ledger:{_ROUND}/{_PROVINCE}|lead:{_UUID})$"
_CONTEXT = {
    "round": {"description": "the round", "type": "string", "pattern": f"^{_ROUND}$"},
    "province": {"description": "of the applicant or the quota", "type": "string", "pattern": f"^{_PROVINCE}$"},
    "county": {"description": "of the applicant", "type": "string", "pattern": "^(0[0-9]|[12][0-9]|30)[0-9]{2}$"},
    "field": {"description": "the job field", "type": "string", "pattern": r"^[A-Z]{2}[0-9]{3}$"},
    "policy": {
        "description": "the version of the policies that apply",
        "type": "string",
        "pattern": "^[0-9]{4}-[0-9]{1,3}$",
    },
}
_ORIGIN = {
    "actor": {
        "description": "role and pseudonymous id of who asked",
        "type": "string",
        "pattern": r"^[a-z_]+:(?![0-9+]+$)[A-Za-z0-9._-]{0,64}$",
    },
    "cause": {
        "description": "source/sequence of what it answers",
        "type": "string",
        "pattern": "^[a-z]+/[1-9][0-9]*$",
    },
    "previous": {
        "description": "BLAKE2b-128 of the bytes of this service's previous event about this subject",
        "type": "string",
        "pattern": r"^[0-9a-f]{32}$",
    },
    "traceparent": {"description": "W3C trace context", "type": "string", "pattern": r"^[0-9a-f]{2}-[0-9a-f-]+$"},
}
