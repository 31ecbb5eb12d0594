"""Every query of every service: memory and MongoDB answer the same, and MongoDB answers it from an index.

A find examines at most twice as many keys as it returns, plus 50, and does not sort. A count reads no documents. Each
use of a query in the code of a service has an example in its `queries.py`.
"""

import ast
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from contracts.subjects import kind_of
from kernel.query import Query
from kernel.service import Service
from kernel.stores.memory import MemoryStore
from kernel.stores.mongodb import MongoStore, connect
from kernel.stores.mongodb.documents import document_of
from tests.house.sources import SERVICES, Source, assert_none, code
from tests.support.query_plans import explain, explain_count
from tests.support.query_samples import NOON, sample
from tests.support.servers import Servers

RECORDS = 6_000
ALLOWANCE = 50  # keys
FINDS, COUNTS = ("find", "find_subjects"), ("count", "count_by", "distinct")  # methods of a store
Use = tuple[str, ...]  # a method, its field if it has one, and the function that returns the query


def queries_of(service: str) -> Any:
    """Return the module with the queries of a service."""
    return import_module(f"{service}.queries")


def examples() -> Iterator[Any]:
    """Yield each example of each service."""
    for service in SERVICES:
        for name, (method, *field, query) in queries_of(service).examples().items():
            yield pytest.param(service, method, field, query, id=f"{service}: {name}")


def functions(queries: ModuleType) -> set[str]:
    """Return the names of the functions that return a query."""
    own = {name: each for name, each in vars(queries).items() if inspect.isfunction(each)}
    return {name for name, each in own.items() if each.__annotations__.get("return") is Query}


def exemplified(queries: Any, monkeypatch: pytest.MonkeyPatch) -> set[Use]:
    """Return the uses of which there is an example."""
    made: dict[int, str] = {}  # id of a query -> the function that returned it

    def recorded(name: str, function: Callable[..., Query]) -> Callable[..., Query]:
        def record(*args: Any, **options: Any) -> Query:
            query = function(*args, **options)
            made[id(query)] = name
            return query

        return record

    for name in functions(queries):
        monkeypatch.setattr(queries, name, recorded(name, getattr(queries, name)))
    return {(method, *field, made[id(query)]) for method, *field, query in queries.examples().values()}


def used(source: Source) -> Iterator[Use]:
    """Yield how a file uses queries; a query that no function returns stands as it is written."""
    assigned = dict[str, list[ast.expr]]()
    for node in source.nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=variable)], value=value):
                assigned.setdefault(variable, []).append(value)
    for node in source.nodes:
        match node:
            case ast.Call(func=ast.Attribute(value=store, attr=method), args=[*field, query]) if (
                method in FINDS + COUNTS and ast.unparse(store).endswith("store")
            ):
                names = [str(each.value) if isinstance(each, ast.Constant) else ast.unparse(each) for each in field]
                for value in assigned.get(ast.unparse(query), [query]):
                    function = ast.unparse(value.func if isinstance(value, ast.Call) else value)
                    yield "find" if method in FINDS else method, *names, function.removeprefix("queries.")


@pytest.mark.parametrize("service", SERVICES)
def test_every_use_of_a_query_has_an_example(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = queries_of(service)
    names, known = functions(queries), exemplified(queries, monkeypatch)
    assert_none(names - {function for *_, function in known}, "queries without an example in `examples`")
    uses = {use for each in code() if each.path.startswith(f"services/{service}/") for use in used(each)}
    assert uses
    assert_none(sorted(map(str, uses - known)), "add an example of this use to `examples` of the service's queries")


def test_a_use_without_an_example_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canaries: a count of what is otherwise only found, and a query that is made elsewhere."""
    text = """
store.count_by("services", leads(""))
query = queries.lead(id)
self.store.find(query)
store.count(Query("lead"))
"""
    uses = set(used(Source("services/market/market/new.py", text)))
    known = exemplified(queries_of("market"), monkeypatch)
    assert uses - known == {("count_by", "services", "leads"), ("count", "Query")}
    assert uses & known == {("find", "lead")}


@pytest.fixture(scope="module")
def databases() -> dict[str, tuple[str, MemoryStore]]:
    """The databases that have been filled, with their twins in memory."""
    return {}


async def filled(service: str, client: Any, databases: dict[str, tuple[str, MemoryStore]], name: str) -> Any:
    """Return both stores of a service with the same records."""
    declared: Service[Any] = import_module(f"{service}.service").service
    if service not in databases:
        memory = MemoryStore(service, declared.rules, declared.unique)
        documents = []
        for record in sample(declared, RECORDS):
            memory.records[record.subject] = replace(record, version=1)
            documents.append(document_of(declared.rules[kind_of(record.subject)], record))
        await declared.create_indexes(client[name])
        await client[name].records.insert_many(documents)
        databases[service] = name, memory
    name, memory = databases[service]
    return memory, declared.mongo_store(client[name])


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[Any]:
    client = connect(servers.mongo)
    yield client
    await client.close()


@pytest.mark.server
@pytest.mark.parametrize(("service", "method", "field", "query"), list(examples()))
async def test_both_stores_answer_the_same_from_an_index(
    service: str, method: str, field: list[str], query: Query, client: Any, servers: Servers, databases: Any
) -> None:
    memory, mongodb = await filled(service, client, databases, servers.database())
    found = await memory.find_subjects(query)
    assert found, "the sample has no match"
    assert await mongodb.find_subjects(query) == found
    assert await getattr(mongodb, method)(*field, query) == await getattr(memory, method)(*field, query)
    if method in COUNTS:
        plan = await explain_count(mongodb, method, query, *field)
        assert plan.documents == 0, plan
        assert plan.keys <= await memory.count(query) + ALLOWANCE, plan
        return
    plan = await explain(mongodb, query)
    assert "SORT" not in plan.stages and "COLLSCAN" not in plan.stages, plan
    assert plan.returned == len(found)
    assert plan.keys <= 2 * plan.returned + ALLOWANCE, plan
    assert plan.documents <= 2 * plan.returned + ALLOWANCE, plan


@pytest.mark.server
async def test_a_query_without_an_index_is_noticed(client: Any, servers: Servers, databases: Any) -> None:
    """A canary: this is what the plan of a query without an index looks like."""
    _, mongodb = await filled("screening", client, databases, servers.database())
    plan = await explain(mongodb, Query("applicant", {"deadline": NOON}, limit=50))
    assert plan.keys + plan.documents > 2 * plan.returned + ALLOWANCE
    assert (await explain(mongodb, Query("applicant", {"scope": "IR-20/2001"}, ("deadline",), limit=5))).stages.count(
        "SORT"
    )
    assert isinstance(mongodb, MongoStore)
