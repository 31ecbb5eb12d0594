"""Who an applicant is, sealed with a key of their own, and the blind index that finds them without knowing them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from base.ids import tracking_code
from kernel.record import Private, Record
from kernel.stores.mongodb import translate_errors
from registration.domain.application import Accepted, Person
from security.encryption import KeyBlocks, Keyring

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Person).decode


class Persons:
    """Seals and opens identities. Everything raises Transient when the keys' database is away."""

    def __init__(self, keys: KeyBlocks, keyring: Keyring) -> None:
        self.keys, self.keyring = keys, keyring

    async def private(self, subject: str, round_id: str, accepted: Accepted, at: datetime) -> Private:
        """What is kept of the person beside the record: sealed identity, blind indexes, a tracking code, consent."""
        async with translate_errors():
            key_id, key = await self.keys.take()
        person = accepted.person
        return Private(
            indexed={"person": self.indexes(round_id, person.national_id), "tracking": tracking_code()},
            content={
                "key_id": key_id,
                "sealed": self.keyring.seal(key, _encode(person), subject),
                "consent": {"version": accepted.consent, "at": at},
            },
        )

    def indexes(self, round_id: str, national_id: str) -> list[str]:
        """How this person is found in a round, under every living key: unique in the whole country."""
        return [f"{round_id}:{index}" for index in self.keyring.live_indexes(round_id, national_id)]

    async def open(self, records: Sequence[Record]) -> dict[str, Person]:
        """The identities by subject; whose key was destroyed is missing. Whoever shows one writes the audit first."""
        sealed = {r.subject: r.private.content for r in records if r.private.content}
        async with translate_errors():
            keys = await self.keys.keys_of([content["key_id"] for content in sealed.values()])
        return {
            subject: _decode(self.keyring.open(keys[content["key_id"]], content["sealed"], subject))
            for subject, content in sealed.items()
            if content["key_id"] in keys
        }
