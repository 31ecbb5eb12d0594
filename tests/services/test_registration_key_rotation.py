"""A rotation of the keys: every key is wrapped again and every person indexed again, whenever the worker dies."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from msgspec.structs import replace

from kernel.errors import Transient
from registration import metrics
from registration.jobs import key_rotation
from registration.jobs.key_rotation import KeyRotation
from registration.persons import Persons
from registration.service import after_restore
from security.encryption import Keyring, MemoryKeyBlocks
from tests.support.registration_api import (
    ALL_PARTITIONS,
    ERASURE,
    RegistrationApi,
    a_national_id,
    csv_file,
    registration_api,
)

IMPORT = "/v1/rounds/1404/applications/import"
COUNT = 12


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RegistrationApi]:
    """Registration over memory with applicants under the first keys."""
    monkeypatch.setattr(key_rotation, "CHUNK", 5)
    monkeypatch.setattr(key_rotation, "INTERVAL", 0.0)
    async with registration_api(tmp_path) as api:
        await api.open_round()
        response = await api.request("POST", IMPORT, csv=csv_file(range(3_010, 3_010 + COUNT)), key="key-file")
        assert response.status_code == 200, response.text
        yield api


def next_keys(api: RegistrationApi) -> KeyRotation:
    """Give the process new keys, as after a restart with new settings; return its job."""
    settings = api.settings
    older = {1: (settings.master_key.get_secret_value(), settings.index_key.get_secret_value())}
    api.persons.keyring = api.keys.keyring = Keyring("M" * 40, "I" * 40, 2, older)
    return KeyRotation(api.store, api.persons)


async def under_the_new_keys_alone(api: RegistrationApi) -> dict[str, Any]:
    """Return the identities that the new keys open and find without the former ones."""
    keys = MemoryKeyBlocks(Keyring("M" * 40, "I" * 40, 2))
    keys.stored = api.keys.stored  # type: ignore[attr-defined]
    alone, records = Persons(keys, keys.keyring), await api.applicants()
    persons = await alone.open(records)
    for subject, person in persons.items():
        (index,) = alone.indexes_of("1404", person["national_id"])
        assert (await api.store.find_by_unique("person", [index])) == {index: subject}
    return persons


async def under_a_former_key(api: RegistrationApi) -> list[str]:
    """Return the applicants with a blind index under the first key."""
    return [each.subject for each in await api.applicants() if any(":v1:" in i for i in each.indexed["person"])]


async def test_a_rotation_ends_with_everything_under_the_new_keys(api: RegistrationApi) -> None:
    rotation = next_keys(api)
    while await rotation(ALL_PARTITIONS):
        pass
    assert len(await under_the_new_keys_alone(api)) == COUNT and await api.keys.count_outdated() == 0
    assert not await under_a_former_key(api), "which may have leaked"
    again = await api.register(national_id=a_national_id(3_010))
    assert again.status_code == 409, "found under either key"
    for key in ("index", "master"):
        assert metrics.ROTATION_LEFT.labels(key)._value.get() == 0


async def test_a_store_that_was_restored_from_before_a_rotation_opens_with_the_former_keys_only(
    api: RegistrationApi,
) -> None:
    """Without them the same person would register again."""
    keyrings = Keyring("M" * 40, "I" * 40, 2), Keyring("M" * 40, "I" * 40, 2, {1: ("m" * 40, "i" * 40)})
    runtime: Any = SimpleNamespace(
        store=api.store, resources=SimpleNamespace(persons=api.persons, erasures=AsyncMock())
    )
    api.persons.keyring = keyrings[0]
    with pytest.raises(Transient, match="PEYVAND_OLDER_KEYS"):
        await after_restore(runtime)
    api.persons.keyring = keyrings[1]
    await after_restore(runtime)


async def test_a_worker_that_dies_anywhere_is_continued_by_the_next(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before or after any of its writes; and the same person is refused in between."""
    transact, replace_keys, left = api.store.transact, api.keys._replace, [0]

    def dying(call: Any) -> Any:
        async def wrapped(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
            done = await call(*args, **options)
            if left[0] == -1:
                raise KeyboardInterrupt
            return done

        return wrapped

    next_keys(api)
    monkeypatch.setattr(api.store, "transact", dying(transact))
    monkeypatch.setattr(api.keys, "_replace", dying(replace_keys))
    for n in range(1, 12):
        left[0], rotation = n, KeyRotation(api.store, api.persons)
        try:
            while await rotation(ALL_PARTITIONS):
                pass
        except KeyboardInterrupt:
            pass
        left[0] = -1_000
        assert (await api.register(national_id=a_national_id(3_010 + n % COUNT))).status_code == 409
    assert len(await under_the_new_keys_alone(api)) == COUNT and await api.keys.count_outdated() == 0


async def test_an_identity_or_a_key_that_cannot_be_opened_stops_no_other(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many fit in one call: they stay under the former key, and are tried again."""
    records = sorted(await api.applicants(), key=lambda each: each.subject)
    for record in records[:6]:
        content = {**record.private.content, "sealed": b"\x01" + bytes(60)}
        api.store.records[record.subject] = replace(record, private=replace(record.private, content=content))
    stored: dict[str, bytes] = api.keys.stored  # type: ignore[attr-defined]
    unused = sorted(stored.keys() - {each.private.content["key_id"] for each in records})[:1]
    stored |= dict.fromkeys(unused, b"\x01" + bytes(60))
    rotation = next_keys(api)
    monkeypatch.setattr(key_rotation, "COUNT_INTERVAL", 3_600.0)  # what is left is counted when nothing was done
    for _ in range(20):
        await rotation(ALL_PARTITIONS)
    assert await api.keys.count_outdated() == len(unused)
    outdated = [each.subject for each in await api.applicants() if each.indexed["index_version"] == 1]
    assert sorted(outdated) == [each.subject for each in records[:6]]
    assert rotation.faults.recent() == {*outdated, *(f"key {each}" for each in unused)}


async def test_a_person_who_was_erased_stays_known_under_the_former_key(api: RegistrationApi) -> None:
    subject = (await api.applicants())[0].subject
    path = f"/v1/applications/{subject}/erasure"
    erased = await api.request("POST", path, "manager", json=ERASURE, key="key-erasure")
    assert erased.status_code == 200, erased.text
    await api.run_jobs()
    before = api.store.records[subject].indexed["person"]
    rotation = next_keys(api)
    while await rotation(ALL_PARTITIONS):
        pass
    assert api.store.records[subject].indexed["person"] == before
    assert len(await under_the_new_keys_alone(api)) == COUNT - 1


async def test_who_registers_during_the_rotation_is_found_under_either_key_and_rotated(api: RegistrationApi) -> None:
    """The rotation removes the former index at once: who is not rotated yet has it, and the new registration too."""
    rotation = next_keys(api)
    assert (await api.register(national_id=a_national_id(3_500))).status_code == 201
    assert len(await under_a_former_key(api)) == COUNT + 1
    while await rotation(ALL_PARTITIONS):
        for serial in (3_010, 3_500):
            assert (await api.register(national_id=a_national_id(serial))).status_code == 409
    assert len(await under_the_new_keys_alone(api)) == COUNT + 1 and not await under_a_former_key(api)


async def test_without_former_keys_each_partition_is_looked_at_once(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that still had the former keys may have registered someone after everything was rotated."""
    rotation = next_keys(api)
    while await rotation(ALL_PARTITIONS):
        pass
    assert (await api.register(national_id=a_national_id(3_500))).status_code == 201
    api.persons.keyring = api.keys.keyring = Keyring("M" * 40, "I" * 40, 2)
    worker, half = KeyRotation(api.store, api.persons), frozenset(range(16))
    while await worker(half) + await worker(ALL_PARTITIONS):
        pass
    assert not await under_a_former_key(api) and await worker(ALL_PARTITIONS) == 0
    monkeypatch.setattr(api.store, "find_subjects", None)
    assert await worker(ALL_PARTITIONS) == 0 and worker.done == ALL_PARTITIONS
