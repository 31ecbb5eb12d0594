"""Alert drill: cause every alert once on a running platform with a real Prometheus: `make drill` (eleven minutes).

The rules are those of the repository; only their durations are shorter, all by one factor.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from pymongo import MongoClient

from base.clock import set_clock
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered
from contracts.subjects import PARTITIONS, partition_of
from kernel.kafka.relay import connect_producer
from peyvand.commands.applications import COLUMNS
from peyvand.databases import database_of
from peyvand.local_cluster.processes import free_ports, start, stop, wait_until
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import development_secrets
from peyvand.simulation.client import PlatformClient
from peyvand.simulation.people import application, person
from peyvand.simulation.scenario import CONSENT
from programme.calendar import day_start
from programme.policies import CURRENT
from programme.reference import counties, job_fields
from programme.work_calendar import work_calendar
from tests.support import slow_attack
from tests.support.prometheus import RULES, Prometheus, prometheus_for, shorter
from tests.support.system import RunningSystem

ROUND, SEMNAN = "1404", "IR-20"
FIRST_SERIAL = 500_000
NO_POLICY = "9999-1"  # events under it are parked
CONNECTIONS = 500  # of a process
MORE_THAN_FIT = 2_000  # of them
FAULTS_TO_PAUSE = 60  # more than the service tolerates
REGISTERED = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")
SKEWED = """
import datetime, base.clock as clock
real = clock.machine_now
clock.machine_now = lambda: real() + datetime.timedelta(seconds=40)
"""

needed = pytest.mark.skipif(
    not os.environ.get("PEYVAND_DRILL") or shutil.which("prometheus") is None,
    reason="`make drill` runs it, where prometheus is on PATH",
)


def named(name: str) -> str:
    """Return the subject of an applicant whom this test calls by a name."""
    return str(uuid5(NAMESPACE_URL, name))


def test_only_durations_are_shortened() -> None:
    text = RULES.read_text("utf-8")
    before, after = (yaml.safe_load(each)["groups"][0]["rules"] for each in (text, shorter(text)))
    assert [each["alert"] for each in before] == [each["alert"] for each in after] and before != after
    assert shorter("rate(x[5m]) > 60 for: 1h offset 15m") == "rate(x[5s]) > 60 for: 60s offset 15s"
    assert yaml.safe_load(shorter(text, 1))["groups"][0]["rules"][0]["for"] == "30s"


class Drill:
    """Causes the alerts."""

    def __init__(self, system: RunningSystem, client: PlatformClient) -> None:
        self.system, self.client, self.serial = system, client, FIRST_SERIAL
        secrets = development_secrets(system.workspace, SERVICES)
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(
            as_user(system.state.mongo, "admin", secrets.mongo_admin), tz_aware=True
        )
        self.figures = database_of(self.mongo, "reporting")
        self.producer: Any = connect_producer(system.kafka_admin, "drill")()

    def people(self, n: int) -> list[dict[str, str]]:
        """Return so many applicants who have not registered yet, as rows of a file."""
        self.serial += n
        in_province, fields = [c for c in counties().values() if c.province == SEMNAN], list(job_fields().values())
        chance = Random(self.serial)
        return [person(s, chance, in_province, fields, CONSENT) for s in range(self.serial - n, self.serial)]

    async def register(self, row: dict[str, str]) -> int:
        """Register one applicant; return the status of the response."""
        headers = {"Authorization": f"Bearer {await self.client.token('registrar', SEMNAN)}"}
        url = f"{self.client.base}/registration/v1/rounds/{ROUND}/applications"
        async with self.client.http.post(url, json=application(row), headers=headers) as response:
            return response.status

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Register applicants all the time."""

        async def register_all() -> None:
            while True:
                for row in self.people(20):
                    with suppress(Exception):
                        await self.register(row)
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(register_all())
        try:
            yield
        finally:
            task.cancel()

    def publish(self, source: str, raw: bytes, subject: str, n: int = 1) -> None:
        """Publish bytes about a subject to a topic, `n` times."""
        for _ in range(n):
            self.producer.send(f"peyvand.{source}", raw, subject.encode(), partition=partition_of(subject))
        self.producer.flush(20)

    def event(self, subject: str, sequence: int = 1, *, province: str = SEMNAN, **more: Any) -> bytes:
        """Publish an ApplicantRegistered event; return its bytes."""
        now = datetime.now(UTC)
        county, policy = f"{province.removeprefix('IR-')}01", more.pop("policy", CURRENT)
        context = Context(round=ROUND, province=province, county=county, field="JF001", policy=policy)
        fields: dict[str, Any] = {"source": "registration", "time": now, "recorded": now, "event": REGISTERED, **more}
        raw = encode(Envelope(subject=subject, sequence=sequence, context=context, **fields))
        self.publish("registration", raw, subject)
        return raw

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a process."""
        pid = self.system.process(name).identity.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def skewed(self, folder: Path, port: int) -> Iterator[None]:
        """Start another worker of reporting, with a clock that is 40 s ahead."""
        (folder / "sitecustomize.py").write_text(SKEWED)
        raw = Path(f"/proc/{self.system.process('reporting-worker').identity.pid}/environ").read_bytes()
        environment = dict(each.split("=", 1) for each in raw.decode().split("\0") if "=" in each)
        environment |= {"PEYVAND_PORT": str(port), "PYTHONPATH": str(folder)}
        command = [sys.executable, "-m", "run", "reporting", "worker"]
        process: subprocess.Popen[bytes] = start(
            command, folder / "skewed.log", environment, parent_death_signal=signal.SIGKILL
        )
        try:
            yield
        finally:
            stop(process, 30)

    def close(self) -> None:
        """Close the connections."""
        self.producer.close(timeout=5)
        self.mongo.close()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        assert await asyncio.to_thread(wait_until, condition, 40)

    def move_cursors(self, topic: str, seconds: float) -> None:
        """Move a cursor of reporting all the time, as another worker would; set it to the beginning at the end."""
        cursors, deadline, chance = self.figures.cursors, time.monotonic() + seconds, Random(1)
        cursor = f"{topic}/{partition_of(named('drill-jump'))}"
        while time.monotonic() < deadline:
            cursors.update_one({"_id": cursor}, {"$set": {"next": chance.randrange(400)}})
        cursors.update_one({"_id": cursor}, {"$set": {"next": 0}})

    def recreate_topic(self, topic: str) -> None:
        """Delete a topic and create it again."""
        client = KafkaAdminClient(**self.system.kafka_admin.options())
        client.delete_topics([topic])
        assert wait_until(lambda: topic not in client.list_topics(), 20)
        client.create_topics([NewTopic(topic, PARTITIONS, 1)])
        client.close()


async def open_round(client: PlatformClient) -> None:
    """Open a round."""
    now = datetime.now(UTC)
    window = {"opens": str(now - timedelta(days=1)), "closes": str(now + timedelta(days=30))}
    terms = {"fields": sorted(job_fields()), **window, "windows": [], "policy": CURRENT}
    await client.request("PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=terms)


@needed
@pytest.mark.server
@pytest.mark.timeout(1_800)  # each step has a limit of its own
async def test_every_alert_is_caused(tmp_path: Path) -> None:
    """Cause them one after the other, the slow ones first; those whose cause is removed resolve again."""
    system = RunningSystem(tmp_path / "run", PEYVAND_MAX_PENDING_EVENTS="40", PEYVAND_MAX_CONNECTIONS=str(CONNECTIONS))
    port = free_ports({"skewed": None})["skewed"]
    with ExitStack() as cleanup:
        cleanup.callback(system.end)
        system.start()
        async with PlatformClient(system.url) as client:
            await open_round(client)
            drill = Drill(system, client)
            cleanup.callback(drill.close)
            assert [await drill.register(row) for row in drill.people(30)] == [201] * 30
            with prometheus_for(tmp_path, system, skewed=port) as prometheus, drill.skewed(tmp_path, port):
                await _cause_all(drill, prometheus)
                every = {each["alert"] for each in yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]}
                assert prometheus.fired.keys() == every


async def _cause_all(drill: Drill, prometheus: Prometheus) -> None:
    await _cause_by_events(drill, prometheus)
    await _cause_by_requests(drill, prometheus)
    await _cause_by_frozen_processes(drill, prometheus)
    await _cause_by_an_archive(drill, prometheus)
    await _cause_by_a_generation(drill, prometheus)
    await _cause_by_records_that_differ(drill, prometheus)
    await _cause_by_stores_and_logs(drill, prometheus)
    set_clock(drill.system.workspace.clock, day_start(work_calendar().ends - timedelta(60)))
    await prometheus.wait_for("CalendarEnds", within=90)


async def _cause_by_events(drill: Drill, prometheus: Prometheus) -> None:
    mongo, now = drill.mongo, datetime.now(UTC)
    # Records of applicants with a case: no further event about them arrives, which would meet the damaged state below.
    with_case = {"kind": "applicant", "inbox.screening": {"$gte": 1}}
    await drill.wait_until(lambda: drill.figures.records.count_documents(with_case) >= 2)
    # Alerts with long durations first. Screening must not emit an event about `drill-silent`: its record claims to have
    # handled all of registration's events.
    screened: Any = mongo.screening.records.find_one({"kind": "applicant"})
    mongo.screening.records.insert_one(screened | {"_id": named("drill-silent"), "inbox": {"registration": 99}})
    drill.event(named("drill-silent"), province="IR-01", recorded=now - timedelta(days=3))
    drill.event(named("drill-hole"), 5)
    drill.event(named("drill-poison"), policy=NO_POLICY)
    drill.event(named("drill-invalid"), time=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    drill.publish("screening", b"nonsense", "drill")
    due = {"indexed.due": now - timedelta(hours=2)}
    silent, damaged = (d["_id"] for d in drill.figures.records.find(with_case, {"_id": 1}).limit(2))
    drill.figures.records.update_one({"_id": silent}, {"$set": due})  # its rules emit nothing for a tick
    drill.figures.records.update_one({"_id": damaged}, {"$set": due | {"state": '{"round": 5}'}})
    unfinished: Any = mongo.registration.records.find_one({"kind": "applicant"}, {"events": 0, "stored_responses": 0})
    erasing = now - timedelta(minutes=10)  # marked, and not erased: the worker cannot confirm it
    unfinished["private"]["indexed"] = unfinished["indexed"] = {"erasing": erasing}
    mongo.registration.records.insert_one(unfinished | {"_id": "drill-erasing", "last_sequence": 0})
    listed = {"round": ROUND, "province": SEMNAN, "status": "registered"}
    unreadable = {"_id": "drill-unreadable", "state": "{", "indexed": listed, "private": {}, "last_sequence": 0}
    mongo.registration.records.insert_one(unfinished | unreadable)
    await drill.client.request("GET", f"/registration/v1/rounds/{ROUND}/applications", "manager", SEMNAN)
    await prometheus.wait_for("UndecodableRecords", "InvalidEvents", "DeadLetters", "ClockSkew", "UnreadableRecords")
    await prometheus.wait_for("SchedulerOverdue", "SchedulerFaults")
    unfinished["private"]["indexed"] = unfinished["indexed"] = {"unidentified": f"{ROUND}/{SEMNAN}/"}
    mongo.registration.records.insert_one(unfinished | {"_id": "drill-unidentified", "last_sequence": 0})
    await prometheus.wait_for("KeyDestructionOverdue", "UnidentifiedApplicants")
    mongo.registration.records.delete_many(
        {"_id": {"$in": ["drill-erasing", "drill-unreadable", "drill-unidentified"]}}
    )
    drill.figures.records.update_many({"indexed.due": due["indexed.due"]}, {"$unset": {"indexed.due": ""}})


async def _cause_by_requests(drill: Drill, prometheus: Prometheus) -> None:
    rows = drill.people(250)
    body = "\n".join([",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)])
    path = f"/registration/v1/rounds/{ROUND}/applications/import"
    for n in range(2):  # the second time all are registered already
        result = await drill.client.request("POST", path, "manager", SEMNAN, csv=body, key=f"drill-import-{n}")
        print({name: value if isinstance(value, int) else len(value) for name, value in result.items()})
    api = f"http://127.0.0.1:{drill.system.state.ports['registration-api']}/registration/v1/tracking"
    async with httpx.AsyncClient() as guesser:
        for n in range(9 * 28):  # from nine addresses, each within its own rate limit
            await guesser.get(f"{api}/{n:010}", headers={"X-Forwarded-For": f"10.0.0.{n % 9}"})
    await prometheus.wait_for("IdentityEnumeration", "TrackingCodesGuessed")
    with ExitStack() as attack:
        target = "127.0.0.1", drill.system.state.ports["market-api"]
        await asyncio.to_thread(attack.enter_context, slow_attack.attack(MORE_THAN_FIT, [target]))
        await prometheus.wait_for("ConnectionsHeld")


async def _cause_by_frozen_processes(drill: Drill, prometheus: Prometheus) -> None:
    with drill.frozen("market-api"):
        await prometheus.wait_for("ProcessDown")
    for _ in range(4):  # once more than needed: a start between two scrapes of the same second is not seen
        before = drill.system.process("market-api")
        os.kill(before.identity.pid, signal.SIGKILL)
        await asyncio.to_thread(drill.system.restarted, "market-api", before)
        await asyncio.sleep(2)
    await prometheus.wait_for("ProcessRestarting")
    async with drill.load():
        for _ in range(8):
            with drill.frozen("reporting-worker"):
                await asyncio.sleep(3)
            await asyncio.sleep(0.8)
            prometheus.firing()
    await prometheus.wait_for("CountedLate", within=10)
    # Without Kafka nothing is published, a restarted worker finds no group, and in the end applications are refused.
    without_kafka = ("RequestsShed", "HttpErrorRateHigh", "PartitionsUnassigned", "OutboxStalled")
    with drill.frozen("kafka"):
        os.kill(drill.system.process("market-worker").identity.pid, signal.SIGKILL)
        async with drill.load():
            await prometheus.wait_for(*without_kafka, within=120)
    await prometheus.wait_for("EventMissing", "ProvinceSilent", within=90)
    await prometheus.wait_resolved("ProcessDown", *without_kafka)


async def _cause_by_records_that_differ(drill: Drill, prometheus: Prometheus) -> None:
    """Lose what market has handled of one applicant, let it know too much of another, and age its comparisons."""
    market = drill.mongo.market
    # Of the first who registered: more than a minute ago, and quiet since. The drill's own events have no case.
    settled = {"kind": "applicant", "inbox.screening": {"$gte": 1}}
    lost, ahead = market.records.find(settled, {"inbox": 1}, sort=[("_id", 1)]).limit(2)
    market.records.delete_one({"_id": lost["_id"]})
    market.records.update_one({"_id": ahead["_id"]}, {"$set": {"inbox.registration": 50}})
    market.reconciliation.replace_one({"_id": "request"}, {"at": datetime.now(UTC)}, upsert=True)
    await prometheus.wait_for("EventsLost", "RecordsDisagree", within=90)
    market.records.update_one({"_id": ahead["_id"]}, {"$set": {"inbox": ahead["inbox"]}})
    market.reconciliation.update_many(
        {"at": {"$exists": True}}, {"$set": {"at": datetime.now(UTC) - timedelta(hours=1)}}
    )
    market.reconciliation.delete_one({"_id": "request"})
    os.kill(drill.system.process("market-worker").identity.pid, signal.SIGKILL)  # the next one reads how old they are
    await prometheus.wait_for("ReconciliationOverdue", within=60)


async def _cause_by_an_archive(drill: Drill, prometheus: Prometheus) -> None:
    """Remove a heartbeat, as if the database had been replaced, and write much into a small oplog."""
    mongo = drill.mongo
    heartbeat: Any = mongo.market.archive.find_one_and_delete({})
    mongo.admin.command("replSetResizeOplog", 1, size=990.0)  # megabytes, the least
    for n in range(40):
        mongo.drill.large.insert_one({"_id": n, "content": os.urandom(4 << 20)})
    await prometheus.wait_for("ArchiveBehind", "OplogWindowShort")
    mongo.market.archive.insert_one(heartbeat)
    mongo.drop_database("drill")
    await prometheus.wait_resolved("ArchiveBehind")


async def _cause_by_a_generation(drill: Drill, prometheus: Prometheus) -> None:
    """Start a worker whose generation is not built, as of a new version of the code."""
    pointer, name = drill.mongo.reporting.generations, drill.figures.name
    pointer.update_one({}, {"$pull": {"built": name}})
    os.kill(drill.system.process("reporting-worker").identity.pid, signal.SIGKILL)
    await prometheus.wait_for("GenerationNotBuilt", within=40)
    pointer.update_one({}, {"$addToSet": {"built": name}})
    await prometheus.wait_resolved("GenerationNotBuilt")


async def _cause_by_stores_and_logs(drill: Drill, prometheus: Prometheus) -> None:
    """Cause the alerts that only an operator can resolve."""
    drill.mongo.market.leases.drop_index("by_1")
    await prometheus.wait_for("MissingIndexes", within=25)
    raw = drill.event(named("drill-jump"))
    drill.publish("registration", raw, named("drill-jump"), 400)
    await asyncio.gather(
        asyncio.to_thread(drill.move_cursors, "peyvand.registration", 25), prometheus.wait_for("Fenced", within=25)
    )
    # A fault that parks so many subjects within a minute pauses the service: no day follows the one they are due on.
    state = '{"application":1,"case":{"opened":"2026-01-01T00:00:00Z","due":"9999-12-31"}}'
    at_fault = [named(f"drill-fault-{n}") for n in range(FAULTS_TO_PAUSE)]
    screened: Any = drill.mongo.screening.records.find_one({"kind": "applicant"})
    screened |= {"state": state, "indexed": {}, "inbox": {}, "events": [], "published": 0, "last_sequence": 0}
    drill.mongo.screening.records.insert_many([screened | {"_id": each} for each in at_fault])
    for each in at_fault:
        drill.event(each)
    await prometheus.wait_for("ConsumerPaused")
    behind = drill.event(named("drill-behind"))
    drill.publish("registration", behind, named("drill-behind"), 1_200)
    await prometheus.wait_for("ConsumerLagHigh")
    await asyncio.to_thread(drill.recreate_topic, "peyvand.screening")
    await prometheus.wait_for("LogBroken")
