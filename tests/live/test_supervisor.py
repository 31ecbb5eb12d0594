"""The supervisor keeps what it started, and nothing stays behind: not after Ctrl-C, not after its own sudden death."""

import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from peyvand.local_cluster.processes import alive, free_ports, listening, start, stop, wait_until
from peyvand.local_cluster.servers import Mongod
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets, here
from tests.support.system import RunningSystem

pytestmark = pytest.mark.server

ROLES = {f"{service}-{kind}" for service in SERVICES for kind in ("api", "worker")}


def test_every_role_is_ready(system: RunningSystem) -> None:
    assert set(system.state.processes) >= ROLES | {"door", "kafka", "mongod"}
    for role in ROLES | {"door"}:
        with urllib.request.urlopen(f"http://127.0.0.1:{system.process(role).port}/readyz") as answer:
            assert answer.status == 200, role


def test_a_service_reaches_its_own_database_only(system: RunningSystem) -> None:
    secrets = development_secrets(system.home, SERVICES)
    with MongoClient[dict[str, Any]](as_user(system.state.mongo, "market", secrets.mongo_services["market"])) as client:
        client["market"]["records"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client["registration"]["records"].find_one()
    with MongoClient[dict[str, Any]](system.state.mongo) as client:
        client["registration"]["records"].find_one()
        with pytest.raises(OperationFailure, match="not authorized"):
            client["registration"]["records"].insert_one({"_id": "forged"})


@pytest.mark.parametrize("role", ["market-api", "screening-worker"])
def test_a_killed_process_is_started_again(system: RunningSystem, role: str) -> None:
    before = system.process(role)
    os.kill(before.who.pid, signal.SIGKILL)
    after = system.back(role, before)
    assert after.port == before.port and alive(after.who)
    assert f"{role} died" in system.said


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """After kill -9 of the supervisor the next start ends what is left; after Ctrl-C there is nothing left."""
    system = RunningSystem(tmp_path / "run")
    try:
        system.start()
        # the operators' page is started once the country is up: it must be running, and not about to
        assert wait_until(lambda: all(listening(p.port) for p in system.state.processes.values() if p.port), 30)
        left = system.state.processes
        assert system.supervisor is not None
        system.supervisor.kill()
        system.supervisor.wait()
        assert all(alive(each.who) for each in left.values())

        assert system.start() <= 60
        assert not any(alive(each.who) for each in left.values())
        running = system.state.processes
        assert system.interrupt() == 0
        assert system.state.processes == {}
        assert not any(alive(each.who) or (each.port and listening(each.port)) for each in running.values())
    finally:
        system.end()


def test_asked_twice_it_ends_at_once(tmp_path: Path) -> None:
    system = RunningSystem(tmp_path / "run")
    try:
        system.start()
        running, stubborn = system.state.processes, system.process("reporting-worker").who
        os.kill(stubborn.pid, signal.SIGSTOP)  # would take the whole time that a drain may take
        assert system.supervisor is not None
        system.supervisor.send_signal(signal.SIGINT)
        assert not wait_until(lambda: not alive(stubborn), 1)
        system.supervisor.send_signal(signal.SIGINT)
        assert system.supervisor.wait(5) == 0
        assert not any(alive(each.who) for each in running.values())
    finally:
        system.end()


def test_a_mongod_that_comes_back_at_another_port_is_the_same(tmp_path: Path) -> None:
    for kept in (0, 1):
        port = free_ports({"mongod": None})["mongod"]
        mongod = Mongod(here(), tmp_path / "mongod", port, password="development-only")
        mongod.prepare()
        process = start(mongod.command(), tmp_path / "log", os.environ, if_we_die=signal.SIGKILL)
        try:
            assert wait_until(mongod.ready, 60)
            with MongoClient[dict[str, Any]](mongod.url()) as client:
                assert client.test.things.count_documents({}) == kept
                client.test.things.insert_one({})
        finally:
            stop(process, 20)
