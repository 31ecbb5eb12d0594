"""Records that no producer should write to a topic: damaged events, forgeries, and valid nonsense."""

import json
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from contracts.envelope import DecodeError, InvalidEvent, decode
from contracts.subjects import PARTITIONS, partition_of

AHEAD = 1_000  # sequences from here on never have their turn
OTHER_ROUND = "1399"  # the round of valid nonsense: no test compares its figures
JSON_VALUES: Sequence[Any] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, 10**40, "", "x", " ", "1404\n", "$where", "a.b", "\0", "\ud800", "\u202e",
    "٣", "IR-31", "2026-01-01", "2026-01-01T00:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "x" * 5_000,
    [], [[]], {}, {"$gt": ""}, ["JF001"] * 2_000,
)  # fmt: skip
RAW_VALUES = (b"NaN", b"-Infinity", b"1e400", b"9" * 5_000, b"[" * 3_000, b'"\xff\xfe"', b'"\xed\xa0\x80"', b"")
SUBJECTS = (
    "round:9999", "round:1404", "ledger:1404/IR-20", "ledger:1404/IR-99", "lead:x", "$where", "a.b.$c", "x:y", "", "p",
    "round:1404/../x", "A" * 128, "A" * 129, "\u0622", "\ud800", "0199D5A2-7C40-7E51-9A3B-4F2D1C0B8A67",
)  # fmt: skip


class Mutant(NamedTuple):
    """What to send to a topic."""

    key: bytes | None
    value: bytes | None
    partition: int
    headers: list[tuple[str, bytes]]


class Mutator:
    """Makes records of one topic from valid events of its producer about `known` subjects, and about new ones."""

    def __init__(self, seed: int, source: str, events: Sequence[bytes], known: Sequence[str]) -> None:
        self.random, self.source, self.known = Random(seed), source, known
        self.events = [json.loads(raw) for raw in events]
        self.types = [event["type"] for event in self.events]
        self.structured: Sequence[Callable[[dict[str, Any]], None]] = (
            self._drop, self._replace, self._replace_data, self._subject, self._context, self._type, self._unknown_code,
        )  # fmt: skip

    def records(self, number: int) -> Iterator[Mutant]:
        """Yield so many records; none of them is a valid event that has its turn, but in OTHER_ROUND."""
        while number:
            record = self._record()
            if not _in_turn(record.value):
                number -= 1
                yield record

    def _record(self) -> Mutant:
        random = self.random
        event = self._event()
        subject = event["subject"]
        kind = random.random()
        if kind < 0.04:
            value: bytes | None = self._nonsense(event)
        elif kind < 0.06:
            value = random.choice(
                [None, b"", random.randbytes(random.randrange(300)), b"x" * 900_000 * (kind < 0.0401)]
            )
        else:
            for _ in range(random.choice([0, 1, 1, 1, 2, 3])):
                random.choice(self.structured)(event)
            value = json.dumps(event, ensure_ascii=random.random() < 0.8).encode("utf-8", "surrogatepass")
            if random.random() < 0.4:
                value = self._bytes(value)
        named = event.get("subject")
        subject = named if isinstance(named, str) and random.random() < 0.95 else subject
        key = subject.encode("utf-8", "surrogatepass")
        partition = partition_of(subject) if subject.isascii() else random.randrange(PARTITIONS)
        odd = random.random()
        key_sent = None if odd < 0.01 and value is not None else random.randbytes(9) if odd < 0.02 else key
        partition = random.randrange(PARTITIONS) if 0.02 < odd < 0.03 else partition
        headers = [("traceparent", random.randbytes(20)), ("", b"")] if odd > 0.95 else []
        return Mutant(key_sent, value, partition, headers)

    def _event(self) -> dict[str, Any]:
        """Return an event that is valid, but for its turn."""
        event = json.loads(json.dumps(self.random.choice(self.events)))
        if ":" not in event["subject"]:
            fresh = str(UUID(int=self.random.getrandbits(128)))
            event["subject"] = self.random.choice(self.known) if self.random.random() < 0.3 else fresh
        event["sequence"] = AHEAD + self.random.randrange(AHEAD)
        return event  # type: ignore[no-any-return]

    def _nonsense(self, event: dict[str, Any]) -> bytes:
        """Return a valid event out of any story: of any type, in any order, about few subjects of another round."""
        n = self.random.randrange(200)
        event |= {"sequence": self.random.randrange(1, 4)}
        if ":" not in event["subject"]:
            event |= {"subject": f"00000000-0000-7000-9000-{n:012}", "round": OTHER_ROUND}
        else:
            event["sequence"] += AHEAD
        return json.dumps(event).encode()

    def _value(self) -> Any:
        return deepcopy(self.random.choice(JSON_VALUES))

    def _drop(self, event: dict[str, Any]) -> None:
        target = event.get("data") if self.random.random() < 0.4 else event
        if isinstance(target, dict) and target:
            del target[self.random.choice(list(target))]

    def _replace(self, event: dict[str, Any]) -> None:
        event[self.random.choice(list(event) or ["type"])] = self._value()

    def _replace_data(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("data"), dict):
            event["data"][self.random.choice([*event["data"], "more"])] = self._value()

    def _subject(self, event: dict[str, Any]) -> None:
        event["subject"] = self.random.choice([*SUBJECTS, *self.known[:20]])
        event["sequence"] = self.random.choice([1, 2, AHEAD])

    def _context(self, event: dict[str, Any]) -> None:
        name = self.random.choice(["round", "province", "county", "field", "policy", "actor", "cause", "traceparent"])
        event[name] = self.random.choice(["1403", "IR-07", "0702", "XX999", "1403-9", "web:", "screening/9", "x", ""])

    def _type(self, event: dict[str, Any]) -> None:
        other = f"ir.peyvand.{self.source}.applicant.photographed.v1", "ir.peyvand.ministry.x.v1", "x", "x" * 300
        event["type"] = self.random.choice([*self.types, *other])

    def _unknown_code(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("data"), dict):
            event["data"] |= dict.fromkeys(("sex", "reason", "outcome", "channel", "result", "to", "unit"), "newer")

    def _bytes(self, raw: bytes) -> bytes:
        random, at = self.random, self.random.randrange(len(raw) + 1)
        match random.randrange(6):
            case 0:
                flipped = raw[at : at + 1] and bytes([raw[at] ^ (1 << random.randrange(8))])
                return raw[:at] + flipped + raw[at + 1 :]
            case 1:
                return raw[:at]
            case 2:
                other = json.dumps(random.choice(self.events)).encode()
                return raw[:at] + other[random.randrange(len(other)) :]
            case 3:  # a key that stands twice
                name = random.choice(["subject", "sequence", "type", "data", "round"])
                return raw[:-1] + f', "{name}": {json.dumps(self._value())}}}'.encode()
            case 4:
                return raw.replace(b": ", b": " + random.choice(RAW_VALUES) + b",", 1)
            case _:
                colon = raw.find(b": ", at)
                return raw[: colon + 2] + random.choice(RAW_VALUES) + raw[colon + 3 :] if colon > 0 else raw


def _in_turn(value: bytes | None) -> bool:
    """Whether it may have its turn, about a round whose figures are compared: valid, or of an unknown type.

    Neither can be distinguished from an event of the producer.
    """
    try:
        envelope = decode(value or b"")
    except DecodeError:
        return False
    if isinstance(envelope.event, InvalidEvent):
        return False
    return envelope.sequence < AHEAD and envelope.context.round != OTHER_ROUND
