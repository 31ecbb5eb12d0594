"""What registration opens beside its store: the keys of the identities, closed again whatever happens."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kernel.leases import MemoryLeases
from kernel.service import Runtime
from kernel.stores.mongodb import connect
from registration import registrations
from registration.api.dependencies import api_resources
from registration.registrations import Resources
from registration.service import service
from security.encryption import KeyBlocks, Keyring
from tests.support.registration_api import RegistrationApi


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime[Any]:
    """Make a runtime over a database that is never reached."""
    client = connect("mongodb://127.0.0.1:1")
    api = RegistrationApi(tmp_path)
    return Runtime(
        settings=api.settings,
        store=service.mongo_store(client["registration"]),
        leases=MemoryLeases(),
        clock=api.clock,
        databases=lambda suffix: client[f"registration_{suffix}"],
    )


async def test_the_keys_are_closed_after_an_error(runtime: Runtime[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[KeyBlocks]()

    async def close(self: KeyBlocks) -> None:
        closed.append(self)

    monkeypatch.setattr(KeyBlocks, "close", close)
    opened: Resources
    with pytest.raises(ZeroDivisionError):
        async with registrations.resources(runtime) as opened:
            raise ZeroDivisionError
    assert closed == [opened.persons.keys]


async def test_there_is_one_keyring(runtime: Runtime[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made, of = [], Keyring.of

    def counted(settings: Any) -> Keyring:
        made.append(of(settings))
        return made[-1]

    monkeypatch.setattr(Keyring, "of", counted)
    async with registrations.resources(runtime) as opened:
        api_resources(replace(runtime, resources=opened))
    assert made == [opened.persons.keyring]
