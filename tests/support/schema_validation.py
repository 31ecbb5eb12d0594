"""Validation of emitted events against their published schemas, for journeys and live tests."""

import json
from collections.abc import Iterable
from functools import cache

import jsonschema

from contracts.schemas import schemas


def invalid(events: Iterable[bytes]) -> list[str]:
    """List the violations of the published schemas, each with the id of its event."""
    violations = []
    for raw in events:
        event = json.loads(raw)
        validator = _validator(event["type"])
        violations += [f"{event['id']}: {error.json_path} {error.message}" for error in validator.iter_errors(event)]
    return violations


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[name])
