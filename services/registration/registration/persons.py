"""Sealed identities: each is encrypted with a key of its own and found by a blind index."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from kernel.record import Private, Record
from kernel.stores.mongodb import translate_errors
from registration.domain.application import FIELDS, Accepted, Values
from security.encryption import KeyBlocks, Keyring

_Identity = msgspec.defstruct(
    "_Identity", [(each.name, each.value_type) for each in FIELDS if each.identity], frozen=True
)
KEPT = ("acts", "messages")  # of what is stored of a person when they register again
ACTS_KEPT = 20  # of one person: what was done for them on a signed form
NOTHING = Private()  # of an applicant who is new
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Identity).decode


class Persons:
    """Seals and opens identities. Every method that reads or takes keys raises Transient."""

    def __init__(self, keys: KeyBlocks, keyring: Keyring) -> None:
        self.keys, self.keyring = keys, keyring

    async def private(self, subject: str, accepted: Accepted, at: datetime, before: Private = NOTHING) -> Private:
        """Return the private part of a record: sealed identity, blind indexes and the consent.

        One key seals all applications of a person, so that destroying it reaches those of `before` as well.
        """
        key_id = before.content.get("key_id", "")
        async with translate_errors():
            known = await self.keys.keys_of([key_id]) if key_id else {}
            key_id, key = (key_id, known[key_id]) if known else await self.keys.take()
        return Private(
            indexed={"person": self.indexes(accepted), "index_version": min(self.keyring.versions)},
            content={
                "key_id": key_id,
                "sealed": self.keyring.seal(key, _encode(accepted.identity), subject),
                "consent": {"version": accepted.consent, "at": at},
            },
        )

    async def correction(self, record: Record, identity: Values, act: Mapping[str, Any]) -> Callable[[Record], Record]:
        """Return what replaces the identity of a record by a corrected one and adds the act for which it was done.

        It is sealed with the key that the person has; the former one is not kept.
        """
        key_id = record.private.content["key_id"]
        async with translate_errors():
            key = (await self.keys.keys_of([key_id]))[key_id]
        sealed = self.keyring.seal(key, _encode(identity), record.subject)

        def correct(before: Record) -> Record:
            after = with_act(act, before)
            return replace(after, private=replace(after.private, content={**after.private.content, "sealed": sealed}))

        return correct

    def indexes(self, accepted: Accepted) -> list[str]:
        """Return the blind indexes of a person in a round, one for each key in use; they are unique nationwide."""
        return self.indexes_of(accepted.context.round, accepted.identity["national_id"])

    def indexes_of(self, round_id: str, national_id: str) -> list[str]:
        """Return the blind indexes of a national ID in a round."""
        return [f"{round_id}:{index}" for index in self.keyring.live_indexes(round_id, national_id)]

    def rotated(self, round_id: str, national_id: str) -> dict[str, Any]:
        """Return what a person is indexed by after a rotation: nothing under a former key, which may have leaked."""
        index = self.keyring.current_index(round_id, national_id)
        return {"person": [f"{round_id}:{index}"], "index_version": self.keyring.version}

    async def open(self, records: Sequence[Record]) -> dict[str, Values]:
        """Return identities by subject, without those whose key was destroyed. Callers write the audit row first."""
        sealed: dict[str, Mapping[str, Any]] = {
            r.subject: r.private.content for r in records if "sealed" in r.private.content
        }
        async with translate_errors():
            keys = await self.keys.keys_of([content["key_id"] for content in sealed.values()])
        return {
            subject: msgspec.structs.asdict(
                _decode(self.keyring.open(keys[content["key_id"]], content["sealed"], subject))
            )
            for subject, content in sealed.items()
            if content["key_id"] in keys
        }


def with_kept(private: Private, record: Record) -> Private:
    """Return what was sealed for a new application with what is kept of the person, as it is when this is stored."""
    now = record.private.content
    return replace(private, content={**private.content, **{name: now[name] for name in KEPT if name in now}})


def with_act(act: Mapping[str, Any], record: Record) -> Record:
    """Return the record with an act of an officer for the person, and the form that allowed it; the last are kept."""
    content = record.private.content
    acts = [*content.get("acts", ()), act][-ACTS_KEPT:]
    return replace(record, private=replace(record.private, content={**content, "acts": acts}))
