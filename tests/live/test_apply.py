"""`peyvand apply` brings an existing cluster to the declared state, idempotently, and the platform runs on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from contracts.topics import LONGEST_BATCH, TOPICS
from peyvand import mongo_users
from peyvand.commands import apply
from peyvand.local_cluster.processes import wait_until
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import Secrets, Workspace, current_workspace, development_secrets
from tests.support import servers as real_servers
from tests.support.servers import Servers
from tests.support.system import RunningSystem

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start a Kafka and a MongoDB without topics and users."""
    with real_servers.started(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    workspace = Workspace(current_workspace().installation, tmp_path_factory.mktemp("run"))
    workspace.create()
    return development_secrets(workspace, SERVICES)


def test_topics_are_created_once_and_corrected(cluster: Servers) -> None:
    missing = [f"topic {topic.name} is missing" for topic in TOPICS]
    assert apply.topics(cluster.kafka, diff=True) == missing
    assert apply.topics(cluster.kafka) == missing
    assert apply.topics(cluster.kafka) == []
    client = KafkaAdminClient(**cluster.kafka.options())
    try:
        name = TOPICS[0].name
        changes = {"retention.ms": "1000", "max.message.bytes": "50000000", "message.timestamp.type": "LogAppendTime"}
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, changes)])
        differs = [
            f"topic {name}: retention.ms should be -1",
            f"topic {name}: max.message.bytes should be {LONGEST_BATCH}",
            f"topic {name}: message.timestamp.type is not declared and is LogAppendTime",
        ]
        # the broker gets the change from its controller a moment later
        assert wait_until(lambda: apply.topics(cluster.kafka, diff=True) == differs, 60)
        apply.topics(cluster.kafka)
        assert wait_until(lambda: apply.topics(cluster.kafka, diff=True) == differs[2:], 60), "whose it is, is unknown"
    finally:
        client.close()


async def test_a_topic_with_another_partition_count_is_reported(
    cluster: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await cluster.topic(partitions=2)
    monkeypatch.setattr(apply, "TOPICS", [type(TOPICS[0])(name=other, producer="market", consumers=())])
    with pytest.raises(apply.Unalterable, match=other):
        apply.topics(cluster.kafka)


def test_users_are_created_once_and_corrected(cluster: Servers, secrets: Secrets) -> None:
    missing = [f"database user {name} is missing" for name in (*SERVICES, "reader", "archive", "key_archive")]
    missing = [*(f"database role {name} is missing" for name in ("archive", "key_archive")), *missing]
    assert mongo_users.users(cluster.mongo, secrets, diff=True) == missing
    assert mongo_users.users(cluster.mongo, secrets) == missing
    assert mongo_users.users(cluster.mongo, secrets) == []
    with MongoClient[dict[str, object]](cluster.mongo) as client:
        client.admin.command("updateUser", "market", roles=["root"])
        assert mongo_users.users(cluster.mongo, secrets) == ["database user market has other roles"]
        assert mongo_users.users(cluster.mongo, secrets, diff=True) == []
        client.admin.command("updateUser", "market", pwd="another")
        assert mongo_users.users(cluster.mongo, secrets, diff=True) == ["database user market has another password"]
        mongo_users.users(cluster.mongo, secrets)
        assert mongo_users.users(cluster.mongo, secrets, diff=True) == []


@pytest.mark.parametrize(
    ("own", "of_a_role", "reported"),
    [
        ([{"clientSource": ["10.1.0.0/16"]}], [], "clientSource 10.1.0.0/16"),
        ([{"serverAddress": ["10.2.0.1", "10.2.0.2"]}], [], "serverAddress 10.2.0.1, 10.2.0.2"),
        ([{"clientSource": ["127.0.0.1"]}], [], "clientSource 127.0.0.1"),  # permits this address
        ([], [{"clientSource": ["10.1.0.0/16"]}], "clientSource 10.1.0.0/16"),
    ],
)
def test_a_restricted_user_is_reported_as_such_and_stays_restricted(
    cluster: Servers, secrets: Secrets, own: list[Any], of_a_role: list[Any], reported: str
) -> None:
    """Someone may have meant it: MongoDB refuses the right password from elsewhere like a wrong one."""
    mongo_users.users(cluster.mongo, secrets)
    differs = [f"database user archive is restricted, which is not declared: {reported}"]
    with MongoClient[dict[str, object]](cluster.mongo) as client:
        client.admin.command("updateUser", "archive", authenticationRestrictions=own)
        client.admin.command("updateRole", "archive", authenticationRestrictions=of_a_role)
        try:
            assert mongo_users.users(cluster.mongo, secrets, diff=True) == differs
            assert mongo_users.users(cluster.mongo, secrets) == []
            assert mongo_users.users(cluster.mongo, secrets, diff=True) == differs
        finally:
            client.admin.command("updateUser", "archive", authenticationRestrictions=[])
            client.admin.command("updateRole", "archive", authenticationRestrictions=[])
    assert mongo_users.users(cluster.mongo, secrets, diff=True) == []


KEYS = {"db": "registration_keys", "collection": ""}
STRANGERS: dict[str, tuple[list[Any], bool]] = {  # roles, and whether they reach our data
    "spy": ([{"role": "read", "db": "registration_keys"}], True),
    "root": ([{"role": "root", "db": "admin"}], True),
    "everywhere": (["readWriteAnyDatabase"], True),
    "indirect": (["reads_keys"], True),
    "oplog": ([{"role": "read", "db": "local"}], True),
    "gives": ([{"role": "userAdmin", "db": "admin"}], True),
    "elsewhere": ([{"role": "readWrite", "db": "another_application"}], False),
    "nothing": ([], False),
}


@pytest.mark.parametrize(("roles", "reaches"), STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_who_reaches_our_data_is_reported(
    cluster: Servers, secrets: Secrets, roles: list[Any], reaches: bool
) -> None:
    mongo_users.users(cluster.mongo, secrets)
    with MongoClient[dict[str, object]](cluster.mongo) as client:
        client.admin.command("createRole", "reads_keys", privileges=[{"resource": KEYS, "actions": ["find"]}], roles=[])
        client.admin.command("createUser", "stranger", pwd="stranger", roles=roles)
        try:
            reported = ["database user admin.stranger is not declared and may reach our data"] if reaches else []
            assert mongo_users.users(cluster.mongo, secrets, diff=True) == reported
        finally:
            client.admin.command("dropUser", "stranger")
            client.admin.command("dropRole", "reads_keys")


def test_the_database_runs_no_javascript(cluster: Servers) -> None:
    with MongoClient[dict[str, object]](cluster.mongo) as client, pytest.raises(OperationFailure):
        client["market"]["records"].find_one({"$where": "true"})


@pytest.mark.parametrize(
    ("user", "password", "forbidden"),
    [
        ("reader", "mongo_reader", "registration_keys"),
        ("archive", "mongo_archive", "registration_keys"),
        ("key_archive", "mongo_key_archive", "registration"),
    ],
)
def test_who_reads_the_data_reads_no_keys_and_the_reverse(
    cluster: Servers, secrets: Secrets, user: str, password: str, forbidden: str
) -> None:
    mongo_users.users(cluster.mongo, secrets)
    (allowed,) = {"registration", "registration_keys"} - {forbidden}
    with MongoClient[dict[str, object]](as_user(cluster.mongo, user, getattr(secrets, password))) as client:
        client[allowed]["records"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client[forbidden]["blocks"].find_one()
        for collection, database in (("records", allowed), ("archive", forbidden), ("oplog.rs", "local")):
            with pytest.raises(OperationFailure, match="not authorized"):
                client[database][collection].update_one({"_id": "x"}, {"$set": {"x": 1}}, upsert=True)
        with pytest.raises(OperationFailure, match="not authorized"):
            client.local["oplog.rs"].find_one()


async def test_indexes_are_compared_without_touching_the_data(cluster: Servers) -> None:
    missing = await apply.indexes(cluster.mongo, diff=True)
    assert any(each.startswith("index registration.records.") for each in missing)
    assert await apply.indexes(cluster.mongo, diff=True) == missing, "nothing was created"
    assert await apply.indexes(cluster.mongo) == missing
    assert await apply.indexes(cluster.mongo, diff=True) == []
    with MongoClient[dict[str, object]](cluster.mongo) as client:
        assert not [name for name in client.list_database_names() if name.startswith("peyvand_diff")]
        client["market"]["records"].create_index("by_hand")
    assert await apply.indexes(cluster.mongo, diff=True) == ["index market.records.by_hand_1 is not declared"]


def test_the_platform_runs_on_an_existing_cluster(cluster: Servers, tmp_path: Path) -> None:
    kafka = cluster.kafka
    variables = {"KAFKA_USER": kafka.user, "KAFKA_PASSWORD": kafka.password, "KAFKA_CA": kafka.ca}
    system = RunningSystem(tmp_path / "run", KAFKA_BOOTSTRAP=kafka.bootstrap, MONGO_URL=cluster.mongo, **variables)
    try:
        system.start()
        assert (system.state.kafka.bootstrap, system.state.kafka.user) == (kafka.bootstrap, "reader")
        assert not {"kafka", "mongod"} & system.state.processes.keys()
        assert system.interrupt() == 0
    finally:
        system.end()
    with MongoClient[dict[str, object]](cluster.mongo) as client:
        client.admin.command("ping")
