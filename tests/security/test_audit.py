"""The audit chains: every reading is one row, in an order that no later change can hide."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo.errors import PyMongoError

from security.audit import AuditRow, MemoryAudit, MongoAudit, first_broken
from security.audit_heads import (
    ForeignHead,
    Verification,
    last_head,
    public_key,
    sign_head,
    signing_key,
    signing_keys,
    stored_heads,
    verify,
)
from security.encryption import Keyring

AT = datetime(2025, 10, 1, 12, 0, 0, 123_456, tzinfo=UTC)
NOW = AT + timedelta(days=3, hours=1)
KEY, OTHER = signing_key(Keyring("m" * 32, "i" * 32)), signing_key(Keyring("n" * 32, "i" * 32))


async def rows_of(audit: Any, count: int = 4) -> list[AuditRow]:
    """Record this many readings and return the rows."""
    for n in range(count):
        await audit.append(f"registrar:{n}", f"subject-{n}", "application", AT + timedelta(seconds=n))
    found: list[AuditRow] = await audit.all()
    return found


async def test_rows_are_numbered_and_linked() -> None:
    rows = await rows_of(MemoryAudit())

    assert [row.n for row in rows] == [1, 2, 3, 4]
    assert [row.previous for row in rows] == ["", *(row.hash for row in rows[:-1])]
    assert [(row.actor, row.subject, row.purpose) for row in rows] == [
        (f"registrar:{n}", f"subject-{n}", "application") for n in range(4)
    ]
    assert rows[0].at == AT.replace(microsecond=123_000), "MongoDB keeps milliseconds, and the hash covers them"
    assert len({row.hash for row in rows}) == 4
    assert first_broken(rows) is None and first_broken([]) is None


async def test_hashes_of_stored_chains_stay_valid() -> None:
    """The hash covers field names and their order: renaming one would break every chain in production."""
    rows = await rows_of(MemoryAudit(), 2)

    assert [row.hash for row in rows] == ["38aac22c523be5fd855d23fb77be425a", "797a99039864d2089ba718778e618976"]


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
        {"chain": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_changed_row_breaks_the_chain(change: dict[str, object]) -> None:
    rows = await rows_of(MemoryAudit())
    rows[2] = replace(rows[2], **change)

    assert first_broken(rows) == (rows[2].chain, rows[2].n)


async def test_a_removed_or_swapped_row_breaks_the_chain() -> None:
    rows = await rows_of(MemoryAudit())

    assert first_broken(rows[1:]) == ("memory", 2), "the first is missing"
    assert first_broken([rows[0], *rows[2:]]) == ("memory", 3), "one in the middle is missing"
    assert first_broken([rows[0], rows[2], rows[1], rows[3]]) == ("memory", 3), "two are swapped"


# Over MongoDB: several processes, and heads


@pytest.fixture
async def written(database: Any) -> AsyncIterator[Any]:
    """Two processes that read at once, a head, more reading, another head, and what no head covers yet."""
    one, two = MongoAudit(database), MongoAudit(database)
    for day in (1, 2, 3):
        at = AT + timedelta(days=day)
        await asyncio.gather(
            *(each.append(f"registrar:{n}", "s", "application", at) for n in range(20) for each in (one, two))
        )
        if day < 3:
            assert await sign_head(database, KEY, at)
    yield database


async def verified(database: Any) -> Verification:
    return await verify(database, public_key(KEY), NOW)


@pytest.mark.server
async def test_each_process_has_a_chain_and_a_head_covers_both(written: Any) -> None:
    found = await verified(written)
    assert found.defects == ()
    assert (found.chains, found.rows, found.heads, found.unsigned_rows) == (2, 120, 2, 40)
    assert found.signed_until == (AT + timedelta(days=2)).replace(microsecond=123_000)


@pytest.mark.server
async def test_rows_that_arrive_together_are_written_together(database: Any) -> None:
    audit, writes = MongoAudit(database), 0
    insert = audit.rows.insert_many

    async def counted(rows: Any) -> Any:
        nonlocal writes
        writes += 1
        return await insert(rows)

    vars(audit)["rows"] = type("Rows", (), {"insert_many": staticmethod(counted), "database": database})
    await asyncio.gather(*(audit.append(f"registrar:{n}", "s", "application", AT) for n in range(500)))
    assert writes <= 3 and (await verified(database)).rows == 500


@pytest.mark.server
async def test_a_write_without_an_answer_begins_another_chain(database: Any) -> None:
    """Whether the rows of the first one are stored is not known: neither a gap nor a second row 2 may follow."""
    audit = MongoAudit(database)
    await audit.append("registrar:1", "s", "application", AT)
    insert, rows = audit.rows.insert_many, audit.rows

    async def unanswered(rows: Any) -> Any:
        await insert(rows)
        raise PyMongoError("the connection is closed")

    vars(audit)["rows"] = type("Rows", (), {"insert_many": staticmethod(unanswered)})
    with pytest.raises(PyMongoError):
        await audit.append("registrar:2", "s", "application", AT)
    audit.rows = rows
    await audit.append("registrar:2", "s", "application", AT)
    found = await verify(database, public_key(KEY), AT)
    assert found.defects == () and found.chains == 2 and found.rows >= 3


@pytest.mark.server
async def test_what_a_head_covers_cannot_be_cut_off(written: Any) -> None:
    """Not from the end of a chain, not a whole chain, not with its head, nor by a head that another key signed."""
    first, second = [end async for end in stored_heads(written)]
    chain, end = next(iter(second.ends.items()))
    await written.audit.delete_many({"_id": {"$gte": f"{chain}/{end.n:010}", "$lt": f"{chain}/~"}})
    assert f"chain {chain}: row {end.n} of head 2 is missing" in (await verified(written)).defects
    await written.audit.delete_many({"_id": {"$gte": chain, "$lt": f"{chain}/~"}})
    assert len((await verified(written)).defects) == 2, "both heads name a row of the chain"
    await written.audit_heads.delete_one({"_id": first.number})
    assert any(each.startswith("head 2: does not follow") for each in (await verified(written)).defects)
    await written.audit_heads.delete_many({})
    assert "rows of earlier days are covered by no head" in (await verified(written)).defects[0]
    assert await sign_head(written, OTHER, AT)
    assert (await verified(written)).defects == ("head 1: not signed by the service",)


@pytest.mark.server
async def test_a_head_that_was_changed_is_found(written: Any) -> None:
    await written.audit_heads.update_one({"_id": 1}, {"$set": {"at": AT}})
    assert "head 1" in (await verified(written)).defects[0]


@pytest.mark.server
async def test_a_new_key_covers_the_heads_of_the_former_one(written: Any) -> None:
    assert (await verify(written, public_key(OTHER), NOW)).defects == ("head 2: not signed by the service",)
    with pytest.raises(ForeignHead):
        await sign_head(written, OTHER, AT + timedelta(days=3))
    current, *former = signing_keys(Keyring("n" * 32, "i" * 32, 2, {1: ("m" * 32, "i" * 32)}))
    assert await sign_head(written, current, AT + timedelta(days=3), former)
    found = await verify(written, public_key(OTHER), NOW)
    assert found.defects == () and found.heads == 3 and found.unsigned_rows == 0


@pytest.mark.server
async def test_two_processes_sign_one_head(written: Any) -> None:
    signed = await asyncio.gather(*(sign_head(written, KEY, AT + timedelta(days=3)) for _ in range(5)))
    assert sum(each is not None for each in signed) >= 1
    head = await last_head(written)
    assert head and head.number == 2 + sum(each is not None for each in signed)
    assert (await verified(written)).defects == ()


@pytest.mark.server
async def test_a_chain_that_someone_else_has_written_and_signed_is_not_continued(database: Any) -> None:
    """Otherwise the next head of the service would vouch for it."""
    await MongoAudit(database).append("registrar:1", "s", "application", AT)
    assert await sign_head(database, OTHER, AT)
    with pytest.raises(ForeignHead):
        await sign_head(database, KEY, AT + timedelta(days=1))
    assert (await verified(database)).defects == ("head 1: not signed by the service",)
