"""A log line is one JSON object, and names nobody."""

import json
import subprocess
import sys

import pytest

from observability.logging import REMOVED, impersonal

SCRIPT = """
import logging, structlog
from observability.logging import configure_logging
configure_logging("registration", "api", "info")
log = structlog.get_logger("tests")
structlog.contextvars.bind_contextvars(request_id="r-1")
log.debug("unheard")
log.info("registered", applicant="01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37", national_id="9990000018", first_name="سمیرا")
logging.getLogger("library").warning("call 09123456789 about %s", "۹۹۹")
from pydantic import BaseModel
class Person(BaseModel):
    age: int
try:
    Person(age="samira-in-words")
except Exception:
    log.exception("fault")
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, str]]:
    """What a process logs."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_a_line_says_when_where_and_for_which_request(lines: list[dict[str, str]]) -> None:
    assert [each["event"] for each in lines] == ["registered", f"call {REMOVED} about ۹۹۹", "fault"]
    assert all(each["service"] == "registration" and each["role"] == "api" for each in lines)
    assert all(each["at"].endswith("Z") and each["request_id"] == "r-1" for each in lines)
    assert [each["level"] for each in lines] == ["info", "warning", "error"]


def test_nobody_is_named(lines: list[dict[str, str]]) -> None:
    text = json.dumps(lines, ensure_ascii=False)

    assert all(personal not in text for personal in ("9990000018", "سمیرا", "09123456789", "samira-in-words"))
    assert "01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37" in text
    assert "Traceback" in lines[2]["exception"] and "ValidationError" in lines[2]["exception"]


@pytest.mark.parametrize(
    "value", ["09123456789", "+989123456789", "989123456789", "9123456789", "9990000018", "id 9990000018."]
)
def test_numbers_of_people_are_taken_out(value: str) -> None:
    assert REMOVED in impersonal(None, "info", {"why": value})["why"]


@pytest.mark.parametrize(
    "value", ["offset 123456", "01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37", "a1/2/3", "1234567890123", "12.5 s"]
)
def test_other_numbers_stay(value: str) -> None:
    assert impersonal(None, "info", {"why": value, "n": 9990000018})["why"] == value
