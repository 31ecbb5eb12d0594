"""Drafts of applications, encrypted in a cookie of the applicant's own browser.

The server stores nothing about a person who has not applied: there is nothing to erase, leak or query, and two people
who use the form at the same time cannot see each other's answers. The cookie is valid for a day.
"""

import base64
import binascii
from time import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from registration.domain.application import FIELD, Answers
from security.encryption import Keyring, Sealed

COOKIE = "peyvand_draft"
PATH = "/registration/apply"
MAX_AGE = 24 * 3600  # seconds since the last answer
MAX_LENGTH = 3_500  # characters of the cookie: browsers keep 4 kB
MAX_ANSWER = 200  # characters


class _Draft(msgspec.Struct, array_like=True):
    expires: float  # machine time
    answers: dict[str, str]


_decode = msgspec.json.Decoder(_Draft).decode


class Drafts:
    """Encrypts and decrypts drafts."""

    def __init__(self, keyring: Keyring, public_url: str) -> None:
        self.keyring, self.key = keyring, keyring.key_for("draft")
        self.secure = public_url.startswith("https:")

    def read(self, request: Request) -> dict[str, str]:
        """Return the answers so far; none if there is no draft, or it has expired or been changed."""
        try:
            raw = base64.urlsafe_b64decode(request.cookies.get(COOKIE, "").encode())
            draft = _decode(self.keyring.open(self.key, raw, COOKIE))
        except (Sealed, ValueError, binascii.Error, msgspec.DecodeError):
            return {}
        return draft.answers if draft.expires > time() else {}

    def save(self, response: Response, answers: Answers) -> None:
        """Send the draft with a response; one that is too long is not sent, and the browser keeps the previous one."""
        kept = {name: value[:MAX_ANSWER] for name, value in answers.items() if name in FIELD}
        plain = msgspec.json.encode(_Draft(time() + MAX_AGE, kept))
        sealed = base64.urlsafe_b64encode(self.keyring.seal(self.key, plain, COOKIE)).decode()
        if len(sealed) <= MAX_LENGTH:
            response.set_cookie(
                COOKIE, sealed, max_age=MAX_AGE, path=PATH, httponly=True, samesite="lax", secure=self.secure
            )

    def delete(self, response: Response) -> None:
        """Delete the draft."""
        response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax", secure=self.secure)
