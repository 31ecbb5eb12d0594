"""How MongoDB answers a `Query`: stages, examined keys and documents."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from bson.codec_options import CodecOptions, DatetimeConversion

from kernel.query import Query
from kernel.stores.mongodb import MongoStore
from kernel.stores.mongodb.queries import filter_of, path_of, sort_of


class Plan(msgspec.Struct, frozen=True):
    """The plan of one query."""

    stages: tuple[str, ...]
    keys: int  # index keys examined
    documents: int  # documents examined
    returned: int


async def explain(store: MongoStore, query: Query) -> Plan:
    """Return how MongoDB answers `find`."""
    sort = dict(sort_of(query))
    find = {"find": "records", "filter": filter_of(query), "sort": sort, "limit": query.limit}
    return await _explain(store, find)


async def explain_count(store: MongoStore, method: str, query: Query, field: str = "") -> Plan:
    """Return how MongoDB answers `count`, `count_by` or `distinct`; the last two have a field."""
    if method == "distinct":
        return await _explain(store, {"distinct": "records", "key": path_of(field), "query": filter_of(query)})
    group = {"$group": {"_id": f"${path_of(field)}" if field else None, "n": {"$sum": 1}}}
    count = {"aggregate": "records", "pipeline": [{"$match": filter_of(query)}, group], "cursor": {}}
    return await _explain(store, count)


async def _explain(store: MongoStore, command: Mapping[str, Any]) -> Plan:
    # The bounds of an index may be dates that Python does not have.
    tolerant: CodecOptions[Any] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
    answer = await store.database.command("explain", command, verbosity="executionStats", codec_options=tolerant)
    return _plan(answer)


def _plan(explained: Mapping[str, Any]) -> Plan:
    if "stages" in explained:  # an aggregation that is not executed as a find
        explained = explained["stages"][0]["$cursor"]
    stats = explained["executionStats"]
    return Plan(
        tuple(_stages(explained["queryPlanner"]["winningPlan"])),
        stats["totalKeysExamined"],
        stats["totalDocsExamined"],
        stats["nReturned"],
    )


def _stages(plan: Mapping[str, Any]) -> Iterator[str]:
    if "queryPlan" in plan:  # of the slot-based engine
        plan = plan["queryPlan"]
    yield plan["stage"]
    for each in (plan.get("inputStage"), *plan.get("inputStages", ())):
        if each is not None:
            yield from _stages(each)
