"""Idempotency: the metadata of commands, and lists of commands executed in one transaction."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from base.clock import Moment
from base.ids import uuid7
from contracts.commands import Refused
from contracts.envelope import Context
from contracts.events import Event
from contracts.events.registration import ApplicantWithdrawn
from kernel.commands import CommandMetadata, Outcome, Result, execute
from kernel.errors import KeyReused
from kernel.stores.memory import MemoryStore
from security.auth import Principal, anonymous
from tests.support.small_api import problem_of
from tests.support.tokens import Issuer
from web.idempotency import execute_each, fingerprint, metadata_for, stored_key

THINGS = "/t/v1/things"


async def post(
    client: httpx.AsyncClient, issuer: Issuer, body: Any, key: str = "key-0001", **claims: Any
) -> dict[str, Any]:
    """Post a thing with a key; return the metadata that the route received."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    response = await client.post(
        THINGS, content=content, headers={**issuer.bearer("registrar", province="IR-20", **claims), **headers}
    )
    assert response.status_code == 201, response.text
    received: dict[str, Any] = response.json()
    return received


async def test_fingerprint_ignores_the_spelling_of_json(client: httpx.AsyncClient, issuer: Issuer) -> None:
    first = await post(client, issuer, {"name": "ab", "count": 2})
    repeated = await post(client, issuer, b'{ "count": 2,\n "name": "\\u0061b" }')

    assert first == repeated and len(bytes.fromhex(first["fingerprint"])) == 32


def test_keys_of_different_principals_cannot_meet() -> None:
    """Whatever people and items are called, and whatever keys they choose."""

    def key_of(principal: Principal, key: str, item: str = "") -> str:
        metadata = CommandMetadata(idempotency_key=stored_key(b"secret", principal, key))
        return metadata_for(item, metadata).idempotency_key if item else metadata.idempotency_key

    officer = Principal("a", frozenset({"registrar"}))
    named = [
        Principal(each, frozenset({"registrar"})) for each in ("a/key-0001", "a key-0001", "web", " a", "item-001 a")
    ]
    keys = [
        key_of(officer, "key-0001"),
        key_of(officer, "key-0001", "item-001"),
        key_of(officer, "key-0001/item-001"),
        key_of(anonymous(), "key-0001"),
        *(key_of(each, key) for each in named for key in ("key-0001", "item-001", "/key-0001", "key-0001/a")),
        *(key_of(each, "key-0001", "item-001") for each in named),
    ]
    assert len(set(keys)) == len(keys)


async def test_body_changes_the_fingerprint_and_principal_the_key(client: httpx.AsyncClient, issuer: Issuer) -> None:
    first = await post(client, issuer, {"name": "ab", "count": 2})
    other = await post(client, issuer, {"name": "ab", "count": 3})
    other_principal = await post(client, issuer, {"name": "ab", "count": 2}, id="of-7777")

    assert first["fingerprint"] != other["fingerprint"] and first["key"] == other["key"] != other_principal["key"]
    assert len(bytes.fromhex(first["key"])) == 16


async def test_request_without_key_has_no_fingerprint(client: httpx.AsyncClient, issuer: Issuer) -> None:
    response = await client.post(THINGS, json={"name": "ab"}, headers=issuer.bearer("registrar", province="IR-20"))

    assert (response.json()["key"], response.json()["fingerprint"]) == ("", "")


@pytest.mark.parametrize("key", ["short", "x" * 129, "with a space", "کلید-فارسی-من", "a\tb-cdefgh"])
async def test_invalid_key_is_refused(client: httpx.AsyncClient, issuer: Issuer, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    headers += [(n.encode(), v.encode()) for n, v in issuer.bearer("registrar", province="IR-20").items()]

    problem_of(await client.post(THINGS, json={"name": "ab"}, headers=headers), 400, "idempotency_key_invalid")


async def test_route_can_require_a_key(client: httpx.AsyncClient) -> None:
    response = await client.post("/t/v1/imports", content=b"x", headers={"Content-Type": "text/csv"})

    problem_of(response, 400, "idempotency_key_missing")


def test_fingerprint_depends_on_secret_method_path_and_body() -> None:
    requests = [
        (b"secret", "POST", "/a", b"body"),
        (b"other", "POST", "/a", b"body"),
        (b"secret", "PUT", "/a", b"body"),
        (b"secret", "POST", "/b", b"body"),
        (b"secret", "POST", "/a", b"other"),
    ]

    assert fingerprint(*requests[0]) == fingerprint(*requests[0])
    assert len({fingerprint(*each) for each in requests}) == 5
    assert fingerprint(b"s", "POST", "/a", {"b": 1, "a": 2}) == fingerprint(b"s", "POST", "/a", {"a": 2, "b": 1})


# Lists of commands

AT = datetime(2025, 10, 1, tzinfo=UTC)


class Withdrawal(msgspec.Struct, frozen=True):
    """Whether the applicant has withdrawn."""

    withdrawn: bool = False


class WithdrawOnce:
    """Rules of a subject that can be withdrawn once; the command is the reason."""

    VERSION = 1
    State = Withdrawal

    def decide(self, state: Withdrawal, command: Any, at: datetime) -> Sequence[Event]:
        """Withdraw, or refuse."""
        if state.withdrawn:
            raise Refused("already_withdrawn")
        return [ApplicantWithdrawn(reason=command)]

    def react(self, state: Withdrawal, envelope: Any, at: datetime) -> Sequence[Event]:
        """Ignore consumed events."""
        return []

    def evolve(self, state: Withdrawal, envelope: Any) -> Withdrawal:
        """Note the withdrawal."""
        return Withdrawal(withdrawn=True)

    def indexed(self, state: Withdrawal) -> dict[str, Any]:
        """Return no fields."""
        return {}

    def context(self, state: Withdrawal) -> Context:
        """Return the context of an applicant."""
        return Context(round="1404", province="IR-20", county="2001", field="HC001", policy="1404-1")


def clock() -> Moment:
    """Return the same moment always."""
    return Moment(AT, AT)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("registration", {"applicant": WithdrawOnce()})


@pytest.fixture
def subjects() -> list[str]:
    return [uuid7() for _ in range(4)]


async def withdraw_each(
    store: MemoryStore, subjects: Sequence[str], permitted: Sequence[str], metadata: CommandMetadata | None = None
) -> list[tuple[str, Outcome]]:
    """Withdraw each of the subjects."""
    items = [(subject, "moved") for subject in subjects]
    return await execute_each(store, items, permitted, clock, metadata or CommandMetadata(actor="manager:of-1"))


def codes(outcomes: Sequence[tuple[str, Outcome]]) -> list[str]:
    """Return `done`, `repeated` or the code of the refusal of each outcome."""
    return [
        ("repeated" if outcome.repeated else "done") if isinstance(outcome, Result) else getattr(outcome, "code", "?")
        for _, outcome in outcomes
    ]


async def test_outcomes_are_independent_and_in_the_order_of_the_items(store: MemoryStore, subjects: list[str]) -> None:
    await execute(store, subjects[1], "moved", clock)

    outcomes = await withdraw_each(store, subjects, subjects)

    assert [subject for subject, _ in outcomes] == subjects
    assert codes(outcomes) == ["done", "already_withdrawn", "done", "done"]
    assert all(record.state.withdrawn for record in (await store.read(subjects)).values())


async def test_subject_outside_the_scope_is_answered_like_a_missing_one(
    store: MemoryStore, subjects: list[str]
) -> None:
    outcomes = await withdraw_each(store, subjects, subjects[:2])

    assert codes(outcomes) == ["done", "done", "not_found", "not_found"]
    assert not any(record.version for record in (await store.read(subjects[2:])).values())
    assert codes(await withdraw_each(store, subjects, [])) == ["not_found"] * 4


async def test_only_the_first_item_of_a_subject_is_executed(store: MemoryStore, subjects: list[str]) -> None:
    one, other = subjects[:2]
    items = [(one, "moved"), (other, "moved"), (one, "other")]

    outcomes = await execute_each(store, items, [one, other], clock, CommandMetadata())

    assert codes(outcomes) == ["done", "done", "row_repeated"]
    first = outcomes[0][1]
    assert isinstance(first, Result) and isinstance(first.events[0].event, ApplicantWithdrawn)
    assert first.events[0].event.reason == "moved"


async def test_repeated_list_gets_the_stored_responses(store: MemoryStore, subjects: list[str]) -> None:
    metadata = CommandMetadata(actor="manager:of-1", idempotency_key="0af76519", fingerprint=b"a" * 32)

    assert codes(await withdraw_each(store, subjects, subjects, metadata)) == ["done"] * 4
    assert codes(await withdraw_each(store, subjects, subjects, metadata)) == ["repeated"] * 4
    changed = msgspec.structs.replace(metadata, fingerprint=b"b" * 32)
    outcomes = await withdraw_each(store, subjects, subjects, changed)
    assert all(isinstance(outcome, KeyReused) for _, outcome in outcomes)


def test_each_item_of_a_list_has_its_own_key() -> None:
    metadata = CommandMetadata(actor="manager:of-1", idempotency_key="0af76519", fingerprint=b"a" * 32)

    assert metadata_for("s-1", metadata).idempotency_key == "0af76519 s-1"
    assert metadata_for("s-1", metadata).fingerprint == metadata.fingerprint
    assert metadata_for("s-1", CommandMetadata(actor="manager:of-1")).idempotency_key == ""


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/jsonx", "text/csv; x=json", "application/a+json"]
)
async def test_a_body_that_is_nested_without_end_is_no_fault(
    client: httpx.AsyncClient, issuer: Issuer, media_type: str
) -> None:
    headers = {
        **issuer.bearer("registrar", province="IR-20"),
        "Idempotency-Key": "key-0001",
        "Content-Type": media_type,
    }
    response = await client.post(THINGS, content=b"[" * 30_000, headers=headers)
    assert 400 <= response.status_code < 500, response.text
