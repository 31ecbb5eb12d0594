"""Brings a cluster to what the code says: topics, database users, indexes. Doing it again changes nothing."""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from contracts.topics import TOPICS
from peyvand.local_cluster.topology import DATABASES, READER, SERVICES, as_user, read_state
from peyvand.local_cluster.workspace import Home, Secrets, development_secrets, here

NOT_ALLOWED = (13, 31)  # codes of MongoDB


class NotAllowed(Exception):
    """On this cluster others make the users."""


class Unalterable(Exception):
    """Something differs that nobody may change in place."""


def topics(bootstrap: str, *, diff: bool = False) -> list[str]:
    """Makes the topics of `contracts.topics` and mends their settings; returns what differed. Raises Unalterable."""
    # Loading it takes a while, which whoever wants no topics need not wait for.
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        there = set(client.list_topics())
        known = [topic for topic in TOPICS if topic.name in there]
        counts = {each["name"]: len(each["partitions"]) for each in client.describe_topics([t.name for t in known])}
        if wrong := [topic.name for topic in known if counts[topic.name] != topic.partitions]:
            raise Unalterable(f"the partition count is for ever, and these have another: {', '.join(wrong)}")
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name, dict.fromkeys(_names(topic))) for topic in known]
        settings = client.describe_configs(asked, config_filter="all") if asked else {}
        found = {topic.name: _settings(settings, topic.name) for topic in known}
        differing = {
            topic.name: {name: value for name, value in topic.settings if found[topic.name].get(name) != value}
            for topic in known
        }
        missing = [topic for topic in TOPICS if topic.name not in there]
        if not diff:
            if missing:
                replicas = min(3, len(client.describe_cluster()["brokers"]))
                made = {
                    topic.name: {
                        "num_partitions": topic.partitions,
                        "replication_factor": replicas,
                        "configs": dict(topic.settings),
                    }
                    for topic in missing
                }
                client.create_topics(made, wait_for_metadata=True)
            if any(differing.values()):
                mended = [ConfigResource(ConfigResourceType.TOPIC, n, each) for n, each in differing.items() if each]
                client.alter_configs(mended)
    finally:
        client.close()
    return [f"topic {topic.name} is missing" for topic in missing] + [
        f"topic {name}: {setting} should be {value}"
        for name, each in differing.items()
        for setting, value in each.items()
    ]


def _names(topic: Any) -> list[str]:
    return [name for name, _ in topic.settings]


def _settings(described: Mapping[str, Any], topic: str) -> dict[str, str]:
    return {name: str(each["value"]) for name, each in described["topic"].get(topic, {}).items()}


def users(url: str, secrets: Secrets, *, diff: bool = False) -> list[str]:
    """Makes a user per service that may write its own databases only, and one that may only read; says what differed.

    Raises NotAllowed where `url` names one who may make no users.
    """
    wanted: dict[str, tuple[str, list[dict[str, str]]]] = {
        service: (secrets.mongo_services[service], [{"role": "readWrite", "db": name} for name in DATABASES[service]])
        for service in SERVICES
    }
    everything = [{"role": "read", "db": name} for each in DATABASES.values() for name in each]
    wanted[READER] = secrets.mongo_reader, everything
    try:
        return _users(url, wanted, diff)
    except OperationFailure as e:
        if e.code in NOT_ALLOWED:
            raise NotAllowed(e.details and e.details.get("errmsg")) from e
        raise


def _users(url: str, wanted: Mapping[str, tuple[str, list[dict[str, str]]]], diff: bool) -> list[str]:
    different = []
    with MongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        known = {each["user"]: each for each in client.admin.command("usersInfo")["users"]}
        for name, (password, roles) in wanted.items():
            if name not in known:
                different.append(f"database user {name} is missing")
            elif _sorted(known[name]["roles"]) != _sorted(roles):
                different.append(f"database user {name} has other roles")
            if not diff:
                command = "updateUser" if name in known else "createUser"
                client.admin.command(command, name, pwd=password, roles=roles)
    return different


def _sorted(roles: Iterable[Mapping[str, str]]) -> list[tuple[str, str]]:
    return sorted((each["db"], each["role"]) for each in roles)


async def indexes(url: str, *, diff: bool = False) -> list[str]:
    """Lets each service prepare its database; returns what differed.

    With `diff` each prepares a database that is thrown away, and the two are compared.
    """
    different: list[str] = []
    async with AsyncMongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        for service in SERVICES:
            prepare = importlib.import_module(f"{service}.main").prepare
            before = await _indexes(client, service)
            name = f"peyvand_diff_{uuid4().hex[:12]}" if diff else service
            try:
                await prepare(client[name])
                after = await _indexes(client, name)
            finally:
                if diff:
                    await client.drop_database(name)
            different += [f"index {service}.{each} is missing" for each in sorted(after.keys() - before.keys())]
            if diff:
                different += [f"index {service}.{each} is not ours" for each in sorted(before.keys() - after.keys())]
            changed = sorted(each for each in after.keys() & before.keys() if after[each] != before[each])
            different += [f"index {service}.{each} is another" for each in changed]
    return different


async def _indexes(client: AsyncMongoClient[dict[str, Any]], database: str) -> dict[str, str]:
    """collection.index -> what it is, of one database."""
    found: dict[str, str] = {}
    for collection in await client[database].list_collection_names(filter={"type": "collection"}):
        for name, what in (await client[database][collection].index_information()).items():
            if name != "_id_":
                found[f"{collection}.{name}"] = json.dumps(what, sort_keys=True, default=str)
    return found


def apply(diff: bool = False) -> int:
    """`peyvand apply`: brings KAFKA_BOOTSTRAP and MONGO_URL, else what runs in this folder, to what the code says.

    Returns the exit code: 1 where `diff` finds something, or something cannot be altered; 2 where there is no cluster.
    """
    home = here()
    try:
        kafka, mongo = _cluster(home)
    except LookupError as why:
        print(why, file=sys.stderr)
        return 2
    secrets = development_secrets(home, SERVICES)
    try:
        different = topics(kafka, diff=diff)
        try:
            different += users(mongo, secrets, diff=diff)
        except NotAllowed as why:
            print(f"the users of this MongoDB are made by others: {why}")
        different += asyncio.run(indexes(mongo, diff=diff))
    except Unalterable as why:
        print(why, file=sys.stderr)
        return 1
    for each in different:
        print(each if diff else f"{each}: done")
    print(f"{len(different)} differences" if different else "nothing differs")
    return 1 if diff and different else 0


def _cluster(home: Home) -> tuple[str, str]:
    kafka, mongo = os.environ.get("KAFKA_BOOTSTRAP"), os.environ.get("MONGO_URL")
    state = read_state(home)
    if not (kafka and mongo):
        if state is None or not state.processes:
            raise LookupError("no country runs in this folder: `make up`, or set KAFKA_BOOTSTRAP and MONGO_URL")
        admin = as_user(state.mongo, "admin", development_secrets(home, SERVICES).mongo_admin)
        kafka, mongo = kafka or state.kafka, mongo or admin
    return kafka, mongo


def main() -> int:
    """`python -m peyvand.commands.apply`: create the indexes only; the supervisor has made the rest."""
    for each in asyncio.run(indexes(os.environ["PEYVAND_MONGO"])):
        print(f"{each}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
