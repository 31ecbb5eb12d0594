"""What the applicant's own browser keeps: the draft of an application, and the tracking code of one that was sent.

Both are encrypted cookies. The server stores nothing about a person who has not applied: there is nothing to erase,
leak or query, and two people who use the form at the same time cannot see each other's answers.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from registration.domain.application import FIELD, Answers
from registration.pages.sealed_cookie import SealedCookie
from security.encryption import Keyring

PATH = "/registration/apply"
DONE = "/registration/done"
MAX_AGE = 24 * 3600  # seconds since the last answer
RECEIPT_MAX_AGE = 1800  # seconds in which the code can be written down
MAX_ANSWER = 200  # characters

_answers = msgspec.json.Decoder(dict[str, str]).decode
_code = msgspec.json.Decoder(str).decode


class Drafts:
    """The cookies of one application: the draft, then the receipt."""

    def __init__(self, keyring: Keyring, public_url: str) -> None:
        self.draft = SealedCookie(keyring, public_url, "peyvand_draft", PATH, MAX_AGE)
        self.receipt = SealedCookie(keyring, public_url, "peyvand_receipt", DONE, RECEIPT_MAX_AGE)

    def read(self, request: Request) -> dict[str, str]:
        """Return the answers so far; none if there is no draft, or it has expired or been changed."""
        return _answers(self.draft.read(request) or b"{}")

    def save(self, response: Response, answers: Answers) -> None:
        """Send the draft with a response. It ends the receipt: on a shared computer the next person never sees it."""
        kept = {name: value[:MAX_ANSWER] for name, value in answers.items() if name in FIELD}
        self.draft.save(response, msgspec.json.encode(kept))
        self.receipt.delete(response)

    def delete(self, response: Response) -> None:
        """Delete the draft and the receipt."""
        self.draft.delete(response)
        self.receipt.delete(response)

    def complete(self, response: Response, code: str) -> None:
        """Replace the draft by the receipt: the tracking code of the application that this browser has sent."""
        self.draft.delete(response)
        self.receipt.save(response, msgspec.json.encode(code))

    def received_code(self, request: Request) -> str:
        """Return the tracking code of the application that this browser has sent lately, or ""."""
        return _code(self.receipt.read(request) or b'""')
