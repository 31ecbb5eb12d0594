"""`peyvand reconcile` on a running platform: services ask one another with tokens of their own."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient

from contracts.subjects import PARTITIONS, partition_of
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets
from tests.support.command_line import Peyvand, command_line
from tests.support.system import RunningSystem

pytestmark = pytest.mark.server


@pytest.fixture
def peyvand(system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    return command_line(system, monkeypatch, capsys)


@pytest.fixture
def market(system: RunningSystem) -> Iterator[Any]:
    """Return the database of market, as an administrator."""
    secret = development_secrets(system.workspace, SERVICES).mongo_admin
    client: MongoClient[dict[str, Any]] = MongoClient(as_user(system.state.mongo, "admin", secret))
    yield client.market
    client.close()


def test_every_consumer_is_compared_with_every_owner(peyvand: Peyvand, market: Any) -> None:
    """A record that market alone knows is shown until it is removed."""
    subject = str(uuid4())
    unknown = {"_id": subject, "kind": "applicant", "partition": partition_of(subject), "inbox": {"registration": 3}}
    market.records.insert_one(unknown)
    try:
        code, found = peyvand("reconcile", "--now", "--service", "market")
        by_source = {each["source"]: each for each in found}
        assert code == 1 and by_source.keys() == {"registration", "screening"}
        assert by_source["registration"]["examples"] == [
            {"subject": subject, "kind": "owner_behind", "handled": 3, "held": 0}
        ]
        assert not by_source["screening"]["disagreements"]
        assert [each["code"] for each in peyvand("status")[1]["actions"]].count("disagreements") == 1
    finally:
        market.records.delete_one({"_id": subject})
    code, found = peyvand("reconcile", "--now")
    assert {(each["service"], each["source"]) for each in found} == {
        *(("registration", "screening"), ("screening", "registration")),
        *(("market", "registration"), ("market", "screening")),
        *(("reporting", "registration"), ("reporting", "screening"), ("reporting", "market")),
    }
    assert code == 0 and all(each["partitions"] == PARTITIONS and not each["failures"] for each in found)
