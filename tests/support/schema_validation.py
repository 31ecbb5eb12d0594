"""Whether what a service says is what it has published: for journeys and live tests, over every event they see."""

import json
from collections.abc import Iterable
from functools import cache

import jsonschema

from contracts.schemas import schemas


def invalid(said: Iterable[bytes]) -> list[str]:
    """The events that break their published schema, each with its id and why."""
    found = []
    for raw in said:
        event = json.loads(raw)
        validator = _validator(event["type"])
        found += [f"{event['id']}: {error.json_path} {error.message}" for error in validator.iter_errors(event)]
    return found


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[name])
