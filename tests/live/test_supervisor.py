"""The supervisor restarts processes and leaves none behind: not after Ctrl-C, not after it was killed."""

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import alive, free_ports, listening, start, stop, wait_until
from peyvand.local_cluster.servers import Mongod
from peyvand.local_cluster.supervisor import SERVICES_GRACE
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import current_workspace, development_secrets
from tests.support.system import START_TIMEOUT, RunningSystem

pytestmark = pytest.mark.server

ROLES = {f"{service}-{kind}" for service in SERVICES for kind in ("api", "worker")}


def test_every_role_is_ready(system: RunningSystem) -> None:
    assert set(system.state.processes) >= ROLES | {"gateway", "kafka", "mongod"}
    for role in ROLES | {"gateway"}:
        assert httpx.get(f"http://127.0.0.1:{system.process(role).port}/readyz", timeout=60).status_code == 200, role


def test_a_service_reaches_its_own_database_only(system: RunningSystem) -> None:
    secrets = development_secrets(system.workspace, SERVICES)
    with MongoClient[dict[str, Any]](as_user(system.state.mongo, "market", secrets.mongo_services["market"])) as client:
        client["market"]["records"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client["registration"]["records"].find_one()
    with MongoClient[dict[str, Any]](system.state.mongo) as client:
        client["registration"]["records"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client["registration"]["records"].insert_one({"_id": "forged"})


@pytest.mark.parametrize("role", ["market-api", "screening-worker"])
def test_a_killed_process_is_restarted(system: RunningSystem, role: str) -> None:
    before = system.process(role)
    os.kill(before.identity.pid, signal.SIGKILL)
    after = system.restarted(role, before)
    assert after.port == before.port and alive(after.identity)
    assert f"{role} died" in system.output


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    """After kill -9 of the supervisor its next start ends the leftovers; after Ctrl-C there are none."""
    system = RunningSystem(tmp_path / "run")
    try:
        system.start()
        # the operations page is started last: wait until it runs
        assert wait_until(
            lambda: all(listening(p.port) for p in system.state.processes.values() if p.port), START_TIMEOUT
        )
        left = system.state.processes
        assert system.supervisor is not None
        system.supervisor.kill()
        system.supervisor.wait()
        assert [name for name, each in left.items() if not alive(each.identity)] == []

        system.start()
        assert not any(alive(each.identity) for each in left.values())
        running = system.state.processes
        assert system.interrupt() == 0
        assert system.state.processes == {}
        assert not any(alive(each.identity) or (each.port and listening(each.port)) for each in running.values())
    finally:
        system.end()


def test_a_second_signal_kills_at_once(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "run")
    try:
        system.start()
        running, frozen = system.state.processes, system.process("reporting-worker").identity
        os.kill(frozen.pid, signal.SIGSTOP)  # it would use up the whole grace period
        assert system.supervisor is not None
        system.supervisor.send_signal(signal.SIGINT)
        assert not wait_until(lambda: not alive(frozen), 1)
        system.supervisor.send_signal(signal.SIGINT)
        assert system.supervisor.wait(SERVICES_GRACE - 5) == 0
        assert not any(alive(each.identity) for each in running.values())
    finally:
        system.end()


def test_a_mongod_restarted_at_another_port_keeps_its_data(tmp_path: Path) -> None:
    for documents in (0, 1):
        port = free_ports({"mongod": None})["mongod"]
        mongod = Mongod(
            current_workspace(), tmp_path / "mongod", port, Certificates(tmp_path / "certificates"), "development-only"
        )
        mongod.prepare()
        process = start(mongod.command(), tmp_path / "log", os.environ, parent_death_signal=signal.SIGKILL)
        try:
            assert wait_until(mongod.ready, 60)
            with MongoClient[dict[str, Any]](mongod.url()) as client:
                assert client.test.things.count_documents({}) == documents
                client.test.things.insert_one({})
        finally:
            stop(process, 20)
