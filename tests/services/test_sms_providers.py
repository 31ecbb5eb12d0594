"""Providers of text messages: what they are sent, and how their answers are read."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest
from pydantic import SecretStr

from base.http_client import HttpClient
from registration.jobs.sms import Kavenegar, SmsFile, Unanswered, provider_of
from registration.settings import RegistrationSettings

NUMBER = "+989120000018"
SETTINGS = RegistrationSettings(
    service="registration",
    environment="development",
    kafka="none:0",
    mongo=SecretStr("mongodb://none"),
    database="registration",
    jwks=Path("jwks.json"),
)


def kavenegar(answer: Callable[[httpx.Request], httpx.Response]) -> Kavenegar:
    transport = httpx.MockTransport(answer)
    return Kavenegar(HttpClient("https://sms.example/v1", transport=transport), "the-key", "10004346")


async def test_the_provider_gets_number_text_line_and_our_reference() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"return": {"status": 200}, "entries": [{"messageid": 1, "status": 1}]})

    assert await kavenegar(answer).send(77, NUMBER, "سلام") == "sent"
    assert await kavenegar(answer).outcome(77) == "sent"
    first, second = requests
    assert first.url.path == "/v1/the-key/sms/send.json"
    assert dict(parse_qsl(first.content.decode())) == {
        "receptor": "09120000018", "message": "سلام", "localid": "77", "sender": "10004346",
    }  # fmt: skip
    assert second.url.path == "/v1/the-key/sms/statuslocalmessageid.json"
    assert dict(parse_qsl(second.content.decode())) == {"localid": "77"}


@pytest.mark.parametrize(
    ("status", "expected"), [(10, "delivered"), (6, "failed"), (11, "failed"), (4, "sent"), (100, None)]
)
async def test_the_state_of_a_message_at_the_provider_is_its_outcome(status: int, expected: str | None) -> None:
    body = {"return": {"status": 200}, "entries": [{"messageid": 1, "localid": 77, "status": status}]}
    assert await kavenegar(lambda _: httpx.Response(200, json=body)).outcome(77) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [(411, "failed"), (400, "failed"), (402, ""), (403, ""), (404, ""), (418, ""), (500, "")],
)
async def test_a_refusal_of_the_message_is_final_and_one_of_the_account_is_not(status: int, expected: str) -> None:
    provider = kavenegar(lambda _: httpx.Response(status, json={"return": {"status": status}, "entries": None}))
    if expected:
        assert await provider.send(77, NUMBER, "سلام") == expected
        return
    with pytest.raises(Unanswered) as raised:
        await provider.send(77, NUMBER, "سلام")
    assert "the-key" not in repr(raised.value) and raised.value.__cause__ is None


async def test_what_is_no_answer_of_the_provider_leaves_the_outcome_open() -> None:
    with pytest.raises(Unanswered):
        await kavenegar(lambda _: httpx.Response(200, text="<html>")).send(77, NUMBER, "سلام")


def test_the_settings_choose_the_provider(tmp_path: Path) -> None:
    settings = SETTINGS
    assert provider_of(settings) is None
    assert isinstance(provider_of(settings.model_copy(update={"sms_file": tmp_path})), SmsFile)
    assert isinstance(provider_of(settings.model_copy(update={"sms_url": "https://sms.example"})), Kavenegar)
