"""Logging: one JSON object per line on stderr, without personal data."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# Log lines have ids, codes and counts only. This filter is a second line of defence against personal data.
PERSONAL = frozenset(
    {"national_id", "first_name", "last_name", "name", "mobile", "phone", "birth_date", "address", "token", "body"}
)
_START, _END = r"(?<!\w)(?<!\w[.-])", r"(?!\w|[.-]\w)"  # not inside an id, a decimal number or a timestamp
_NUMBERS = re.compile(rf"{_START}(?:\+?98|0)?9\d{{9}}{_END}|{_START}\d{{10}}{_END}")
_INPUTS = re.compile(r"('input': |input_value=|input=)[^\n]*")  # quoted by validation errors
REMOVED = "[removed]"


def configure_logging(service: str, role: str, level: str = "info") -> None:
    """Configure structlog and the logging of the standard library for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        _origin(service, role),
        remove_personal_data,
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
    for noisy in ("aiokafka", "kafka", "faust", "mode", "pymongo", "httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def remove_personal_data(logger: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace values under personal names, and whatever looks like a national ID, a mobile number or a quoted input."""
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
