"""Logging: one JSON object per line on stderr, with the fields of `log_fields` and nothing else.

Our own lines have a constant text, which a test requires, and fields. Lines of libraries keep what is constant in their
source: the text before its arguments are put in, where it was logged, and class and place of an exception. Arguments
are kept if they are small numbers, topics or exceptions; any other is an ellipsis.
"""

import logging
import sys
import threading
import warnings
from collections.abc import MutableMapping
from types import FrameType, TracebackType
from typing import Any

import structlog

from contracts.topics import TOPICS
from observability.log_fields import chain, described, permitted, place

LIBRARY_MESSAGE = "a library logged a message that is not constant: see where"
NOISY = ("aiokafka", "kafka", "faust", "mode", "pymongo", "httpx", "httpcore", "uvicorn", "asyncio", "aiohttp")
SMALL = 10_000_000  # a number below is no national ID and no telephone number
DEPTH = 8  # frames between a library's call and the record
MIN_CONSTANT = 8  # characters of a text that is recognised behind a prefix

_TOPICS = {topic.name for topic in TOPICS}


def configure_logging(service: str, role: str, level: str = "info") -> None:
    """Configure structlog, the logging of the standard library, warnings and uncaught exceptions of this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _origin(service, role),
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        pass_foreign_args=True,
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared, constant_text],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            allow_list,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    _replace_hooks()


def allow_list(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the line with its event and the permitted fields; an exception becomes classes and places."""
    event, exc_info = line.pop("event", ""), line.pop("exc_info", None)
    if error := _exception(exc_info):
        line["exception"] = chain(error)
    return {"event": event, **permitted(line)}


def constant_text(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the message of a library by what is constant in its source."""
    record: logging.LogRecord = line["_record"]
    line["event"] = _constant(record, line.pop("positional_args", ()))
    line["where"] = place(record.pathname, record.lineno, record.funcName or "")
    line["exc_info"] = record.exc_info
    return line


def _constant(record: logging.LogRecord, given: Any) -> str:
    """Return the message if it is a literal of the function that logs it, or ends with one, with safe arguments."""
    text = record.msg if isinstance(record.msg, str) else ""
    frame, literals = sys._getframe(), set[str]()
    for found in _logging_frames(frame, record):
        literals |= {each for each in found.f_code.co_consts if isinstance(each, str)}
    if text not in literals:  # mode writes the name of a service before the text
        endings = (each for each in literals if len(each) >= MIN_CONSTANT and text.endswith(each))
        text = max(endings, key=len, default="")
    if not text:
        return LIBRARY_MESSAGE
    try:
        return (text % tuple(map(_argument, given)) if given and isinstance(given, tuple) else text).strip()
    except (TypeError, ValueError, KeyError):  # an ellipsis for %d
        return text.strip()


def _logging_frames(frame: FrameType | None, record: logging.LogRecord) -> list[FrameType]:
    """Return the frames of the library that logs: from the place of the record a few calls upwards."""
    while frame is not None and (frame.f_code.co_filename, frame.f_lineno) != (record.pathname, record.lineno):
        frame = frame.f_back
    found: list[FrameType] = []
    while frame is not None and len(found) < DEPTH:
        found.append(frame)
        frame = frame.f_back
    return found


def _argument(value: Any) -> Any:
    """Return an argument that holds no input, else an ellipsis."""
    if isinstance(value, BaseException):
        return described(value)
    if isinstance(value, int | float):
        return value if abs(value) < SMALL else "…"
    topic, partition = getattr(value, "topic", None), getattr(value, "partition", None)
    if topic in _TOPICS and isinstance(partition, int):
        return f"{topic}/{partition}"
    return value if isinstance(value, str) and value in _TOPICS else "…"


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exception() if exc_info else None


def _replace_hooks() -> None:
    """Log what Python would write to stderr itself, with messages, values and lines of source."""
    log = structlog.get_logger(__name__)

    def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.error("process ended by an exception", exc_info=error)

    def uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
        log.error("thread ended by an exception", exc_info=arguments.exc_value)

    def unraisable(arguments: Any) -> None:
        log.error("exception that nothing could catch", exc_info=arguments.exc_value)

    def warned(
        message: Any, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        log.warning("a library warned", error=category.__name__, where=place(filename, lineno, ""))

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, uncaught_in_thread, unraisable
    warnings.showwarning = warned


def _origin(service: str, role: str) -> Any:
    def add(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["service"], line["role"] = service, role
        return line

    return add
