"""Each process of the country is told what it needs, and nothing that is another's."""

from pathlib import Path

import pytest

from peyvand.local_cluster import topology
from peyvand.local_cluster.processes import Identity
from peyvand.local_cluster.topology import SERVICES, Places, Process, State, as_user
from peyvand.local_cluster.workspace import Busy, Home, development_secrets

PLACES = Places("127.0.0.1:9092", "mongodb://admin:secret@127.0.0.1:27017/?replicaSet=peyvand", dict(topology.PORTS))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "parts", tmp_path / "run")
    made.make()
    return made


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://h:1/?replicaSet=r", "mongodb://market:p%2Fw@h:1/?replicaSet=r&authSource=admin"),
        ("mongodb://a:b@h:1,i:2/x?authSource=x&tls=true", "mongodb://market:p%2Fw@h:1,i:2/?tls=true&authSource=admin"),
        ("mongodb+srv://a:b@h", "mongodb+srv://market:p%2Fw@h/?authSource=admin"),
    ],
)
def test_every_service_connects_as_itself(url: str, expected: str) -> None:
    assert as_user(url, "market", "p/w") == expected


def test_only_registration_gets_the_keys(home: Home) -> None:
    secrets = development_secrets(home, SERVICES)
    roles = {service: topology.role(service, "api", home, PLACES, secrets) for service in SERVICES}
    for service, role in roles.items():
        assert ("PEYVAND_MASTER_KEY" in role.environment) == (service == "registration")
        assert f"mongodb://{service}:" in role.environment["PEYVAND_MONGO"]
        assert "secret" not in role.environment["PEYVAND_MONGO"]
        assert role.environment["PEYVAND_ENVIRONMENT"] == "development"


def test_a_cluster_of_others_keeps_its_own_users(home: Home) -> None:
    places = Places("k:9092", "mongodb://theirs:theirs@h", dict(topology.PORTS), own_users=False)
    role = topology.role("market", "worker", home, places, development_secrets(home, SERVICES))
    assert role.environment["PEYVAND_MONGO"] == "mongodb://theirs:theirs@h"


def test_the_door_knows_every_service(home: Home) -> None:
    environment = topology.door(home, PLACES).environment
    assert {environment[f"PEYVAND_UPSTREAM_{each.upper()}"] for each in SERVICES} == {
        f"http://127.0.0.1:{topology.PORTS[f'{each}-api']}" for each in SERVICES
    }
    assert "PEYVAND_MONGO" not in environment


def test_nothing_is_set_up_by_accident() -> None:
    ours = {"PATH": "/bin", "PEYVAND_MASTER_KEY": "x", "MONGO_URL": "y", "KAFKA_BOOTSTRAP": "z", "PEYVAND_RUN": "r"}
    assert topology.inherited(ours) == {"PATH": "/bin", "PEYVAND_RUN": "r"}


def test_secrets_are_made_once_and_for_us_alone(home: Home) -> None:
    made = development_secrets(home, SERVICES)
    assert development_secrets(home, SERVICES) == made
    assert made.master_key.startswith("development"), "so that no other environment takes them"
    assert (home.run / "secrets.json").stat().st_mode & 0o077 == 0


def test_the_state_is_written_whole_or_read_as_none(home: Home) -> None:
    assert topology.read_state(home) is None
    me = Identity(1, 2, "boot")
    state = State(supervisor=me, public_url="http://127.0.0.1:8080", processes={"door": Process(me, 8080)})
    topology.write_state(home, state)
    assert topology.read_state(home) == state
    home.state.write_text("{")
    assert topology.read_state(home) is None


def test_one_supervisor_a_folder(home: Home) -> None:
    with home.taken(), pytest.raises(Busy):
        home.taken().__enter__()
    with home.taken():
        pass
