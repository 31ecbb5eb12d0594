"""Encryption: sealed texts need their key and context; blind indexes find a person without disclosing the ID."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from base.ids import uuid7
from kernel.stores.mongodb import connect
from security.encryption import KeyBlocks, Keyring, MemoryKeyBlocks, Sealed

MASTER, INDEX, NEXT_MASTER, NEXT_INDEX = "m" * 40, "i" * 40, "n" * 40, "j" * 40
NATIONAL_ID = "9990000006"


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(MASTER, INDEX)


def test_sealed_text_can_be_opened(keyring: Keyring) -> None:
    sealed = keyring.seal(b"k" * 32, "سمیرا".encode(), about="a1/name")

    assert keyring.open(b"k" * 32, sealed, about="a1/name") == "سمیرا".encode()
    assert "سمیرا".encode() not in sealed
    assert keyring.seal(b"k" * 32, b"same") != keyring.seal(b"k" * 32, b"same")


def test_other_key_or_context_does_not_open_it(keyring: Keyring) -> None:
    sealed = keyring.seal(b"k" * 32, b"plain", about="a1/name")

    for key, about in ((b"l" * 32, "a1/name"), (b"k" * 32, "a2/name"), (b"k" * 32, "")):
        with pytest.raises(Sealed):
            keyring.open(key, sealed, about)


def test_change_of_any_byte_is_detected(keyring: Keyring) -> None:
    sealed, wrapped = keyring.seal(b"k" * 32, b"plain"), keyring.wrap(b"k" * 32, "k1")

    for i in range(len(sealed)):
        with pytest.raises(Sealed):
            keyring.open(b"k" * 32, _flipped(sealed, i))
    for i in range(len(wrapped)):
        with pytest.raises(Sealed):
            keyring.unwrap(_flipped(wrapped, i), "k1")
    for cut in (b"", sealed[:1], sealed[:20]):
        with pytest.raises(Sealed):
            keyring.open(b"k" * 32, cut)
    with pytest.raises(Sealed):
        keyring.unwrap(b"", "k1")


def test_wrapped_key_is_bound_to_its_id(keyring: Keyring) -> None:
    wrapped = keyring.wrap(b"k" * 32, "k1")

    assert keyring.unwrap(wrapped, "k1") == b"k" * 32
    with pytest.raises(Sealed):
        keyring.unwrap(wrapped, "k2")
    with pytest.raises(Sealed):
        Keyring(NEXT_MASTER, INDEX).unwrap(wrapped, "k1")


def test_blind_index_is_stable_keyed_and_unambiguous(keyring: Keyring) -> None:
    [index] = keyring.live_indexes("1404", NATIONAL_ID)

    assert re.fullmatch(r"v1:[0-9a-f]{64}", index)
    assert [index] == Keyring(NEXT_MASTER, INDEX).live_indexes("1404", NATIONAL_ID)
    assert [index] != Keyring(MASTER, NEXT_INDEX).live_indexes("1404", NATIONAL_ID)
    assert [index] != keyring.live_indexes("1403", NATIONAL_ID)
    assert keyring.live_indexes("14", "04") != keyring.live_indexes("1404", "") != keyring.live_indexes("1404")


def test_both_indexes_are_valid_during_a_rotation(keyring: Keyring) -> None:
    rotating = Keyring(NEXT_MASTER, NEXT_INDEX, 2, {1: (MASTER, INDEX)})
    live = rotating.live_indexes("1404", NATIONAL_ID)

    assert live[1:] == keyring.live_indexes("1404", NATIONAL_ID)
    assert live[0].startswith("v2:") and live[1].startswith("v1:")


def test_key_wrapped_before_a_rotation_unwraps_while_its_master_key_is_valid(keyring: Keyring) -> None:
    wrapped = keyring.wrap(b"k" * 32, "k1")
    rotating = Keyring(NEXT_MASTER, NEXT_INDEX, 2, {1: (MASTER, INDEX)})

    assert rotating.unwrap(wrapped, "k1") == b"k" * 32
    assert rotating.wrap(b"k" * 32, "k1")[0] == 2
    with pytest.raises(Sealed, match="no valid master key"):
        Keyring(NEXT_MASTER, NEXT_INDEX, 2).unwrap(wrapped, "k1")


@pytest.mark.parametrize(("version", "older"), [(0, {}), (256, {}), (1, {1: (MASTER, INDEX)})])
def test_versions_are_distinct_bytes(version: int, older: dict[int, tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="version"):
        Keyring(MASTER, INDEX, version, older)


def test_each_purpose_has_its_own_key(keyring: Keyring) -> None:
    sealed = keyring.seal(keyring.key_for("draft"), b"plain")

    assert Keyring(MASTER, NEXT_INDEX).open(keyring.key_for("draft"), sealed) == b"plain"
    for other in (keyring.key_for("other"), keyring.key_for("wrap/v1"), Keyring(NEXT_MASTER, INDEX).key_for("draft")):
        with pytest.raises(Sealed):
            keyring.open(other, sealed)


Make = Callable[[Keyring], KeyBlocks]


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.server)])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Key blocks in memory and in MongoDB; each call returns those of another process over the same keys."""
    opened: list[KeyBlocks] = []
    stored: dict[str, bytes] = {}
    client: Any = None if request.param == "memory" else connect(request.getfixturevalue("servers").mongo)

    def blocks(keyring: Keyring) -> KeyBlocks:
        if client is None:
            each: KeyBlocks = MemoryKeyBlocks(keyring)
            each.stored = stored  # type: ignore[attr-defined]
        else:
            each = KeyBlocks(client[f"keys_{uuid7()}"] if not opened else opened[0].keys.database, keyring, block=8)
        opened.append(each)
        return each

    yield blocks
    for each in opened:
        await each.close()
    if client is not None:
        await client.close()


async def test_keys_are_created_in_advance_and_used_once(make: Make, keyring: Keyring) -> None:
    blocks = make(keyring)
    taken = [await blocks.take() for _ in range(40)]

    assert len({key_id for key_id, _ in taken}) == len({key for _, key in taken}) == 40
    assert all(len(key) == 32 for _, key in taken)
    for each in (blocks, make(keyring)):  # this process, another one
        assert await each.keys_of([key_id for key_id, _ in taken]) == dict(taken)


async def test_destroyed_key_cannot_be_restored(make: Make, keyring: Keyring) -> None:
    blocks = make(keyring)
    (destroyed, key), (other, _) = await blocks.take(), await blocks.take()
    sealed = keyring.seal(key, b"plain")

    await blocks.destroy([destroyed])
    await blocks.destroy([destroyed])

    found = await blocks.keys_of([destroyed, "unknown", other])
    assert list(found) == [other]
    with pytest.raises(Sealed):
        keyring.open(found[other], sealed)


async def test_a_key_of_before_a_rotation_is_found_as_long_as_the_older_keys_are_configured(
    make: Make, keyring: Keyring
) -> None:
    key_id, key = await make(keyring).take()
    rotated = make(Keyring(NEXT_MASTER, NEXT_INDEX, 2, {1: (MASTER, INDEX)}))
    later, new = await rotated.take()

    assert await rotated.keys_of([key_id, later]) == {key_id: key, later: new}
    with pytest.raises(Sealed):
        await make(Keyring(NEXT_MASTER, NEXT_INDEX, 2)).keys_of([key_id])


async def test_block_is_one_write(keyring: Keyring) -> None:
    writes: list[int] = []

    class Counting(MemoryKeyBlocks):
        async def _store(self, wrapped: Any, at: Any) -> None:
            writes.append(len(wrapped))
            await super()._store(wrapped, at)

    blocks = Counting(keyring, block=50)
    for _ in range(100):
        await blocks.take()

    assert len(writes) <= 4 and set(writes) == {50}


def _flipped(raw: bytes, i: int) -> bytes:
    return raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :]
