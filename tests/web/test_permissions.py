"""Every operation of every service x every identity x every scope: nothing beyond the permission table, 40,000 checks.

The expected answers come from the table and from the areas of things, through an oracle of a few lines. The operations
come from the running applications, pages included, and are compared with their OpenAPI documents.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.commands import Refused
from screening import queries
from screening.api import cases
from screening.queries import find_case, selected
from security.auth import PUBLIC
from tests.support.authorization import Identity, Matrix, World, pairs_of_roles, single_roles, tokenless
from tests.support.authorization_worlds import WORLDS
from tests.support.tokens import Issuer
from web.app import policies
from web.authorization import AccessPolicy

# The least number of checks: a test that runs fewer has lost some.
SINGLE = {"registration": 3_000, "screening": 4_500, "market": 4_000, "reporting": 600, "operations": 400}
PAIRS = {"registration": 9_500, "screening": 15_500, "market": 13_500, "reporting": 1_700, "operations": 1_000}


def closed(world: World) -> dict[tuple[str, str], AccessPolicy]:
    """Return the policies of the operations that are not public."""
    return {where: each for where, each in sorted(policies(world.app).items(), key=str) if each.action != PUBLIC}


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """The world of a service."""
    world = await WORLDS[request.param](tmp_path)
    world.app.state.verifier.revocations.ids = frozenset({"revoked"})
    yield world


def identities(world: World, tmp_path: Path) -> list[Identity]:
    """Return who has no valid token, and each role in each area."""
    (tmp_path / "forger").mkdir(exist_ok=True)
    return [*tokenless(world.issuer, Issuer(tmp_path / "forger")), *single_roles(world.issuer, world.leads)]


async def checked(world: World, who: Sequence[Identity]) -> Matrix:
    """Return the matrix after all requests."""
    matrix = Matrix(world)
    async with matrix.client:
        await matrix.run(who, closed(world))
    return matrix


@pytest.mark.parametrize("world", WORLDS, indirect=True)
def test_every_closed_operation_is_in_the_matrix_and_in_openapi(world: World) -> None:
    found = closed(world)
    assert set(found) == set(world.operations), "add the operation to tests/support/authorization_*.py"
    schema = world.app.openapi()["paths"]
    for (method, path), policy in found.items():
        if "/v1/" in path and "/internal/" not in path:  # what services ask each other is not published
            operation = schema[path][method.lower()]
            assert operation["x-peyvand-action"] == {"action": policy.action, "access": policy.access}
            assert operation["x-peyvand-roles"] == sorted(policy.roles)


@pytest.mark.parametrize("world", WORLDS, indirect=True)
async def test_each_role_does_and_sees_what_the_table_has(
    world: World, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    matrix = await checked(world, identities(world, tmp_path))
    assert not matrix.leaks, "\n".join([f"{len(matrix.leaks)} of {matrix.checks}", *matrix.leaks[:40]])
    assert matrix.checks >= SINGLE[request.node.callspec.params["world"]], matrix.checks


@pytest.mark.long
@pytest.mark.parametrize("world", WORLDS, indirect=True)
async def test_two_roles_do_and_see_what_either_may(world: World, request: pytest.FixtureRequest) -> None:
    matrix = await checked(world, list(pairs_of_roles(world.issuer, world.leads)))
    assert not matrix.leaks, "\n".join([f"{len(matrix.leaks)} of {matrix.checks}", *matrix.leaks[:40]])
    assert matrix.checks >= PAIRS[request.node.callspec.params["world"]], matrix.checks


def test_the_checks_are_40_000() -> None:
    assert sum(SINGLE.values()) + sum(PAIRS.values()) >= 40_000


# Canaries: planted leaks are found


async def _see_everything(store: Any, subject: str, scope: str) -> Any:
    return await find_case(store, subject, "")


def _widen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = closed(world)["GET", "/screening/v1/cases/{id}"]
    monkeypatch.setattr(policy, "roles", policy.roles | {"analyst"})


def _forbid_instead_of_missing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find(store: Any, subject: str, scope: str) -> Any:
        if not await store.find_subjects(queries.selected(scope, [subject])) and subject in store.records:
            raise Refused("forbidden")
        return await find_case(store, subject, scope)

    monkeypatch.setattr(queries, "find_case", find)


LEAKS: dict[str, Callable[[World, pytest.MonkeyPatch], None]] = {
    "a case is found without its scope": lambda _, patch: patch.setattr(queries, "find_case", _see_everything),
    "the list ignores the scope": lambda _, patch: patch.setattr(cases, "restricted", lambda scope, province: province),
    "a list of decisions ignores the scope": lambda _, patch: patch.setattr(
        queries, "selected", lambda scope, ids: selected("", ids)
    ),
    "another role is let in": _widen,
    "what is outside the scope is forbidden, not missing": _forbid_instead_of_missing,
    "a revoked token is accepted": lambda world, _: setattr(world.app.state.verifier.revocations, "ids", frozenset()),
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("world", ["screening"], indirect=True)
async def test_a_planted_leak_is_found(
    world: World, tmp_path: Path, leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    LEAKS[leak](world, monkeypatch)
    few = [each for each in identities(world, tmp_path) if each.roles[:1] in ((), ("screener",), ("analyst",))]
    assert (await checked(world, few)).leaks
