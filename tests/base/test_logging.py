"""Log lines: one JSON object each, of permitted fields in their shapes, whatever a person sent."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from observability.log_fields import COUNTS, DROPPED, FIELDS, chain, described, permitted
from observability.logging import LIBRARY_MESSAGE

SUBJECT = "01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37"
TRACE = "0af7651916cd43dd8448eb211c80319c"
LEAKS = ("9990000018", "سمیرا", "09123456789", "samira-in-words", "eyJhbGciOiJFUzI1NiJ9")
SCRIPT = """
import asyncio, logging, sys, threading, warnings, structlog
id, mobile, name, words, token = sys.argv[1:]
from observability.logging import configure_logging
configure_logging("registration", "api", "info")
log = structlog.get_logger("tests")
structlog.contextvars.bind_contextvars(request_id="0af7651916cd43dd8448eb211c80319c")
log.debug("below the level")
log.info("registered", subject="01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37", national_id=id, reason=f"x{id}x")
logging.getLogger("httpx").info("HTTP Request: POST https://issuer.example/token")
library = logging.getLogger("library")
def literal(name): library.warning("call %s about %d of %s after %s", name, 7, "peyvand.screening", OSError(111, name))
literal(mobile)
def formatted(name): library.warning(f"call {name}")
formatted(mobile)
def prefixed(name, text): library.warning("[^-" + name + "]: " + text, name)
def through(name): prefixed(name, "Heartbeat of %s failed")
through(mobile)
library.error("\\n".join(["Task exception was never retrieved", f"<Task exception=ValueError('{id}')>"]))
from pydantic import BaseModel
class Person(BaseModel):
    age: int
def parsed(value):
    try:
        return Person(age=value)
    except ValueError as e:
        raise RuntimeError("of " + value) from e
try:
    parsed(words)
except Exception as e:
    log.exception("fault")
    log.warning("faults", error=e, first_name=name)
    library.error("Exception in application", exc_info=True)
warnings.warn(f"a national ID: {id}")
def fail(value): raise KeyError(value)
thread = threading.Thread(target=fail, args=[token]); thread.start(); thread.join()
async def main(): asyncio.create_task(coroutine(id)); await asyncio.sleep(0.01)
async def coroutine(value): raise ValueError(value)
asyncio.run(main())
class Finalised:
    def __del__(self): raise ValueError(id)
Finalised()
fail(id)
"""


@pytest.fixture(scope="module")
def output() -> str:
    """What a process logs that ends with an exception."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT, *LEAKS], capture_output=True, text=True)
    assert ran.returncode == 1 and ran.stdout == ""
    return ran.stderr


@pytest.fixture(scope="module")
def lines(output: str) -> list[dict[str, Any]]:
    """The lines of that process."""
    return [json.loads(line) for line in output.splitlines()]


def test_nothing_that_was_sent_is_in_the_log(output: str) -> None:
    assert [each for each in LEAKS if each in output] == []


def test_line_has_time_service_role_and_request(lines: list[dict[str, Any]]) -> None:
    assert all(each["service"] == "registration" and each["role"] == "api" for each in lines)
    assert all(each["at"].endswith("Z") for each in lines)
    assert lines[0]["request_id"] == TRACE and lines[0]["level"] == "info"
    assert all(set(each) <= {"event", DROPPED, *FIELDS} for each in lines)


def test_what_is_not_permitted_is_dropped_by_name(lines: list[dict[str, Any]]) -> None:
    assert lines[0]["event"] == "registered" and lines[0]["subject"] == SUBJECT
    assert lines[0][DROPPED] == ["national_id", "reason"]


def test_a_library_keeps_its_constant_text_and_safe_arguments(lines: list[dict[str, Any]]) -> None:
    events = [each["event"] for each in lines if each.get("logger") == "library"]
    assert events == [
        "call … about 7 of peyvand.screening after ConnectionRefusedError 111",
        LIBRARY_MESSAGE,
        "Heartbeat of … failed",
        LIBRARY_MESSAGE,
        "Exception in application",
    ]
    assert all(re.fullmatch(r"\S+:\d+ \S+", each["where"]) for each in lines if each.get("logger") == "library")


def test_an_exception_is_its_classes_and_places(lines: list[dict[str, Any]]) -> None:
    fault = next(each for each in lines if each["event"] == "fault")
    assert [each.partition(" at ")[0] for each in fault["exception"]] == ["RuntimeError", "ValidationError"]
    error = next(each for each in lines if each["event"] == "faults")["error"]
    assert error.startswith("RuntimeError from ValidationError at ")
    ends = {each["event"]: each["exception"][0].partition(" at ")[0] for each in lines if "ended" in each["event"]}
    assert ends == {"process ended by an exception": "KeyError", "thread ended by an exception": "KeyError"}
    assert next(each for each in lines if each["event"] == "a library warned")["error"] == "UserWarning"
    assert "exception that nothing could catch" in {each["event"] for each in lines}
    assert "ValueError" in next(each for each in lines if each.get("logger") == "asyncio")["exception"][0]


@pytest.mark.parametrize(
    "value",
    [
        *("9990000018", "x9990000018x", "۹۹۹۰۰۰۰۰۱۸", "سمیرا", "a\nb", 9990000018, ["a"], {"a": 1}, None, b"a"),
        *("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "Bearer abcdef1234567890", "99900000-18"),
    ],
)
def test_no_field_takes_what_a_person_sends(value: Any) -> None:
    """But for counts, which are numbers."""
    numbers = set(COUNTS)
    assert {name for name in FIELDS if FIELDS[name](value)} <= (numbers if isinstance(value, int) else set())


def test_no_text_of_an_exception_is_described() -> None:
    try:
        try:
            raise OSError(111, "9990000018")
        except OSError as e:
            raise ExceptionGroup("9990000018", [ValueError("9990000018"), KeyError("سمیرا")]) from e
    except ExceptionGroup as group:
        written = json.dumps([chain(group), described(group)], ensure_ascii=False)
    assert "9990000018" not in written and "سمیرا" not in written
    assert all(name in written for name in ("ExceptionGroup", "ValueError", "KeyError", "ConnectionRefusedError 111"))


def test_every_permitted_line_of_ours_is_complete() -> None:
    line = {
        "event_id": f"screening/{SUBJECT}/2",
        "partitions": ["peyvand.market/3@12", "peyvand.market/4: the cursor is at 9, the log has 0 to 4"],
        "route": "/registration/v1/rounds/{round_id}",
        "reason": "exp, nbf or iat without an end",
        "subject": "ledger:1404/IR-20",
        "where": "decide.<locals>.inner:12",
        "type": "ir.peyvand.screening.case.opened.v1",
    }
    assert permitted(line) == line
