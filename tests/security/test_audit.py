"""The audit chain: every reading is one row, in an order that no later change can hide."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from base.ids import uuid7
from kernel.stores.mongodb import connect
from security.audit import AuditRow, MemoryAuditChain, MongoAuditChain, first_broken

AT = datetime(2025, 10, 1, 12, 0, 0, 123_456, tzinfo=UTC)

Chain = MemoryAuditChain | MongoAuditChain


@pytest.fixture(params=["memory", pytest.param("mongodb", marks=pytest.mark.server)])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    """An empty chain, in memory and in MongoDB."""
    if request.param == "memory":
        yield MemoryAuditChain()
        return
    client = connect(request.getfixturevalue("servers").mongo)
    database = client[f"audit_{uuid7()}"]
    yield MongoAuditChain(database)
    await client.drop_database(database)
    await client.close()


async def rows_of(chain: Chain, count: int = 4) -> list[AuditRow]:
    """Record this many readings and return the rows."""
    for n in range(count):
        await chain.append(f"registrar:{n}", f"subject-{n}", "application", AT + timedelta(seconds=n))
    return await chain.all()


async def test_rows_are_numbered_and_linked(chain: Chain) -> None:
    rows = await rows_of(chain)

    assert [row.n for row in rows] == [1, 2, 3, 4]
    assert [row.previous for row in rows] == ["", *(row.hash for row in rows[:-1])]
    assert [(row.actor, row.subject, row.purpose) for row in rows] == [
        (f"registrar:{n}", f"subject-{n}", "application") for n in range(4)
    ]
    assert rows[0].at == AT.replace(microsecond=123_000), "MongoDB keeps milliseconds, and the hash covers them"
    assert len({row.hash for row in rows}) == 4
    assert first_broken(rows) == 0 and first_broken([]) == 0


async def test_hashes_of_stored_chains_stay_valid(chain: Chain) -> None:
    """The hash covers field names and their order: renaming one would break every chain in production."""
    rows = await rows_of(chain, 2)

    assert [row.hash for row in rows] == ["cdc2af9ba03ad6fd5e089249ea96b8c3", "d0030ce50e8f21a2430176f791597614"]


async def test_concurrent_readings_follow_one_another(chain: Chain) -> None:
    await asyncio.gather(*(chain.append(f"registrar:{n}", "s", "application", AT) for n in range(20)))

    rows = await chain.all()
    assert first_broken(rows) == 0 and [row.n for row in rows] == list(range(1, 21))
    assert {row.actor for row in rows} == {f"registrar:{n}" for n in range(20)}


@pytest.mark.parametrize(
    "change",
    [
        {"actor": "registrar:other"},
        {"subject": "other"},
        {"purpose": "other"},
        {"at": AT},
        {"previous": "0" * 32},
        {"hash": "0" * 32},
        {"n": 7},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_row_breaks_the_chain(change: dict[str, object]) -> None:
    rows = await rows_of(MemoryAuditChain())
    rows[2] = replace(rows[2], **change)

    assert first_broken(rows) == rows[2].n


async def test_a_removed_or_swapped_row_breaks_the_chain() -> None:
    rows = await rows_of(MemoryAuditChain())

    assert first_broken(rows[1:]) == 2, "the first is missing"
    assert first_broken([rows[0], *rows[2:]]) == 3, "one in the middle is missing"
    assert first_broken([rows[0], rows[2], rows[1], rows[3]]) == 3, "two are swapped"
