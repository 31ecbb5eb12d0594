"""Providers of text messages: a file in development, and an HTTP provider."""

import asyncio
import json
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlencode

import msgspec

from base.clock import machine_now
from base.forms import FORM_TYPE
from base.http_client import HttpClient, HttpError
from registration.settings import RegistrationSettings

Outcome = Literal["sent", "delivered", "failed"]
TIMEOUT = 10.0  # seconds
DELIVERED, FAILED = frozenset({10}), frozenset({6, 11, 13, 14})  # states of a message at Kavenegar
UNKNOWN_MESSAGE = 100  # state of a message that Kavenegar does not have
REFUSALS = frozenset({400, 411, 413, 417, 422})  # about this message: sent again it would be refused again


class Unanswered(Exception):
    """The provider did not answer, or takes no messages now: whether it has this one is to be asked."""


class Sms(Protocol):
    """Sends text messages. Each method raises Unanswered."""

    at_once: int  # messages whose outcome may be unknown after a crash

    async def send(self, reference: int, number: str, text: str) -> Outcome:
        """Send a text to a number (E.164) under our reference; the same reference again sends nothing."""

    async def outcome(self, reference: int) -> Outcome | None:
        """Return what became of a message; None if the provider has none with this reference."""


class SmsFile:
    """Writes messages to a file, one JSON object a line: for development. What is written counts as delivered."""

    at_once = 100

    def __init__(self, path: Path) -> None:
        self.path = path

    async def send(self, reference: int, number: str, text: str) -> Outcome:
        """Append a line."""
        line = {"at": machine_now().isoformat(), "reference": reference, "to": number, "text": text}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return "delivered"

    async def outcome(self, reference: int) -> Outcome | None:
        """Return whether a line has this reference."""
        if not self.path.exists():
            return None
        own = f'"reference": {reference},'
        with self.path.open(encoding="utf-8") as file:
            return "delivered" if any(own in line for line in file) else None


class _Entry(msgspec.Struct, frozen=True):
    status: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    entries: list[_Entry] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class Kavenegar:
    """Sends messages by the HTTP interface of Kavenegar, which knows them by our reference, `localid`.

    The key of the account is part of each address: no error that names an address leaves this class.
    """

    at_once = 1

    def __init__(self, client: HttpClient, key: str, sender: str) -> None:
        self.client, self.key, self.sender = client, key, sender

    async def send(self, reference: int, number: str, text: str) -> Outcome:
        """Send a message; one that the provider has already is not sent again."""
        fields = {"receptor": f"0{number.removeprefix('+98')}", "message": text, "localid": str(reference)}
        if self.sender:
            fields["sender"] = self.sender
        try:
            return _outcome(await self._post("sms/send.json", fields)) or "failed"
        except HttpError as e:
            if e.status in REFUSALS:
                return "failed"
            raise Unanswered(f"status {e.status}") from None

    async def outcome(self, reference: int) -> Outcome | None:
        """Return what became of a message, of which the provider keeps the reference for half a day."""
        try:
            return _outcome(await self._post("sms/statuslocalmessageid.json", {"localid": str(reference)}))
        except HttpError as e:
            raise Unanswered(f"status {e.status}") from None

    async def _post(self, path: str, fields: dict[str, str]) -> int | None:
        body, headers = urlencode(fields).encode(), {"Content-Type": FORM_TYPE}
        response = await asyncio.to_thread(
            self.client.request, "POST", f"/{self.key}/{path}", content=body, headers=headers
        )
        try:
            entries = _decode(response.content).entries or [_Entry()]
        except msgspec.DecodeError:
            raise Unanswered("not an answer of the provider") from None
        return entries[0].status


def _outcome(status: int | None) -> Outcome | None:
    if status is None or status == UNKNOWN_MESSAGE:
        return None
    return "delivered" if status in DELIVERED else "failed" if status in FAILED else "sent"


def provider_of(settings: RegistrationSettings) -> Sms | None:
    """Return the provider that the settings name; None if there is none."""
    if settings.sms_url:
        client = HttpClient(settings.sms_url, timeout=TIMEOUT)
        return Kavenegar(client, settings.sms_key.get_secret_value(), settings.sms_sender)
    return SmsFile(settings.sms_file) if settings.sms_file else None
