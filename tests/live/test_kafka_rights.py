"""Each service may write its own topic, read what it consumes and join its own groups: on a real broker, nothing else.

The matrix of users, topics and operations comes from `contracts.topics`.
"""

import asyncio
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, TopicAuthorizationFailedError
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion
from kafka.errors import ClusterAuthorizationFailedError, KafkaError
from kafka.errors import TopicAuthorizationFailedError as NotPermitted
from msgspec.structs import replace
from pymongo import MongoClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from base.kafka_access import KafkaAccess
from contracts.topics import TOPICS, topics_consumed_by
from kernel.errors import Transient
from kernel.kafka.authentication import authenticate_before_start, refusal
from kernel.kafka.relay import TopicIds, connect_producer
from peyvand import kafka_users
from peyvand.commands import apply
from peyvand.commands.events import EventLog
from peyvand.endpoints import CommandError
from peyvand.kafka_users import Acl, declared_acls
from peyvand.local_cluster.processes import wait_until
from peyvand.local_cluster.topology import PROJECTION, READER, SERVICES
from peyvand.local_cluster.workspace import Secrets, Workspace, current_workspace, development_secrets
from tests.house.sources import ROOT
from tests.support import servers as real_servers
from tests.support.servers import Servers
from tests.support.small_workers import Address, SmallSystem

pytestmark = pytest.mark.server

USERS = (*SERVICES, READER)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Start a Kafka and a MongoDB of which this module may change the users."""
    with real_servers.started(tmp_path_factory.mktemp("cluster")) as running:
        apply.topics(running.kafka)
        yield running


@pytest.fixture(scope="module")
def secrets(cluster: Servers, tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """Create the users and their rights; return the passwords."""
    workspace = Workspace(current_workspace().installation, tmp_path_factory.mktemp("run"))
    workspace.create()
    drawn = development_secrets(workspace, SERVICES)
    missing = apply.kafka_users(cluster.kafka, drawn, diff=True)
    assert missing[: len(USERS)] == [f"Kafka user {name} is missing" for name in sorted(USERS)]
    assert apply.kafka_users(cluster.kafka, drawn) == missing
    return drawn


def access(cluster: Servers, secrets: Secrets, user: str) -> KafkaAccess:
    """Return how this user connects."""
    return cluster.kafka.as_user(user, secrets.kafka_reader if user == READER else secrets.kafka_services[user])


@pytest.mark.parametrize("user", USERS)
def test_a_service_writes_its_own_topic_only(cluster: Servers, secrets: Secrets, user: str) -> None:
    """With the relay's idempotent producer, which needs no right of its own."""
    written, refused = set(), set()
    for topic in TOPICS:
        producer = connect_producer(access(cluster, secrets, user), user)()
        try:
            producer.send(topic.name, key=b"k", value=b"forged", partition=0).get(60)
            written.add(topic.name)
        except KafkaError as e:  # the cluster where a user may write nothing at all
            assert re.search("(Topic|Cluster)AuthorizationFailed", repr(e)), e
            refused.add(topic.name)
        finally:
            producer.close(timeout=1)
    assert written == {topic.name for topic in TOPICS if topic.producer == user}
    assert refused == {topic.name for topic in TOPICS} - written


def test_the_documented_command_revokes_rights_of_others(cluster: Servers, secrets: Secrets) -> None:
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    documented = re.search(r"`python (-m kafka\.admin [^`]+)`", page)
    assert documented
    kafka, right = cluster.kafka, Acl("User:eve", "WRITE", "TOPIC", "peyvand.registration")
    given = {"HOST:PORT": kafka.bootstrap, "ADMIN": kafka.user, "PASSWORD": kafka.password}
    given["ssl_cafile=FILE"] = f"ssl_cafile={kafka.ca}"
    command = [sys.executable, *(given.get(word, word) for word in documented[1].split())]
    admin = KafkaAdminClient(**kafka.options())
    assert not admin.create_acls([kafka_users._kafka_acl(right)])["failed"]
    admin.close()
    assert f"ACL is not declared: {right}" in apply.kafka_users(kafka, secrets, diff=True)
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    gone = f"ACL is not declared: {right}"
    assert wait_until(lambda: gone not in apply.kafka_users(kafka, secrets, diff=True), 60)


@pytest.mark.parametrize("user", USERS)
async def test_a_service_reads_its_own_topic_and_what_it_consumes(
    cluster: Servers, secrets: Secrets, user: str
) -> None:
    async with AIOKafkaProducer(**cluster.kafka.options()) as producer:
        for topic in TOPICS:
            await producer.send_and_wait(topic.name, b"no event", partition=1)
    read, refused, kafka = set[str](), set[str](), access(cluster, secrets, user)
    for topic in TOPICS:
        async with AIOKafkaConsumer(**kafka.options(), auto_offset_reset="none") as consumer:
            consumer.assign([tp := TopicPartition(topic.name, 1)])
            consumer.seek(tp, 0)
            try:
                async with asyncio.timeout(60):
                    while not await consumer.getmany(timeout_ms=1_000):
                        if topic.name in consumer._client.cluster.unauthorized_topics:  # where it may not even ask
                            raise TopicAuthorizationFailedError(topic.name)
            except TopicAuthorizationFailedError:
                refused.add(topic.name)
            else:
                read.add(topic.name)
    assert read == {topic.name for topic in TOPICS if user in (topic.producer, *topic.consumers, READER)}
    assert refused == {topic.name for topic in TOPICS} - read
    ids = TopicIds(kafka, user)
    for name in refused:  # Kafka's clients only time out, so that this reports what is wrong
        with pytest.raises(Transient, match=f"{user} may not read {name}: `peyvand apply`"):
            await ids.read([name])
    assert set(await ids.read(read)) == read
    ids.close()


GROUPS = {each: f"peyvand.{each}{'_' if each == PROJECTION else '.'}" for each in SERVICES}  # of generations, or not


@pytest.mark.parametrize("user", SERVICES)
async def test_a_service_joins_its_own_groups_only(cluster: Servers, secrets: Secrets, user: str) -> None:
    joined, refused = set(), set()
    for service in SERVICES:
        consumer = AIOKafkaConsumer(
            *topics_consumed_by(user), **access(cluster, secrets, user).options(), group_id=f"{GROUPS[service]}x"
        )
        try:
            await consumer.start()
            joined.add(service)
        except GroupAuthorizationFailedError:
            refused.add(service)
        finally:
            await consumer.stop()
    assert (joined, refused) == ({user}, set(SERVICES) - {user})


@pytest.mark.parametrize("user", ["registration", READER])
def test_only_the_administrator_administers(cluster: Servers, secrets: Secrets, user: str) -> None:
    client, own = KafkaAdminClient(**access(cluster, secrets, user).options()), TOPICS[0].name
    try:
        with pytest.raises(NotPermitted):
            client.create_topics({"peyvand.other": {"num_partitions": 1, "replication_factor": 1}})
        with pytest.raises(NotPermitted):
            client.delete_topics([own])
        acl = kafka_users._kafka_acl(Acl(f"User:{user}", "WRITE", "TOPIC", "peyvand.market"))
        assert client.create_acls([acl])["failed"] == [ClusterAuthorizationFailedError]
    finally:
        client.close()
    with pytest.raises(kafka_users.NotAuthorized):
        apply.kafka_users(access(cluster, secrets, user), secrets)


def test_drift_is_shown_and_own_rights_are_corrected(cluster: Servers, secrets: Secrets) -> None:
    kafka = cluster.kafka
    assert apply.kafka_users(kafka, secrets, diff=True) == []
    lost = Acl("User:market", "READ", "TOPIC", "peyvand.screening")
    more = Acl("User:market", "WRITE", "TOPIC", "peyvand.screening")
    foreign = Acl("User:spy", "READ", "TOPIC", "peyvand", "PREFIXED")
    elsewhere = Acl("User:spy", "READ", "TOPIC", "other.topic")
    client = KafkaAdminClient(**kafka.options())
    try:
        client.alter_user_scram_credentials([UserScramCredentialUpsertion("spy", ScramMechanism.SCRAM_SHA_512, "spy")])
        client.delete_acls([kafka_users._kafka_acl(lost)])
        client.create_acls([kafka_users._kafka_acl(acl) for acl in (more, foreign, elsewhere)])
        drift = [
            "ACL is missing: User:market may READ topic peyvand.screening",
            "Kafka user spy is not declared",
            "ACL is not declared: User:market may WRITE topic peyvand.screening",
            "ACL is not declared: User:spy may READ topic peyvand*",
        ]
        deadline = time.monotonic() + 60
        while (found := apply.kafka_users(kafka, secrets, diff=True)) != drift and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == drift
        assert apply.kafka_users(kafka, secrets) == [drift[0], drift[2]]
        assert apply.kafka_users(kafka, secrets, diff=True) == [drift[1], drift[3]], "others' rights are not touched"
        client.delete_acls([kafka_users._kafka_acl(acl) for acl in (foreign, elsewhere)])
        client.alter_user_scram_credentials([UserScramCredentialDeletion("spy", ScramMechanism.SCRAM_SHA_512)])
    finally:
        client.close()


def test_what_gives_rights_by_another_way_is_shown(cluster: Servers, secrets: Secrets) -> None:
    """Rights on the cluster, users of another mechanism, and passwords."""
    kafka, old, new = cluster.kafka, ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512
    strange = [
        Acl("User:spy", "ALL", "CLUSTER", "kafka-cluster"),
        Acl("User:spy", "ALL", "TRANSACTIONAL_ID", "*"),
        Acl("User:spy", "DESCRIBE", "DELEGATION_TOKEN", "*"),
    ]
    passwords = [("spy", old), ("market", old), ("screening", new)]
    client = KafkaAdminClient(**kafka.options())
    try:
        client.create_acls([kafka_users._kafka_acl(acl) for acl in strange])
        client.alter_user_scram_credentials([UserScramCredentialUpsertion(n, m, b"another") for n, m in passwords])
        drift = {
            "Kafka user spy is not declared",
            "Kafka user market has also a password for SCRAM-SHA-256",
            "Kafka user screening has another password",
            *(f"ACL is not declared: {acl}" for acl in strange),
        }
        deadline = time.monotonic() + 60
        while (found := set(apply.kafka_users(kafka, secrets, diff=True))) != drift and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found == drift
        apply.kafka_users(kafka, secrets)
        assert drift - set(apply.kafka_users(kafka, secrets, diff=True)) == {
            "Kafka user screening has another password"
        }
    finally:
        client.delete_acls([kafka_users._kafka_acl(acl) for acl in strange])
        client.alter_user_scram_credentials([UserScramCredentialDeletion(name, old) for name in ("spy", "market")])
        client.close()


def test_every_right_names_a_declared_topic_or_a_service() -> None:
    for acl in declared_acls():
        assert acl.principal.removeprefix("User:") in USERS
        assert acl.name in {topic.name for topic in TOPICS} | {*GROUPS.values()}
        assert acl.operation in ("READ", "WRITE")


# Who is let in


async def test_a_wrong_password_is_named_within_seconds(cluster: Servers, secrets: Secrets) -> None:
    """By the worker, which waits for the right one, and by the commands."""
    wrong = replace(access(cluster, secrets, "market"), password="wrong")
    assert "refuses the user market" in await refusal(wrong)
    small_system, stop = SmallSystem(Address(wrong, cluster.mongo)), asyncio.Event()
    worker = small_system.worker("registration", gates=(authenticate_before_start,))
    running = asyncio.create_task(worker.run(stop))

    async def named() -> bool:
        return any("refuses the user market" in each.text for each in await worker.ready())

    try:
        await small_system.until(named)
    finally:
        stop.set()
        await running
        await small_system.close()
    with pytest.raises(CommandError, match="refuses the user market"):
        await asyncio.to_thread(EventLog, wrong)


async def test_an_unknown_authority_is_named(cluster: Servers) -> None:
    assert "KAFKA_CA" in await refusal(replace(cluster.kafka, ca=""))
    assert await refusal(cluster.kafka) == ""
    assert await refusal(KafkaAccess("127.0.0.1:1", "market", "x")) == "", (
        "no broker answers: the worker starts and waits"
    )


async def test_kafka_answers_no_plaintext_and_no_client_without_user(cluster: Servers) -> None:
    options: list[dict[str, Any]] = [{}, {"security_protocol": "SSL", "ssl_context": cluster.kafka.tls()}]
    for each in options:
        client = AIOKafkaConsumer(bootstrap_servers=cluster.kafka.bootstrap, request_timeout_ms=2_000, **each)
        with pytest.raises(KafkaConnectionError):
            await client.start()
        await client.stop()


def test_the_controller_answers_no_client_without_certificate(cluster: Servers) -> None:
    context = cluster.kafka.tls()
    assert context is not None
    with (
        socket.create_connection(("127.0.0.1", cluster.controller), 5) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
    ):
        encrypted.sendall(bytes(8))
        raise AssertionError(f"the controller answered {encrypted.recv(1)!r}")


def test_mongod_answers_no_plaintext_and_no_client_without_user(cluster: Servers) -> None:
    address, _, options = cluster.mongo.rpartition("@")[2].partition("/?")
    plaintext, anonymous = "directConnection=true", options.replace("&authSource=admin", "")
    for each, error, milliseconds in (
        (plaintext, ServerSelectionTimeoutError, 2_000),
        (anonymous, OperationFailure, 60_000),
    ):
        with (
            MongoClient[dict[str, Any]](f"mongodb://{address}/?{each}", timeoutMS=milliseconds) as client,
            pytest.raises(error, match=r"requires authentication|closed|reset|timeout"),
        ):
            client.registration.records.find_one()
