"""Log lines: one JSON object each, without personal data."""

import json
import subprocess
import sys

import pytest

from observability.logging import REMOVED, remove_personal_data

SCRIPT = """
import logging, structlog
from observability.logging import configure_logging
configure_logging("registration", "api", "info")
log = structlog.get_logger("tests")
structlog.contextvars.bind_contextvars(request_id="r-1")
log.debug("below the level")
log.info("registered", applicant="01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37", national_id="9990000018", first_name="سمیرا")
logging.getLogger("httpx").info("HTTP Request: POST https://issuer.example/token")
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
    """The lines that a process logs."""
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_line_has_time_service_role_and_request(lines: list[dict[str, str]]) -> None:
    assert [each["event"] for each in lines] == ["registered", f"call {REMOVED} about ۹۹۹", "fault"]
    assert all(each["service"] == "registration" and each["role"] == "api" for each in lines)
    assert all(each["at"].endswith("Z") and each["request_id"] == "r-1" for each in lines)
    assert [each["level"] for each in lines] == ["info", "warning", "error"]


def test_personal_data_is_removed(lines: list[dict[str, str]]) -> None:
    text = json.dumps(lines, ensure_ascii=False)

    assert all(value not in text for value in ("9990000018", "سمیرا", "09123456789", "samira-in-words"))
    assert "01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37" in text
    assert "Traceback" in lines[2]["exception"] and "ValidationError" in lines[2]["exception"]


@pytest.mark.parametrize(
    "value", ["09123456789", "+989123456789", "989123456789", "9123456789", "9990000018", "id 9990000018."]
)
def test_national_ids_and_mobile_numbers_are_removed(value: str) -> None:
    assert REMOVED in remove_personal_data(None, "info", {"reason": value})["reason"]


@pytest.mark.parametrize(
    "value", ["offset 123456", "01995b7e-9d8c-7c3e-8f0a-4b2d6e1f9a37", "a1/2/3", "1234567890123", "12.5 s"]
)
def test_other_numbers_are_kept(value: str) -> None:
    assert remove_personal_data(None, "info", {"reason": value, "n": 9990000018})["reason"] == value
