"""Every alert is really caused once, on a real country under a real Prometheus: `make drill` (three minutes).

The rules are those of the repository; only what they wait for is shorter, by one factor for all of them.
"""

import asyncio
import os
import re
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

import httpx
import pytest
import yaml
from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from pymongo import MongoClient

from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered
from contracts.subjects import PARTITIONS, partition_of
from kernel.kafka.relay import connect_producer
from peyvand.commands.applications import COLUMNS
from peyvand.local_cluster.processes import free_ports, start, stop, wait_until
from peyvand.local_cluster.prometheus import configuration
from peyvand.local_cluster.topology import SERVICES, as_user
from peyvand.local_cluster.workspace import ROOT, development_secrets
from peyvand.simulation.client import PlatformClient as Client
from peyvand.simulation.people import application, person
from peyvand.simulation.scenario import CONSENT
from programme.policies import CURRENT
from programme.reference import counties, job_fields
from tests.support.system import RunningSystem

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
FASTER = 60  # times: a rule that waits five minutes waits five seconds
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
ROUND, SEMNAN = "1404", "IR-20"
FIRST_SERIAL = 500_000
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


def shorter(rules: str, factor: int = FASTER) -> str:
    """The same rules, with every duration that they wait for or look back on divided; thresholds stay as they are."""

    def divided(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, int(found[2]) * SECONDS[found[3]] // factor)}s"

    return re.sub(r"(for: |\[|offset )(\d+)([smhd])\b", divided, rules)


def test_rules_are_made_shorter_and_nothing_else() -> None:
    text = RULES.read_text("utf-8")
    before, after = (yaml.safe_load(each)["groups"][0]["rules"] for each in (text, shorter(text)))
    assert [each["alert"] for each in before] == [each["alert"] for each in after] and before != after
    assert shorter("rate(x[5m]) > 60 for: 1h offset 15m") == "rate(x[5s]) > 60 for: 60s offset 15s"
    assert yaml.safe_load(shorter(text, 1))["groups"][0]["rules"][0]["for"] == "30s"


class Prometheus:
    """A Prometheus that watches a country."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.fired: dict[str, float] = {}  # alert -> after how many seconds
        self.began = time.monotonic()

    def look(self) -> set[str]:
        """What fires now."""
        found = httpx.get(f"{self.url}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
        firing = {each["labels"]["alertname"] for each in found if each["state"] == "firing"}
        for name in firing:
            self.fired.setdefault(name, time.monotonic() - self.began)
        return firing

    async def until(self, *alerts: str, within: float = 40) -> None:
        """Waits until each of these has fired."""
        over = time.monotonic() + within
        while not set(alerts) <= self.fired.keys():
            self.look()
            assert time.monotonic() < over, f"silent: {sorted(set(alerts) - self.fired.keys())}; {self.fired}"
            await asyncio.sleep(0.5)

    async def silent(self, *alerts: str, within: float = 60) -> None:
        """Waits until none of these fires any more."""
        over = time.monotonic() + within
        while still := self.look() & set(alerts):
            assert time.monotonic() < over, f"still: {still}"
            await asyncio.sleep(0.5)


@contextmanager
def watched(folder: Path, system: RunningSystem, **more: int) -> Iterator[Prometheus]:
    """Prometheus over all its processes, and some more by name and port."""
    rules, port = folder / "alerts.yaml", free_ports({"prometheus": None})["prometheus"]
    rules.write_text(shorter(RULES.read_text("utf-8")))
    told = yaml.safe_load(configuration(system.state, rules))
    told["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    told["scrape_configs"][0]["static_configs"] += [
        {"targets": [f"127.0.0.1:{at}"], "labels": {"process": name}} for name, at in more.items()
    ]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(told))
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/tsdb"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = start(command, folder / "prometheus.log", os.environ, if_we_die=signal.SIGKILL)
    try:
        prometheus = Prometheus(folder, port)

        def ready() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{prometheus.url}/-/ready").status_code == 200
            return False

        assert wait_until(ready, 30), (folder / "prometheus.log").read_text()
        yield prometheus
    finally:
        stop(process, 10)


class Drill:
    """Whoever causes it all."""

    def __init__(self, system: RunningSystem, client: Client) -> None:
        self.system, self.client, self.serial = system, client, FIRST_SERIAL
        secrets = development_secrets(system.home, SERVICES)
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(
            as_user(system.state.mongo, "admin", secrets.mongo_admin), tz_aware=True
        )
        self.producer: Any = connect_producer(system.state.kafka, "drill")()

    def people(self, n: int) -> list[dict[str, str]]:
        """So many who have not registered yet."""
        self.serial += n
        places, fields = [c for c in counties().values() if c.province == SEMNAN], list(job_fields().values())
        chance = Random(self.serial)
        return [person(s, chance, places, fields, CONSENT) for s in range(self.serial - n, self.serial)]

    async def register(self, row: dict[str, str]) -> int:
        """The status of one registration."""
        headers = {"Authorization": f"Bearer {await self.client.token('registrar', SEMNAN)}"}
        url = f"{self.client.base}/registration/v1/rounds/{ROUND}/applications"
        async with self.client.http.post(url, json=application(row), headers=headers) as answer:
            return answer.status

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """People register the whole time."""

        async def go_on() -> None:
            while True:
                for row in self.people(20):
                    with suppress(Exception):
                        await self.register(row)
                    await asyncio.sleep(0.05)

        task = asyncio.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()

    def say(self, source: str, raw: bytes, partition: int, n: int = 1) -> None:
        """Bytes on a topic."""
        for _ in range(n):
            self.producer.send(f"peyvand.{source}", key=b"drill", value=raw, partition=partition)
        self.producer.flush(20)

    def event(self, subject: str, sequence: int = 1, *, province: str = SEMNAN, **more: Any) -> bytes:
        """Somebody registers, as registration would tell it."""
        now = datetime.now(UTC)
        place = Context(round=ROUND, province=province, county="2001", field="honey", policy=CURRENT)
        told: dict[str, Any] = {"source": "registration", "time": now, "recorded": now, "event": REGISTERED, **more}
        raw = encode(Envelope(subject=subject, sequence=sequence, context=place, **told))
        self.say("registration", raw, partition_of(subject))
        return raw

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """A process that stands still."""
        pid = self.system.process(name).who.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def skewed(self, folder: Path, port: int) -> Iterator[None]:
        """A worker of reporting more, on a machine whose clock is 40 s ahead."""
        (folder / "sitecustomize.py").write_text(SKEWED)
        raw = Path(f"/proc/{self.system.process('reporting-worker').who.pid}/environ").read_bytes()
        environment = dict(each.split("=", 1) for each in raw.decode().split("\0") if "=" in each)
        environment |= {"PEYVAND_PORT": str(port), "PYTHONPATH": str(folder)}
        command = [sys.executable, "-m", "reporting.main", "worker"]
        process: subprocess.Popen[bytes] = start(command, folder / "skewed.log", environment, if_we_die=signal.SIGKILL)
        try:
            yield
        finally:
            stop(process, 30)

    def close(self) -> None:
        """Lets go."""
        self.producer.close(timeout=5)
        self.mongo.close()

    async def settle(self, done: Callable[[], bool]) -> None:
        """Waits for something that the country does by itself."""
        assert await asyncio.to_thread(wait_until, done, 40)

    def cursors_jump(self, topic: str, seconds: float) -> None:
        """Somebody else moves reporting's cursors of a topic all the time; they are set to the beginning at the end."""
        cursors, over, chance = self.mongo.reporting.cursors, time.monotonic() + seconds, Random(1)
        one = f"{topic}/{partition_of('drill-jump')}"
        while time.monotonic() < over:
            cursors.update_one({"_id": one}, {"$set": {"next": chance.randrange(400)}})
        cursors.update_one({"_id": one}, {"$set": {"next": 0}})

    def topic_anew(self, topic: str) -> None:
        """A topic is deleted and made again."""
        client = KafkaAdminClient(bootstrap_servers=self.system.state.kafka)
        client.delete_topics([topic])
        assert wait_until(lambda: topic not in client.list_topics(), 20)
        client.create_topics([NewTopic(topic, PARTITIONS, 1)])
        client.close()


async def opened(client: Client) -> None:
    """A round that is open now."""
    now = datetime.now(UTC)
    window = {"opens": str(now - timedelta(days=1)), "closes": str(now + timedelta(days=30))}
    terms = {"fields": sorted(job_fields()), **window, "windows": [], "policy": CURRENT}
    await client.ask("PUT", f"/registration/v1/rounds/{ROUND}", "ministry_admin", json=terms)


@needed
@pytest.mark.server
async def test_every_alert_is_caused(tmp_path: Path) -> None:
    """One after the other, the slow ones first; and what can be mended at once falls silent again."""
    system = RunningSystem(tmp_path / "run", PEYVAND_INTAKE_UNSENT="40")
    port = free_ports({"skewed": None})["skewed"]
    with ExitStack() as left:
        left.callback(system.end)
        system.start()
        async with Client(system.url) as client:
            await opened(client)
            drill = Drill(system, client)
            left.callback(drill.close)
            assert [await drill.register(row) for row in drill.people(30)] == [201] * 30
            with watched(tmp_path, system, skewed=port) as prometheus, drill.skewed(tmp_path, port):
                await _cause_all(drill, prometheus)
                every = {each["alert"] for each in yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]}
                for name, after in sorted(prometheus.fired.items(), key=lambda each: each[1]):
                    print(f"{after:6.1f} s {name}")
                assert prometheus.fired.keys() == every


async def _cause_all(drill: Drill, prometheus: Prometheus) -> None:
    mongo, now = drill.mongo, datetime.now(UTC)
    # Whoever is taken below, nothing more is said of them: it would pause everybody
    told = {"kind": "applicant", "inbox.screening": {"$gte": 1}}
    await drill.settle(lambda: mongo.reporting.records.count_documents(told) >= 2)
    # What takes a while to be told
    screened: Any = mongo.screening.records.find_one(
        {"kind": "applicant"}
    )  # as if it had heard of them: answers nothing
    mongo.screening.records.insert_one(screened | {"_id": "drill-silent", "inbox": {"registration": 99}})
    drill.event("drill-silent", province="IR-01", recorded=now - timedelta(days=3))
    drill.event("drill-hole", 5)
    drill.event("drill-poison", time=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    drill.say("screening", b"nonsense", 0)
    due = {"indexed.due": now - timedelta(hours=2)}
    known = [d["_id"] for d in mongo.reporting.records.find(told, {"_id": 1}).limit(2)]
    mongo.reporting.records.update_one({"_id": known[0]}, {"$set": due})  # says nothing when it is called on
    mongo.reporting.records.update_one(
        {"_id": known[1]}, {"$set": due | {"state": '{"round": 5}'}}
    )  # cannot even be read
    await prometheus.until("Unreadable", "DeadLetters", "Overdue", "TickFaults", "ClocksApart")
    mongo.reporting.records.update_many({"indexed.due": due["indexed.due"]}, {"$unset": {"indexed.due": ""}})
    # People
    rows = drill.people(250)
    body = "\n".join([",".join(COLUMNS), *(",".join(row[name] for name in COLUMNS) for row in rows)])
    path = f"/registration/v1/rounds/{ROUND}/applications/import"
    for n in range(2):  # the second time all are known
        told = await drill.client.ask("POST", path, "manager", SEMNAN, csv=body, key=f"drill-import-{n}")
        print({name: value if isinstance(value, int) else len(value) for name, value in told.items()})
    await prometheus.until("SomebodyTriesIdentities")
    # Processes
    with drill.frozen("market-api"):
        await prometheus.until("ProcessDown")
    async with drill.busy():
        for _ in range(8):
            with drill.frozen("reporting-worker"):
                await asyncio.sleep(3)
            await asyncio.sleep(0.8)
            prometheus.look()
    await prometheus.until("CountedLate", within=10)
    # Kafka is away: nothing leaves, whoever begins finds no group, and in the end people are turned away
    with drill.frozen("kafka"):
        before = drill.system.process("market-worker")
        os.kill(before.who.pid, signal.SIGKILL)
        async with drill.busy():
            await prometheus.until("IntakeSheds", "AnswersFail", "NobodyConsumes", "EventsUnsent", within=120)
    await prometheus.until("EventMissing", "ProvinceSilent", within=90)
    await prometheus.silent("ProcessDown", "IntakeSheds", "AnswersFail", "NobodyConsumes", "EventsUnsent")
    # What only a person can mend
    raw = drill.event("drill-jump")
    drill.say("registration", raw, partition_of("drill-jump"), 400)
    await asyncio.gather(
        asyncio.to_thread(drill.cursors_jump, "peyvand.registration", 25), prometheus.until("Fenced", within=25)
    )
    newer = drill.event("drill-newer")
    await drill.settle(lambda: mongo.market.records.find_one({"_id": "drill-newer"}) is not None)
    mongo.market.records.update_one({"_id": "drill-newer"}, {"$set": {"rules": 99}})
    drill.say("registration", newer, partition_of("drill-newer"))
    await prometheus.until("Paused")
    drill.say("registration", newer, partition_of("drill-newer"), 1_200)
    await prometheus.until("Behind")
    await asyncio.to_thread(drill.topic_anew, "peyvand.screening")
    await prometheus.until("LogBroken")
