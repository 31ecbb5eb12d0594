"""The draft of an application: kept, sealed, in the applicant's own browser.

The server keeps nothing about somebody who has not applied: there is nothing to erase, to leak or to look up, and two
people at one form cannot meet each other's answers. The cookie opens with a key derived from the master key, for a day.
"""

import base64
import binascii
from collections.abc import Mapping
from time import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from registration.domain.application import ANSWERS
from registration.settings import KeySettings
from security.encryption import Keyring, Sealed

COOKIE = "peyvand_draft"
PATH = "/registration/apply"
KEPT = 24 * 3600  # seconds since the last answer
LONGEST = 3_500  # characters: browsers keep cookies of 4 kB
ANSWER = 200  # characters of one answer

Answers = Mapping[str, str]


class _Draft(msgspec.Struct, array_like=True):
    until: float
    answers: dict[str, str]


_decode = msgspec.json.Decoder(_Draft).decode


class Drafts:
    """Seals and opens drafts."""

    def __init__(self, settings: KeySettings) -> None:
        self.keyring = Keyring.of(settings)
        self.key = self.keyring.key_for("draft")
        self.secure = settings.public_url.startswith("https:")

    def read(self, request: Request) -> dict[str, str]:
        """The answers so far; none where there is no draft, it is too old, or somebody changed it."""
        try:
            raw = base64.urlsafe_b64decode(request.cookies.get(COOKIE, "").encode())
            draft = _decode(self.keyring.open(self.key, raw, COOKIE))
        except (Sealed, ValueError, binascii.Error, msgspec.DecodeError):
            return {}
        return draft.answers if draft.until > time() else {}

    def keep(self, response: Response, answers: Answers) -> None:
        """Sends the draft along with this answer."""
        told = {name: value[:ANSWER] for name, value in answers.items() if name in ANSWERS}
        plain = msgspec.json.encode(_Draft(time() + KEPT, told))
        sealed = base64.urlsafe_b64encode(self.keyring.seal(self.key, plain, COOKIE)).decode()
        if len(sealed) <= LONGEST:
            response.set_cookie(
                COOKIE, sealed, max_age=KEPT, path=PATH, httponly=True, samesite="lax", secure=self.secure
            )

    def forget(self, response: Response) -> None:
        """Takes the draft away."""
        response.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="lax", secure=self.secure)
