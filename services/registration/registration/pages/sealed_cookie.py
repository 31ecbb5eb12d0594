"""Encrypted cookies: what only the applicant's own browser keeps. The server stores nothing, and reads no other."""

import base64
import binascii
from time import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from security.encryption import Keyring, Sealed

MAX_LENGTH = 3_500  # characters of the cookie: browsers keep 4 kB


class _Content(msgspec.Struct, array_like=True):
    expires: float  # machine time
    content: msgspec.Raw


_decode = msgspec.json.Decoder(_Content).decode


class SealedCookie:
    """A cookie of one name, sent to one path; `max_age` in seconds since it was saved."""

    def __init__(self, keyring: Keyring, public_url: str, name: str, path: str, max_age: int) -> None:
        self.keyring, self.key = keyring, keyring.key_for(name)
        self.name, self.path, self.max_age = name, path, max_age
        self.secure = public_url.startswith("https:")

    def read(self, request: Request) -> bytes:
        """Return the content as JSON; empty if there is no cookie, or it has expired or been changed."""
        try:
            raw = base64.urlsafe_b64decode(request.cookies.get(self.name, "").encode())
            found = _decode(self.keyring.open(self.key, raw, self.name))
        except (Sealed, ValueError, binascii.Error, msgspec.DecodeError):
            return b""
        return bytes(found.content) if found.expires > time() else b""

    def save(self, response: Response, content: bytes) -> None:
        """Send the content with a response; one that is too long is not sent, and the browser keeps the former one."""
        plain = msgspec.json.encode(_Content(time() + self.max_age, msgspec.Raw(content)))
        sealed = base64.urlsafe_b64encode(self.keyring.seal(self.key, plain, self.name)).decode()
        if len(sealed) <= MAX_LENGTH:
            response.set_cookie(
                self.name,
                sealed,
                max_age=self.max_age,
                path=self.path,
                httponly=True,
                samesite="lax",
                secure=self.secure,
            )

    def delete(self, response: Response) -> None:
        """Delete the cookie."""
        response.delete_cookie(self.name, path=self.path, httponly=True, samesite="lax", secure=self.secure)
