"""What a log line may hold: these fields, each in its shape, and nothing else.

A field that is not listed, or whose value has another shape, is dropped; `dropped` in the line holds its name only.
An exception is written as its class, the number that the system gave it, and where it was raised: never its message,
which may quote what a person sent. The message of our own exceptions is a constant at that place in the code.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from traceback import walk_tb
from types import TracebackType
from typing import Any

from contracts.subjects import SUBJECTS
from contracts.topics import TOPICS

DROPPED = "dropped"
ERROR_IDS = 10**9  # so many that two requests of a day hardly share one
REQUEST_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # random, in hexadecimal
FRAMES = 12  # of one exception, the innermost
CAUSES = 5  # of one exception

_DIGITS = r"(?!.*\d{5})"  # no number that could identify a person
_KIND = r"(?!\w*\d{5})[A-Z_]\w{0,79}( \d{1,5})?"
_TOPICS = {topic.name for topic in TOPICS}
_Shape = Callable[[Any], bool]


def error_id(request_id: str) -> str:
    """Return the digits of a request that can be dictated, `713-088-204`; its log lines have them as `error_id`.

    They follow from the request id. What is no request id is returned unchanged.
    """
    if not REQUEST_ID.fullmatch(request_id):
        return request_id
    digits = f"{int(request_id.replace('-', '')[-15:], 16) % ERROR_IDS:09}"
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"


def _matches(pattern: str) -> _Shape:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _each(shape: _Shape) -> _Shape:
    return lambda value: isinstance(value, list | tuple) and all(map(shape, value))


_NAME = _matches(_DIGITS + r"[a-z][a-z0-9_-]{0,59}")
_WORDS = _matches(_DIGITS + r"[A-Za-z][A-Za-z0-9,;:_-]{0,19}( [A-Za-z0-9,;:_-]{1,20}){0,29}")  # of our code only
_SUBJECT = f"({'|'.join(SUBJECTS.values())})"
_PARTITION = rf"({'|'.join(sorted(_TOPICS))})/\d{{1,3}}(@\d+|: [A-Za-z0-9 ,:_-]{{1,200}})?"

COUNTS = ("addresses", "attempt", "events", "fit", "head", "missing", "new", "offsets", "open", "records", "seconds")
FIELDS: Mapping[str, _Shape] = {
    # from the configuration of the log
    "level": _matches("debug|info|warning|error|critical"),
    "at": _matches(r"[0-9T:.-]+Z"),
    "service": _NAME,
    "role": _NAME,
    "logger": _matches(_DIGITS + r"[a-z_][a-z0-9_.]{0,79}"),
    # from a request
    "error_id": _matches(r"\d{3}-\d{3}-\d{3}"),
    "request_id": lambda value: isinstance(value, str) and REQUEST_ID.fullmatch(value) is not None,
    "method": _matches("[A-Z]{3,7}"),
    "route": _matches(_DIGITS + r"unmatched|/[\w/{}.:-]{0,200}"),  # a template, never a path
    # of events and records
    "event_id": _matches(rf"[a-z]+/{_SUBJECT}/\d{{1,10}}"),
    "subject": _matches(_SUBJECT),
    "after": _matches(_SUBJECT),
    "type": _matches(r"[a-z_.]+\.v\d{1,3}"),
    "topic": lambda value: isinstance(value, str) and value in _TOPICS,
    "topic_id": _matches(r"[\w-]{22}"),
    "digest": _matches("[0-9a-f]{64}"),  # of a head of the audit chains
    "producer": _NAME,
    "path": _matches(r"\$(\.[a-z_]{1,40}|\[\]|\[\.\.\.\])*"),  # in an event, of declared fields only
    "partitions": _each(_matches(_PARTITION)),  # with the offset, or why they cannot be read
    "first_missing": _each(_matches(rf"[a-z]+/{_SUBJECT}/\d{{1,10}}")),
    # of the process
    "reason": _WORDS,
    "error": _matches(rf"{_KIND}( from {_KIND})*" + r"( at [\w./-]+:\d+ [\w<>]+)?"),
    "where": _matches(r"[\w./<>-]+:\d+( [\w<>]+)?"),
    "exception": _each(_matches(_KIND + r"( at [\w./-]+:\d+ [\w<>]+(, [\w./-]+:\d+ [\w<>]+)*)?")),
    "job": _matches(r"[A-Z][A-Za-z]{1,39}"),
    "database": _NAME,
    "loop": _NAME,
    **dict.fromkeys(COUNTS, _number),
}


def permitted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that a log line may hold, and the names of those that were dropped."""
    written = {name: described(value) if isinstance(value, BaseException) else value for name, value in fields.items()}
    kept = {name: value for name, value in written.items() if name in FIELDS and FIELDS[name](value)}
    dropped = sorted(name for name in written if name not in kept)
    return kept | ({DROPPED: dropped} if dropped else {})


def described(error: BaseException) -> str:
    """Return class, number and place of an exception: `Transient from AutoReconnect at mongodb/client.py:40 read`."""
    kinds, frames = " from ".join(map(_kind, _causes(error))), _frames(error.__traceback__)
    return f"{kinds} at {frames[-1]}" if frames else kinds


def chain(error: BaseException) -> list[str]:
    """Return class, number and frames of an exception, then of its causes; frames without source and values."""
    return [
        f"{_kind(each)} at {', '.join(frames)}" if (frames := _frames(each.__traceback__)[-FRAMES:]) else _kind(each)
        for each in _causes(error)
    ]


def place(file: str, line: int, function: str) -> str:
    """Return a place in the code, as far as the path is the same on every machine."""
    parts = PurePath(file).parts
    start = next((n + 1 for n, part in reversed(list(enumerate(parts))) if part in _ROOTS), len(parts) - 2)
    return f"{re.sub(r'[^0-9A-Za-z_./-]', '_', '/'.join(parts[max(0, start) :]))}:{line} {_function(function)}"


_ROOTS = ("site-packages", "shared", "services", "peyvand")


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: list[BaseException] = [error]
    for each in found:  # grows meanwhile
        yield each
        if len(found) >= CAUSES:
            continue
        if isinstance(each, BaseExceptionGroup):
            found += each.exceptions[: CAUSES - len(found)]
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None and cause not in found:
            found.append(cause)


def _frames(traceback: TracebackType | None) -> Sequence[str]:
    return [place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in walk_tb(traceback)]


def _function(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else "<code>"


def _kind(error: BaseException) -> str:
    """Return the class, with the number of an operating system or a server: it explains the failure without a text."""
    numbers = (getattr(error, name, None) for name in ("errno", "code"))
    number = next((each for each in numbers if type(each) is int and 0 <= each < 100_000), None)
    name = type(error).__name__
    return name if number is None else f"{name} {number}"
