"""The steps of a rotation of keys: each changes the secrets once, however often it is run, and elsewhere is shown."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from base.settings import load
from peyvand.keys import command
from peyvand.keys.command import Shown, _forget, _next_step
from peyvand.keys.processes import KeyProcess, left
from peyvand.keys.steps import finish, prepare, switch, versions
from peyvand.local_cluster.workspace import Secrets, Workspace, development_secrets
from registration.settings import RegistrationSettings
from registration.tracking_codes import TrackingCodes
from security.encryption import LAST_VERSION, Keyring


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    workspace = Workspace(tmp_path, tmp_path / "run")
    workspace.create()
    return development_secrets(workspace, ("registration",))


def keys() -> Callable[[], str]:
    """Return a source of new keys."""
    numbers = count()
    return lambda: f"new-{next(numbers)}"


def test_each_step_is_taken_once(secrets: Secrets) -> None:
    new_key = keys()
    prepared = prepare(secrets, new_key)
    assert versions(prepared) == (1, 2) and prepared.master_key == secrets.master_key
    assert prepare(prepared, new_key) == prepared
    switched = switch(prepared)
    assert versions(switched) == (2, 1) and (switched.master_key, switched.index_key) == ("new-0", "new-1")
    assert switched.older_keys == {1: (secrets.master_key, secrets.index_key, secrets.tracking_key)}
    assert switch(prepare(switched, new_key)) == switched, "a rotation that has not ended goes on"
    ended = finish(switched)
    assert versions(ended) == (2,) and ended.former_tracking_keys == {1: secrets.tracking_key}
    assert finish(ended) == ended == switch(ended)
    again = finish(switch(prepare(ended, new_key)))
    assert versions(again) == (3,) and again.former_tracking_keys == {1: secrets.tracking_key, 2: "new-2"}


def test_after_the_last_version_none_is_begun(secrets: Secrets) -> None:
    from msgspec.structs import replace

    last = replace(secrets, key_version=LAST_VERSION)
    assert prepare(last, keys()) == last


def test_processes_without_the_former_keys_still_know_their_tracking_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"MONGO": "m", "KAFKA": "k", "DATABASE": "d", "JWKS": "j", "SERVICE": "registration"}
    values |= {"ENVIRONMENT": "development", "KEY_VERSION": "2", "FORMER_TRACKING_KEYS": '{"1": "former"}'}
    for name, value in values.items():
        monkeypatch.setenv(f"PEYVAND_{name}", value)
    settings = load(RegistrationSettings)
    assert list(TrackingCodes.of(settings).keys) == [2, 1] and Keyring.of(settings).versions == (2,)


def _shown(*known: tuple[int, ...]) -> Shown:
    processes = tuple(KeyProcess(f"registration-{n}", each) for n, each in enumerate(known))
    in_use = {each[0] for each in known}
    return Shown(in_use.pop() if len(in_use) == 1 else 0, processes, {})


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        (((1,), (1,)), 'PEYVAND_OLDER_KEYS .*\n.*"2":\\['),
        (((1, 2), (1,)), "finish the rollout"),
        (((1, 2), (1, 2)), "PEYVAND_KEY_VERSION=2;"),
        (((2, 1), (1, 2)), "finish the rollout"),
        (((2, 1), (2, 1)), "Every process uses version 2"),
    ],
)
def test_elsewhere_the_next_step_follows_from_what_every_process_knows(
    known: tuple[tuple[int, ...], ...], shown: str
) -> None:
    import re

    assert re.search(shown, _next_step(_shown(*known)))


def test_the_end_names_the_settings() -> None:
    assert "third key of version 1" in _forget(_shown((2, 1), (2, 1)))
    assert _forget(_shown((2,), (2,))) == "no process knows a former key"


def test_a_worker_that_has_not_counted_is_not_taken_for_done() -> None:
    api = KeyProcess("registration-api", (2, 1))
    one = KeyProcess("registration-worker", (2, 1), {"master": 3, "index": 4})
    other = KeyProcess("registration-worker-2", (2, 1), {"master": 0, "index": 5})
    assert left([api, one, other]) == {"master": 3, "index": 9}
    assert left([api, one, KeyProcess("registration-worker-2", (2, 1))]) == {} == left([api])


def test_without_the_processes_the_command_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from peyvand.endpoints import CommandError, Endpoints

    monkeypatch.delenv("PEYVAND_PROCESSES", raising=False)
    with pytest.raises(CommandError, match="are not known"):
        command._shown(Endpoints("http://127.0.0.1:1"))
    monkeypatch.setenv("PEYVAND_PROCESSES", "registration-api=127.0.0.1:1")
    with pytest.raises(CommandError, match="does not answer"):
        command._shown(Endpoints("http://127.0.0.1:1"))
