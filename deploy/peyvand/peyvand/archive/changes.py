"""The change events of a database: which of them are complete transactions, and their effect on documents. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument, tz_aware=True)
EXACT: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
OPERATIONS = frozenset({"insert", "replace", "update", "delete"})  # others change more than a document

Event = Mapping[str, Any]
Documents = dict[bytes, dict[str, Any] | None]  # documentKey in BSON -> document; None: there is none


class UnfitChange(Exception):
    """An event does not fit the document that it changes."""


E = TypeVar("E", bound=Event)


def whole(events: Sequence[E], token: Event) -> tuple[Sequence[E], Sequence[E]]:
    """Return the events of complete transactions, and those of the last one if it may go on.

    `token` is the stream's resume token after the events: a later one than that of the last event shows that no more
    of its transaction follows.
    """
    if not events or events[-1]["_id"] != token or "txnNumber" not in events[-1]:
        return events, ()
    last, n = _transaction(events[-1]), len(events)
    while n and _transaction(events[n - 1]) == last:
        n -= 1
    return events[:n], events[n:]


def _transaction(event: Event) -> tuple[Any, Any]:
    return event.get("lsid"), event.get("txnNumber")


def apply(documents: Documents, event: Event, *, exact: bool) -> None:
    """Change the documents as an event does.

    Where they may hold later states (a base copy takes a while), `exact` is false, and what does not fit is left to
    the events that led to these states. Raise UnfitChange if it is true.
    """
    key = event["documentKey"].raw
    match event["operationType"]:
        case "insert" | "replace":
            documents[key] = _decoded(event["fullDocument"])
        case "delete":
            documents[key] = None
        case _:
            document = documents.get(key)
            fits = document is not None and _update(document, _decoded(event["updateDescription"]))
            if exact and not fits:
                raise UnfitChange(f"an event of {event['ns']['coll']} does not fit its document")


def _decoded(raw: RawBSONDocument) -> dict[str, Any]:
    return bson.decode(raw.raw, EXACT)


def _update(document: dict[str, Any], description: Mapping[str, Any]) -> bool:
    """Apply an updateDescription; return whether all of it fitted."""
    fits = [_truncate(document, each["field"], each["newSize"]) for each in description.get("truncatedArrays") or ()]
    fits += [_set(document, path, value) for path, value in description["updatedFields"].items()]
    fits += [_remove(document, path) for path in description["removedFields"]]
    return all(fits)


def _truncate(document: dict[str, Any], path: str, size: int) -> bool:
    array = _at(document, path.split("."))
    if not isinstance(array, list) or len(array) < size:
        return False
    del array[size:]
    return True


def _set(document: dict[str, Any], path: str, value: Any) -> bool:
    *parents, name = path.split(".")
    parent = _at(document, parents)
    if isinstance(parent, dict):
        parent[name] = value
        return True
    if not isinstance(parent, list) or not name.isdigit() or int(name) > len(parent):
        return False
    parent[int(name) : int(name) + 1] = [value]
    return True


def _remove(document: dict[str, Any], path: str) -> bool:
    *parents, name = path.split(".")
    parent = _at(document, parents)
    if not isinstance(parent, dict) or name not in parent:
        return False
    del parent[name]
    return True


def _at(document: dict[str, Any], path: Sequence[str]) -> Any:
    """Return the value at a path; None if there is none."""
    value: Any = document
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value
