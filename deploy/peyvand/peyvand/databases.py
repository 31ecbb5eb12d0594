"""The databases that hold what each service has now: of a projection, that of the generation that is served."""

from typing import TYPE_CHECKING, Any

from peyvand.local_cluster.topology import PROJECTION, SERVICES

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient, MongoClient
    from pymongo.asynchronous.database import AsyncDatabase
    from pymongo.database import Database


async def databases_of(client: "AsyncMongoClient[dict[str, Any]]") -> dict[str, "AsyncDatabase[dict[str, Any]]"]:
    """Return the database of each service. Before the first generation that of its pointer. Raise Transient."""
    from recovery.generations import Pointer

    served = (await Pointer(client[PROJECTION]).read()).served
    return {service: client[served if served and service == PROJECTION else service] for service in SERVICES}


def database_of(client: "MongoClient[dict[str, Any]]", service: str) -> "Database[dict[str, Any]]":
    """Return the database of one service, for callers without an event loop."""
    from recovery.generations import COLLECTION, POINTER, generations_of

    if service != PROJECTION:
        return client[service]
    served = generations_of(client[PROJECTION][COLLECTION].find_one({"_id": POINTER})).served
    return client[served or PROJECTION]
