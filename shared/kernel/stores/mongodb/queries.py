"""A `Query` in the language of MongoDB."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from kernel.query import Condition, Query

_OPERATORS = {"lte": "$lte", "gt": "$gt"}


def filter_of(query: Query) -> dict[str, Any]:
    """Return the filter. A page is a union of ranges, each of which an index answers in the order of the query."""
    found: dict[str, Any] = {"kind": query.kind} if query.kind else {}
    found |= {field: {"$ne": None} for field in map(path_of, query.order)}  # missing: null is never stored
    found |= {path_of(field): _condition(condition) for field, condition in query.conditions()}
    ranges = [[found]]
    for key, operator in ((query.after, "$gt"), (query.before, "$lt")):
        if key is not None:
            ranges = [[*one, step] for one in ranges for step in _keyset(query, key, operator)]
    if ranges == [[found]]:
        return found
    return {"$or": [{"$and": conditions} for conditions in ranges]}


def sort_of(query: Query) -> list[tuple[str, int]]:
    """Return the order."""
    return [(path_of(field), 1) for field in query.sort_fields()]


def path_of(field: str) -> str:
    """Return the path of a field in a record's document."""
    return {"subject": "_id", "partition": "partition"}.get(field, f"indexed.{field}")


def _condition(condition: Condition) -> Any:
    value = condition.value
    match condition.operator:
        case "eq":
            return value
        case "in":
            return {"$in": list(value)}
        case "exists":
            return {"$exists": True}
        case "within":
            return {"$regex": rf"^{re.escape(value)}(/|\z)"}
        case "prefix":
            return {"$regex": f"^{re.escape(value)}"}
    return {_OPERATORS[condition.operator]: value}


def _keyset(query: Query, key: Sequence[Any], operator: str) -> Iterator[dict[str, Any]]:
    """Compare the whole sort key: equal in its first fields, above (or below) in the next."""
    paths = [path_of(field) for field in query.sort_fields()]
    for n, (path, value) in enumerate(zip(paths, key, strict=True)):
        yield {**dict(zip(paths[:n], key, strict=False)), path: {operator: value}}
