"""Tracking codes: secrets of the applicants, derived when they are shown and never stored.

A code is a keyed pseudorandom function of the applicant's id and its number: 1 at the registration, and the next one
each time a code is issued. A repeated request computes the code that it got. What is stored is a keyed hash of the
present code, by which the applicant is found, and the version of the key of each code.
"""

import hashlib
import hmac
from collections.abc import Mapping

from msgspec.structs import replace

from base.ids import ALPHABET, CODE_LENGTH, typed_code
from contracts.commands import Refused
from kernel.record import Private, Record
from kernel.store import Store
from registration.settings import RegistrationSettings


class TrackingCodes:
    """Issues, computes and finds tracking codes; codes of former keys stay valid while the keys are configured."""

    def __init__(self, keys: Mapping[int, str]) -> None:
        """Take the secret of each version; codes are issued under the first."""
        self.keys = {version: secret.encode() for version, secret in keys.items()}
        self.version = next(iter(keys))

    @classmethod
    def of(cls, settings: RegistrationSettings) -> "TrackingCodes":
        """Return the codes of validated settings."""
        others = {version: tracking for version, (_, _, tracking) in settings.older_keys.items()}
        keys = {settings.key_version: settings.tracking_key, **others, **settings.former_tracking_keys}
        return cls({version: key.get_secret_value() for version, key in keys.items()})

    def issue(self, record: Record, private: Private | None = None) -> Record:
        """Return the record with its next tracking code, and with `private` if it is given; the former code is void."""
        return self._indexed(record, private or record.private, [*self.versions_of(record), self.version])

    def found_again(self, record: Record) -> Record:
        """Return an applicant whom only the log has, so that their present code finds them."""
        return self._indexed(record, record.private, self.versions_of(record))

    def code_of(self, record: Record) -> str:
        """Return the tracking code of an applicant; of one as it was, the code that it had."""
        versions = self.versions_of(record)
        return self._code(record.subject, len(versions), versions[-1])

    def versions_of(self, record: Record) -> list[int]:
        """Return the version of the key of each code that the applicant had been issued.

        After a restore events may count codes whose versions were in no backup: they are taken for the present one.
        """
        issued: int = record.state.codes
        return [*record.private.content.get("codes", ()), *[self.version] * issued][:issued]

    async def find(self, store: Store, typed: str) -> Record:
        """Return the applicant with a tracking code, in any spelling. Raise Refused: not_found."""
        hashes = self.hashes(typed)
        subjects = list((await store.find_by_unique("tracking", hashes)).values()) if hashes else []
        if not subjects:
            raise Refused("not_found")
        return (await store.read(subjects[:1]))[subjects[0]]

    def hashes(self, typed: str) -> list[str]:
        """Return what an applicant with this tracking code may be indexed by; nothing if it is no code."""
        code = typed_code(typed)
        return [self._hash(code, version) for version in self.keys] if code else []

    def _indexed(self, record: Record, own: Private, versions: list[int]) -> Record:
        code = self._code(record.subject, len(versions), versions[-1])
        indexed = {**own.indexed, "tracking": self._hash(code, versions[-1])}
        return replace(record, private=Private(indexed, {**own.content, "codes": versions}))

    def _code(self, subject: str, number: int, version: int) -> str:
        digest = self._digest(version, f"code/{number}/{subject}")
        return "".join(ALPHABET[byte % 32] for byte in digest[:CODE_LENGTH])  # 32 divides 256: uniform

    def _hash(self, code: str, version: int) -> str:
        return f"v{version}:{self._digest(version, f'hash/{code}').hex()}"

    def _digest(self, version: int, message: str) -> bytes:
        return hmac.digest(self.keys[version], f"peyvand/tracking/{message}".encode(), hashlib.sha256)
