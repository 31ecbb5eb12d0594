"""The users of MongoDB: one per service, one that reads and two that archive, each with the rights that it needs."""

import importlib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.uri_parser import parse_uri

from peyvand.archive.folders import COLLECTION as HEARTBEATS
from peyvand.kafka_users import NotAuthorized
from peyvand.local_cluster.servers import ADMIN
from peyvand.local_cluster.topology import (
    ARCHIVE,
    ARCHIVED,
    DATABASES,
    KEY_ARCHIVE,
    PROJECTION,
    READER,
    SERVICES,
    as_user,
)
from peyvand.local_cluster.workspace import Secrets

NOT_AUTHORIZED, AUTHENTICATION_FAILED = (13, 31), 18  # error codes of MongoDB
SYSTEM_DATABASES = (
    "",
    "admin",
    "local",
    "config",
)  # "" is every one; `local` has the oplog, `config` images of records
REACHING = {
    "find",
    "insert",
    "update",
    "remove",
    "changeStream",
    "dropDatabase",
    "createUser",
    "grantRole",
    "createRole",
}


GENERATION = re.compile(rf"{PROJECTION}_[0-9a-f]{{12}}")


def users(url: str, secrets: Secrets, *, diff: bool = False) -> list[str]:
    """Create a user per service that may write its own databases only, and two that read; return the differences.

    Raise NotAuthorized if the user in `url` may not manage users.
    """
    generations = generations_on(url)
    written = {**DATABASES, PROJECTION: (*DATABASES[PROJECTION], *generations)}
    wanted: dict[str, tuple[str, list[dict[str, str]]]] = {
        service: (secrets.mongo_services[service], [{"role": "readWrite", "db": name} for name in written[service]])
        for service in SERVICES
    }
    wanted[READER] = secrets.mongo_reader, [{"role": "read", "db": name} for name in (*SERVICES, *generations)]
    for name, password in ((ARCHIVE, secrets.mongo_archive), (KEY_ARCHIVE, secrets.mongo_key_archive)):
        reads = [{"role": "read", "db": database} for database in ARCHIVED[name]]
        wanted[name] = password, [*reads, {"role": name, "db": "admin"}]
    try:
        return _archive_roles(url, diff) + _users(url, wanted, diff)
    except OperationFailure as e:
        if e.code in NOT_AUTHORIZED:
            raise NotAuthorized(e.details and e.details.get("errmsg")) from e
        raise


def generations_on(url: str) -> list[str]:
    """Return the databases of the generations that exist, and of the one of this version of the code."""
    declaration = importlib.import_module(f"{PROJECTION}.service").service
    with MongoClient[dict[str, Any]](url) as client:
        existing = {each for each in client.list_database_names() if GENERATION.fullmatch(each)}
    return sorted(existing | {declaration.database_of(PROJECTION)})


def _archive_roles(url: str, diff: bool) -> list[str]:
    """Create the roles that write heartbeats and see how far the oplog reaches, without reading it."""
    different = []
    with MongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        for name, databases in ARCHIVED.items():
            rights: list[tuple[dict[str, Any], list[str]]] = [
                ({"db": database, "collection": HEARTBEATS}, ["insert", "update"]) for database in databases
            ]
            rights += [
                ({"cluster": True}, ["serverStatus"]),
                ({"db": "local", "collection": "oplog.rs"}, ["collStats"]),
            ]
            privileges = [{"resource": resource, "actions": actions} for resource, actions in rights]
            found = client.admin.command("rolesInfo", name, showPrivileges=True)["roles"]
            if found and _rights(found[0]["privileges"]) == _rights(privileges) and not found[0]["roles"]:
                continue
            different.append(f"database role {name} {'has other rights' if found else 'is missing'}")
            if not diff:
                command = "updateRole" if found else "createRole"
                client.admin.command(command, name, privileges=privileges, roles=[])
    return different


def _rights(privileges: Iterable[Mapping[str, Any]]) -> list[tuple[list[Any], list[str]]]:
    return sorted((sorted(each["resource"].items()), sorted(each["actions"])) for each in privileges)


def _users(url: str, wanted: Mapping[str, tuple[str, list[dict[str, str]]]], diff: bool) -> list[str]:
    different = []
    with MongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        everybody = client.admin.command("usersInfo", {"forAllDBs": True})["users"]
        known = {each["user"]: each for each in everybody if each["db"] == "admin"}
        for name, (password, roles) in wanted.items():
            if name not in known:
                different.append(f"database user {name} is missing")
            elif _sorted(known[name]["roles"]) != _sorted(roles):
                different.append(f"database user {name} has other roles")
            restrictions = _restrictions(client, name) if name in known else ""
            if restrictions and diff:  # perhaps on purpose: `apply` leaves them
                different.append(f"database user {name} is restricted, which is not declared: {restrictions}")
            if name in known and not _accepts(as_user(url, name, password)) and not restrictions:
                different.append(f"database user {name} has another password")
            if not diff:
                command = "updateUser" if name in known else "createUser"
                client.admin.command(command, name, pwd=password, roles=roles)
        if diff:
            named = {ADMIN, parse_uri(url)["username"], *os.environ.get("MONGO_SUPER_USERS", "").split(",")}
            expected = {f"admin.{name}" for name in (*wanted, *named)}
            different += [
                f"database user {each['_id']} is not declared and may reach our data"
                for each in everybody
                if each["_id"] not in expected and _reaches_ours(client, each)
            ]
    return different


def _restrictions(client: MongoClient[dict[str, Any]], name: str) -> str:
    """Return from where a user may connect, and to where: elsewhere the right password is refused like a wrong one."""
    exact = {"user": name, "db": "admin"}
    (user,) = client.admin.command("usersInfo", exact, showAuthenticationRestrictions=True)["users"]
    own, inherited = user["authenticationRestrictions"], user["inheritedAuthenticationRestrictions"]
    each_rule = [*own, *(rule for rules in inherited for rule in rules)]
    return "; ".join(f"{limit} {', '.join(values)}" for rule in each_rule for limit, values in rule.items())


def _accepts(url: str) -> bool:
    """Return whether MongoDB accepts the password of a URL."""
    with MongoClient[dict[str, Any]](url) as client:
        try:
            client.admin.command("ping")
        except OperationFailure as e:
            if e.code == AUTHENTICATION_FAILED:
                return False
            raise
    return True


def _reaches_ours(client: MongoClient[dict[str, Any]], user: Mapping[str, Any]) -> bool:
    """Return whether any role of a user, own or inherited, reads or writes our databases or gives rights on them."""
    exact = {"user": user["user"], "db": user["db"]}
    (found,) = client.admin.command("usersInfo", exact, showPrivileges=True)["users"]
    ours = {*SYSTEM_DATABASES, *(name for names in DATABASES.values() for name in names)}
    return any(
        (each["resource"].get("anyResource") or _is_ours(each["resource"].get("db", "-"), ours))
        and REACHING & {*each["actions"]}
        for each in found["inheritedPrivileges"]
    )


def _is_ours(database: str, named: Collection[str]) -> bool:
    return database in named or GENERATION.fullmatch(database) is not None


def _sorted(roles: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    return sorted((each["db"], each["role"]) for each in roles)
