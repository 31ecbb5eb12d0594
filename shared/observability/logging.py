"""Logs: one JSON object a line on stderr, and no personal datum in any of them."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# A log tells ids, codes and counts. What could name a person is taken out here as well, should somebody slip.
PERSONAL = frozenset(
    {"national_id", "first_name", "last_name", "name", "mobile", "phone", "birth_date", "address", "token", "body"}
)
_ALONE, _ENDS = r"(?<!\w)(?<!\w[.-])", r"(?!\w|[.-]\w)"  # no part of an id, a decimal or an instant
_NUMBERS = re.compile(rf"{_ALONE}(?:\+?98|0)?9\d{{9}}{_ENDS}|{_ALONE}\d{{10}}{_ENDS}")
_INPUTS = re.compile(r"('input': |input_value=|input=)[^\n]*")  # what validation errors quote
REMOVED = "[removed]"


def configure_logging(service: str, role: str, level: str = "info") -> None:
    """Sets up structlog and the standard library's logging for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        _origin(service, role),
        impersonal,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiokafka", "kafka", "faust", "mode", "pymongo", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def impersonal(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Takes out values under personal names, and what looks like a national ID, a mobile number or a quoted input."""
    for name, value in line.items():
        if name in PERSONAL:
            line[name] = REMOVED
        elif isinstance(value, str) and not name.startswith("_"):
            line[name] = _INPUTS.sub(rf"\1{REMOVED}", _NUMBERS.sub(REMOVED, value))
    return line


def _origin(service: str, role: str) -> Any:
    def add(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        line["service"], line["role"] = service, role
        return line

    return add
