"""The topology: each process gets the settings that it needs, and no secret of another."""

from itertools import product
from pathlib import Path

import pytest

from base.kafka_access import KafkaAccess
from peyvand.local_cluster import topology
from peyvand.local_cluster.processes import ProcessIdentity
from peyvand.local_cluster.topology import SERVICES, ClusterAddresses, ClusterState, RunningProcess, as_user
from peyvand.local_cluster.workspace import Workspace, WorkspaceLocked, development_secrets

ADDRESSES = ClusterAddresses(
    KafkaAccess("127.0.0.1:9092", "admin", "secret", "/ca.pem"),
    "mongodb://admin:secret@127.0.0.1:27017/?replicaSet=peyvand",
    dict(topology.PORTS),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    created = Workspace(tmp_path / "installation", tmp_path / "run")
    created.create()
    return created


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://h:1/?replicaSet=r", "mongodb://market:p%2Fw@h:1/?replicaSet=r&authSource=admin"),
        ("mongodb://a:b@h:1,i:2/x?authSource=x&tls=true", "mongodb://market:p%2Fw@h:1,i:2/?tls=true&authSource=admin"),
        ("mongodb+srv://a:b@h", "mongodb+srv://market:p%2Fw@h/?authSource=admin"),
    ],
)
def test_every_service_connects_with_its_own_user(url: str, expected: str) -> None:
    assert as_user(url, "market", "p/w") == expected


def test_only_registration_gets_the_keys(workspace: Workspace) -> None:
    secrets = development_secrets(workspace, SERVICES)
    keys = {secrets.master_key, secrets.index_key, secrets.tracking_key}
    for service, kind in product(SERVICES, ("api", "worker")):
        role = topology.role(service, kind, workspace, ADDRESSES, secrets)
        given = keys & set(role.environment.values())
        assert given == (keys if service == "registration" else set())


def test_every_service_is_a_user_of_its_own(workspace: Workspace) -> None:
    secrets = development_secrets(workspace, SERVICES)
    for service in SERVICES:
        role = topology.role(service, "api", workspace, ADDRESSES, secrets)
        assert f"mongodb://{service}:" in role.environment["PEYVAND_MONGO"]
        assert "secret" not in role.environment["PEYVAND_MONGO"]
        assert role.environment["PEYVAND_KAFKA_USER"] == service
        assert role.environment["PEYVAND_KAFKA_PASSWORD"] == secrets.kafka_services[service]
        assert role.environment["PEYVAND_ENVIRONMENT"] == "development"


def test_a_foreign_cluster_keeps_its_users(workspace: Workspace) -> None:
    kafka, mongo = KafkaAccess("k:9092", "theirs", "theirs"), "mongodb://theirs:theirs@h"
    addresses = ClusterAddresses(kafka, mongo, dict(topology.PORTS), own_users=False, own_kafka_users=False)
    role = topology.role("market", "worker", workspace, addresses, development_secrets(workspace, SERVICES))
    assert role.environment["PEYVAND_MONGO"] == "mongodb://theirs:theirs@h"
    assert role.environment["PEYVAND_KAFKA_USER"] == "theirs"


def test_the_gateway_has_an_upstream_per_service(workspace: Workspace) -> None:
    environment = topology.gateway(workspace, ADDRESSES, development_secrets(workspace, SERVICES)).environment
    assert {environment[f"PEYVAND_UPSTREAM_{each.upper()}"] for each in SERVICES} == {
        f"http://127.0.0.1:{topology.PORTS[f'{each}-api']}" for each in SERVICES
    }
    assert "PEYVAND_MONGO" not in environment


def test_roles_inherit_no_configuration_by_accident() -> None:
    environment = {
        "PATH": "/bin",
        "PEYVAND_MASTER_KEY": "x",
        "MONGO_URL": "y",
        "KAFKA_BOOTSTRAP": "z",
        "PEYVAND_RUN": "r",
    }
    assert topology.inherited(environment) == {"PATH": "/bin", "PEYVAND_RUN": "r"}


def test_secrets_are_created_once_and_private(workspace: Workspace) -> None:
    created = development_secrets(workspace, SERVICES)
    assert development_secrets(workspace, SERVICES) == created
    assert created.master_key.startswith("development"), "the prefix that other environments refuse"
    assert (workspace.run / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_damaged_state_file_is_read_as_none(workspace: Workspace) -> None:
    assert topology.read_state(workspace) is None
    identity = ProcessIdentity(1, 2, "boot")
    state = ClusterState(
        supervisor=identity, public_url="http://127.0.0.1:8080", processes={"gateway": RunningProcess(identity, 8080)}
    )
    topology.write_state(workspace, state)
    assert topology.read_state(workspace) == state
    workspace.state.write_text("{")
    assert topology.read_state(workspace) is None


def test_one_supervisor_per_folder(workspace: Workspace) -> None:
    with workspace.locked(), pytest.raises(WorkspaceLocked):
        workspace.locked().__enter__()
    with workspace.locked():
        pass


def test_roles_are_run_by_the_module_run(workspace: Workspace) -> None:
    role = topology.role("market", "worker", workspace, ADDRESSES, development_secrets(workspace, SERVICES))
    assert role.command[1:] == ("-m", "run", "market", "worker")
