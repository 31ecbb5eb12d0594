"""Indexes as declarations: they are created from them, and compared with them before a service opens."""

from collections.abc import Mapping, Sequence
from typing import Any

import pymongo
from pymongo import IndexModel
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure

from kernel.stores.mongodb.client import translate_errors

Declared = Mapping[str, Sequence[IndexModel]]  # by collection
NO_COLLECTION = 26
BUILD = 6 * 3600.0  # seconds for the indexes of one collection; those of ten million records take minutes


def partial_index(fields: Sequence[str], present: str, *, kind: str = "", **options: Any) -> IndexModel:
    """Return an index of the documents that have a field, of one kind or of all."""
    covered = {present: {"$exists": True}} | ({"kind": kind} if kind else {})
    name = "_".join([*([kind] if kind else ()), *fields])
    return IndexModel([(field, 1) for field in fields], name=name, partialFilterExpression=covered, **options)


async def create_indexes(database: AsyncDatabase[dict[str, Any]], declared: Declared) -> None:
    """Create every index; creating them again changes nothing."""
    for collection, models in declared.items():
        with pymongo.timeout(BUILD):  # instead of the client's limit for one answer
            await database[collection].create_indexes(list(models))


async def missing_indexes(database: AsyncDatabase[dict[str, Any]], declared: Declared) -> list[str]:
    """Return the indexes (collection.name) that are missing, differ, or are still being built. Raise Transient."""
    missing = []
    for collection, models in declared.items():
        built = await _built(database, collection)
        wanted = [dict(model.document) | {"key": dict(model.document["key"])} for model in models]
        missing += [f"{collection}.{each['name']}" for each in wanted if each not in built]
    return missing


async def _built(database: AsyncDatabase[dict[str, Any]], collection: str) -> list[dict[str, Any]]:
    """Return the definitions of a collection's indexes; one that is being built has its definition further inside."""
    try:
        async with translate_errors():
            found = await database.command(
                "listIndexes", collection, includeBuildUUIDs=True, cursor={"batchSize": 1_000}
            )
    except OperationFailure as e:
        if e.code == NO_COLLECTION:
            return []
        raise
    return [{name: value for name, value in each.items() if name != "v"} for each in found["cursor"]["firstBatch"]]
