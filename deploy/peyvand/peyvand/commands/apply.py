"""`peyvand apply`: create or update topics, users, their rights, and indexes as the code declares them. Idempotent."""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from pymongo import AsyncMongoClient

from base.kafka_access import KafkaAccess
from contracts.topics import TOPICS, Topic
from peyvand.commands.output import number_of
from peyvand.kafka_users import NotAuthorized, declared_acls, update
from peyvand.local_cluster.processes import wait_until
from peyvand.local_cluster.servers import ADMIN, BROKER
from peyvand.local_cluster.topology import (
    READER,
    SERVICES,
    as_user,
    kafka_from,
    read_state,
)
from peyvand.local_cluster.workspace import Secrets, Workspace, current_workspace, development_secrets
from peyvand.mongo_users import users

REPLICAS, IN_SYNC = 3, 2  # brokers that hold an event, and that must have it before the relay counts it as published
REPLICATION_TIMEOUT = 60.0  # seconds


class Unalterable(Exception):
    """Something differs that cannot be changed in place."""


def topics(kafka: KafkaAccess, *, diff: bool = False) -> list[str]:
    """Create the topics of `contracts.topics` and correct their settings; return the differences. Raise Unalterable."""
    # Imported here: it takes a while, and only this function needs it.
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    client = KafkaAdminClient(**kafka.options())
    try:
        brokers = sorted(each["broker_id"] for each in client.describe_cluster()["brokers"])
        existing = set(client.list_topics())
        known = [topic for topic in TOPICS if topic.name in existing]
        described = client.describe_topics([t.name for t in known])
        counts = {each["name"]: len(each["partitions"]) for each in described}
        if wrong := [topic.name for topic in known if counts[topic.name] != topic.partitions]:
            raise Unalterable(f"a partition count cannot be changed, and these topics have another: {', '.join(wrong)}")
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in known]
        settings = client.describe_configs(resources, config_filter="all") if resources else {}
        found = {topic.name: _settings(settings, topic.name) for topic in known}
        differing = {
            topic.name: {n: v for n, v in settings_of(topic, brokers).items() if found[topic.name].get(n) != v}
            for topic in known
        }
        wanted = {each["name"]: replicas_to_add(each["partitions"], brokers) for each in described}
        missing = [topic for topic in TOPICS if topic.name not in existing]
        if not diff:
            if missing:
                new = {
                    topic.name: {
                        "num_partitions": topic.partitions,
                        "replication_factor": min(REPLICAS, len(brokers)),
                        "configs": settings_of(topic, brokers),
                    }
                    for topic in missing
                }
                client.create_topics(new, wait_for_metadata=True)
            if any(wanted.values()):
                _add_replicas(client, wanted)
            if any(differing.values()):
                altered = [ConfigResource(ConfigResourceType.TOPIC, n, each) for n, each in differing.items() if each]
                client.alter_configs(altered)
    finally:
        client.close()
    different = [f"topic {topic.name} is missing" for topic in missing] + [
        f"topic {name}: {setting} should be {value}"
        for name, each in differing.items()
        for setting, value in each.items()
    ]
    different += [
        f"topic {name}: {number_of(len(each), 'partition')} should have {min(REPLICAS, len(brokers))} replicas"
        for name, each in wanted.items()
        if each
    ]
    return different + (_overrides(known, settings, brokers) if diff else [])


def settings_of(topic: Topic, brokers: Collection[int]) -> dict[str, str]:
    """Return the settings of a topic; where there are enough brokers, two must have an event before it counts."""
    in_sync = {"min.insync.replicas": str(IN_SYNC)} if len(brokers) >= REPLICAS else {}
    return {**dict(topic.settings), **in_sync}


def replicas_to_add(partitions: Iterable[Mapping[str, Any]], brokers: Sequence[int]) -> dict[int, list[int]]:
    """Return the brokers that are to hold each partition with too few replicas: those that do, and the next ones."""
    wanted = min(REPLICAS, len(brokers))
    found = {}
    for each in partitions:
        number, holds = each["partition_index"], list(each["replica_nodes"])
        if len(holds) < wanted:
            following = [brokers[(number + n) % len(brokers)] for n in range(len(brokers))]
            found[number] = [*holds, *(broker for broker in following if broker not in holds)][:wanted]
    return found


def _add_replicas(client: Any, wanted: Mapping[str, Mapping[int, list[int]]]) -> None:
    """Add replicas, and wait until enough are in sync: before that, min.insync.replicas would refuse every event."""
    from kafka import TopicPartition

    moves = {TopicPartition(name, p): replicas for name, each in wanted.items() for p, replicas in each.items()}
    if refused := {str(error) for error in client.alter_partition_reassignments(moves).values() if error}:
        raise Unalterable(f"Kafka does not add replicas: {', '.join(sorted(refused))}")

    def in_sync() -> bool:
        found = client.describe_topics([name for name, each in wanted.items() if each])
        return all(
            len(each["isr_nodes"]) >= min(IN_SYNC, len(each["replica_nodes"]))
            for topic in found
            for each in topic["partitions"]
        )

    if not wait_until(in_sync, REPLICATION_TIMEOUT):
        raise Unalterable("replicas are still being copied: run `peyvand apply` again when they are")


def _overrides(known: Iterable[Topic], described: Mapping[str, Any], brokers: Collection[int]) -> list[str]:
    """Return the settings of topics that are set, but not by us; `apply` does not know whose they are."""
    return [
        f"topic {topic.name}: {name} is not declared and is {each['value']}"
        for topic in known
        for name, each in described["topic"].get(topic.name, {}).items()
        if each["config_source"] == "DYNAMIC_TOPIC_CONFIG" and name not in settings_of(topic, brokers)
    ]


def _settings(described: Mapping[str, Any], topic: str) -> dict[str, str]:
    return {name: str(each["value"]) for name, each in described["topic"].get(topic, {}).items()}


def kafka_users(kafka: KafkaAccess, secrets: Secrets, *, diff: bool = False) -> list[str]:
    """Create a user per service and a reading one, with the rights that `contracts.topics` gives; return differences.

    Raise NotAuthorized if the user in `kafka` may not manage users, or Kafka has no users.
    """
    passwords = {**secrets.kafka_services, READER: secrets.kafka_reader}
    super_users = {ADMIN, BROKER, kafka.user, *os.environ.get("KAFKA_SUPER_USERS", "").split(",")}
    return update(kafka, passwords, declared_acls(), super_users, diff=diff)


async def indexes(url: str, *, diff: bool = False) -> list[str]:
    """Create the indexes of each service; return the differences.

    With `diff` they are created in a temporary database, and the two databases are compared.
    """
    different: list[str] = []
    async with AsyncMongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
        for service in SERVICES:
            declaration = importlib.import_module(f"{service}.service").service
            database = declaration.database_of(service)
            before = await _indexes(client, database)
            name = f"peyvand_diff_{uuid4().hex[:12]}" if diff else database
            try:
                await declaration.create_indexes(client[name])
                after = await _indexes(client, name)
            finally:
                if diff:
                    await client.drop_database(name)
            different += [f"index {service}.{each} is missing" for each in sorted(after.keys() - before.keys())]
            if diff:
                different += [
                    f"index {service}.{each} is not declared" for each in sorted(before.keys() - after.keys())
                ]
            changed = sorted(each for each in after.keys() & before.keys() if after[each] != before[each])
            different += [f"index {service}.{each} differs" for each in changed]
    return different


async def _indexes(client: AsyncMongoClient[dict[str, Any]], database: str) -> dict[str, str]:
    """Return collection.index -> definition, of one database."""
    found: dict[str, str] = {}
    for collection in await client[database].list_collection_names(filter={"type": "collection"}):
        for name, definition in (await client[database][collection].index_information()).items():
            if name != "_id_":
                found[f"{collection}.{name}"] = json.dumps(definition, sort_keys=True, default=str)
    return found


def apply(diff: bool = False) -> int:
    """Apply the declarations to KAFKA_BOOTSTRAP and MONGO_URL, else to the platform that runs in this folder.

    Return the exit code: 1 if `diff` finds something, or something cannot be altered; 2 if there is no cluster.
    """
    from kernel.kafka.authentication import refusal

    workspace = current_workspace()
    try:
        kafka, mongo = _cluster(workspace)
    except LookupError as e:
        print(e, file=sys.stderr)
        return 2
    if why := asyncio.run(refusal(kafka)):
        print(why, file=sys.stderr)
        return 2
    secrets = development_secrets(workspace, SERVICES)
    try:
        different = topics(kafka, diff=diff)
        try:
            different += kafka_users(kafka, secrets, diff=diff)
        except NotAuthorized as e:
            print(f"the users of this Kafka are managed elsewhere: {e}")
        try:
            different += users(mongo, secrets, diff=diff)
        except NotAuthorized as e:
            print(f"the users of this MongoDB are managed elsewhere: {e}")
        different += asyncio.run(indexes(mongo, diff=diff))
    except Unalterable as e:
        print(e, file=sys.stderr)
        return 1
    for each in different:
        print(each if diff else f"{each}: done")
    print(number_of(len(different), "difference") if different else "nothing differs")
    return 1 if diff and different else 0


def _cluster(workspace: Workspace) -> tuple[KafkaAccess, str]:
    kafka, mongo = kafka_from(os.environ, "KAFKA", "KAFKA_BOOTSTRAP"), os.environ.get("MONGO_URL")
    state = read_state(workspace)
    if not (kafka.bootstrap and mongo):
        if state is None or not state.processes:
            raise LookupError("no platform runs in this folder: `make up`, or set KAFKA_BOOTSTRAP and MONGO_URL")
        secrets = development_secrets(workspace, SERVICES)
        mongo = mongo or as_user(state.mongo, ADMIN, secrets.mongo_admin)
        kafka = kafka if kafka.bootstrap else state.kafka.as_user(ADMIN, secrets.kafka_admin)
    return kafka, mongo


def main() -> int:
    """Create the indexes only, for the supervisor, which creates the rest itself."""
    for each in asyncio.run(indexes(os.environ["PEYVAND_MONGO"])):
        print(f"{each}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
