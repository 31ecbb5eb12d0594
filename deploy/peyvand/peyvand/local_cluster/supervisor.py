"""Starts the country, keeps it alive, and ends it so that nothing stays behind.

asyncio, not honcho: that ends everything when one process dies, and knows neither readiness nor an order.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from base.tasks import cancel_and_wait
from peyvand.local_cluster import topology
from peyvand.local_cluster.process_monitor import Failed, Keeper, Part, answers
from peyvand.local_cluster.processes import Identity, alive, end, free_ports, identify, kill, start
from peyvand.local_cluster.prometheus import write_configuration
from peyvand.local_cluster.servers import Kafka, Missing, Mongod
from peyvand.local_cluster.topology import SERVICES, Places, Process, Role, State
from peyvand.local_cluster.workspace import Busy, Home, Secrets, development_secrets, here
from peyvand.terminal.checklist import Checklist

DRAIN = 20.0  # seconds the services have to end what they do
DATABASES_DRAIN = 15.0  # then Kafka and MongoDB


class Supervisor:
    """One run of the country in one folder."""

    def __init__(self, home: Home, say: Checklist, *, simulate: bool) -> None:
        self.home, self.say, self.simulate = home, say, simulate
        me = identify(os.getpid())
        assert me is not None
        self.state = State(supervisor=me)
        self.places = Places("", "", {})
        self.keepers: dict[str, Keeper] = {}
        self.simulation: subprocess.Popen[bytes] | None = None
        self.page: asyncio.Task[None] | None = None
        self.stop_asked = asyncio.Event()
        self.code = 0

    async def run(self) -> int:
        """Until somebody asks it to stop, or it cannot come up; returns the exit code."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(sign, self._asked)
        work = asyncio.create_task(self._work())
        asked = asyncio.create_task(self.stop_asked.wait())
        try:
            await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        except (Failed, Missing, RuntimeError) as why:
            self.say.cross("the country does not come up", str(why))
            self.code = 1
        finally:
            await cancel_and_wait(work, asked)
            await self._stop()
        return self.code

    def _asked(self) -> None:
        if not self.stop_asked.is_set():
            self.stop_asked.set()
            return
        for keeper in self.keepers.values():  # asked twice: at once
            keeper.kill()
        if self.simulation:
            kill(self.simulation)

    async def _work(self) -> None:
        began = time.monotonic()
        self._end_what_is_left()
        self.home.make()
        for log in self.home.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        await self._bring_up()
        self._say_state(ready=True)
        write_configuration(self.home, self.state)  # for whoever watches with Prometheus
        self.say.tick("the country is up", time.monotonic() - began)
        self.page = asyncio.create_task(self._operations())
        self._addresses()
        if self.simulate:
            await self._simulate()
        await asyncio.Event().wait()

    def _end_what_is_left(self) -> None:
        """What a killed supervisor left running, told by process id and start time, never by name."""
        before = topology.read_state(self.home)
        left = {name: each.who for name, each in before.processes.items() if alive(each.who)} if before else {}
        if not left:
            return
        with self.say.step("ending what was left", ", ".join(left)):
            end(left.values())
        if still := [name for name, who in left.items() if alive(who)]:
            raise Failed(f"these cannot be ended: {', '.join(still)}")

    async def _bring_up(self) -> None:
        secrets = development_secrets(self.home, SERVICES)
        kafka, mongo = os.environ.get("KAFKA_BOOTSTRAP", ""), os.environ.get("MONGO_URL", "")
        anywhere = os.environ.get("PEYVAND_PORTS") == "any"
        ports = free_ports(
            {
                name: None if anywhere else port
                for name, port in topology.ports_wanted(topology.workers()).items()
                if not (kafka and name in ("kafka", "controller")) and not (mongo and name == "mongod")
            }
        )
        data, links, admin = self.home.data, topology.links(), secrets.mongo_admin
        broker = database = None
        if not kafka:
            broker = Kafka(self.home, data / "kafka", ports["kafka"], ports["controller"], links.get("kafka", 0))
        if not mongo:
            database = Mongod(self.home, data / "mongod", ports["mongod"], admin, links.get("mongod", 0))
        places = Places(
            kafka or (broker.address if broker else ""), mongo or (database.url() if database else ""), ports
        )
        reader = places.mongo_of(topology.READER, secrets.mongo_reader)
        self.state = msgspec.structs.replace(
            self.state,
            public_url=places.public_url,
            issuer=places.issuer,
            kafka=places.kafka,
            mongo=reader,
            ports=ports,
        )
        self._say_state()
        self.places = places
        logs_ready, data_ready = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as together:
            together.create_task(self._logs(broker, logs_ready))
            together.create_task(self._data(database, secrets, data_ready))
            together.create_task(self._door())
            together.create_task(self._indexes(data_ready))
            for service in SERVICES:
                together.create_task(self._role(service, "api", secrets, data_ready))
                for n in range(1, topology.workers() + 1):
                    together.create_task(self._role(service, "worker", secrets, data_ready, logs_ready, number=n))

    async def _logs(self, broker: Kafka | None, ready: asyncio.Event) -> None:
        from peyvand.commands import apply

        if broker:
            with self.say.step("Kafka", broker.address):
                await asyncio.to_thread(broker.prepare)
                await self._keep("kafka", broker.command(), dict(os.environ), broker.port, _blocking(broker.ready))
        with self.say.step("topics", "" if broker else self.places.kafka):
            await asyncio.to_thread(apply.topics, self.places.kafka)
        ready.set()

    async def _data(self, database: Mongod | None, secrets: Secrets, ready: asyncio.Event) -> None:
        from peyvand.commands import apply

        if database:
            with self.say.step("MongoDB", f"127.0.0.1:{database.port}"):
                database.prepare()
                command = database.command()
                await self._keep("mongod", command, dict(os.environ), database.port, _blocking(database.ready))
        with self.say.step("database users"):
            try:
                await asyncio.to_thread(apply.users, self.places.mongo, secrets)
            except apply.NotAllowed:  # a cluster of somebody else's
                self.places = msgspec.structs.replace(self.places, own_users=False)
                self._say_state(mongo=self.places.mongo)
        ready.set()

    async def _indexes(self, data_ready: asyncio.Event) -> None:
        await data_ready.wait()
        with self.say.step("indexes"):  # a process of its own: it loads all four services
            environment = topology.inherited(os.environ) | {"PEYVAND_MONGO": self.places.mongo}
            log = self.home.logs / "indexes.log"
            process = self._begin("indexes", topology.INDEXES, environment, log, 0)
            while process.poll() is None:  # noqa: ASYNC110  a process tells no other way
                await asyncio.sleep(0.1)
            self._say_state(processes={name: each for name, each in self.state.processes.items() if name != "indexes"})
            if process.returncode:
                raise Failed(f"indexes: {log.read_text(errors='replace')[-2000:]}")

    async def _door(self) -> None:
        role = topology.door(self.home, self.places)
        with self.say.step("front door", self.places.public_url):
            await self._keep_role(role)

    async def _role(self, service: str, kind: str, secrets: Secrets, *wanted: asyncio.Event, number: int = 1) -> None:
        for each in wanted:
            await each.wait()
        role = topology.role(service, kind, self.home, self.places, secrets, number)
        while not self.home.jwks.exists():  # noqa: ASYNC110  the issuer makes it at its first start
            await asyncio.sleep(0.05)
        with self.say.step(role.name, f"127.0.0.1:{role.port}"):
            await self._keep_role(role)

    async def _operations(self) -> None:
        """The operators' page, when the rest is up: nobody waits for it."""
        try:
            await self._keep_role(topology.operations(self.home, self.places, development_secrets(self.home, SERVICES)))
        except Failed as why:
            self.say.cross("the operators' page does not come up", str(why))

    async def _keep_role(self, role: Role) -> None:
        await self._keep(role.name, role.command, role.environment, role.port, lambda: answers(role.port, "/readyz"))

    async def _keep(
        self,
        name: str,
        command: list[str] | tuple[str, ...],
        environment: dict[str, str],
        port: int,
        ready: Callable[[], Awaitable[bool]],
    ) -> None:
        log = self.home.logs / f"{name}.log"
        part = Part(name, lambda: self._begin(name, command, environment, log, port), ready, log)
        self.keepers[name] = keeper = Keeper(part, self.say)
        await keeper.up()

    def _begin(
        self, name: str, command: list[str] | tuple[str, ...], environment: dict[str, str], log: Path | None, port: int
    ) -> "subprocess.Popen[bytes]":
        def record(who: Identity) -> None:
            before = self.state.processes.get(name)
            process = Process(who, port, before.starts + 1 if before else 1)
            processes = {**self.state.processes, name: process}
            self._say_state(processes=processes)

        return start(command, log, environment, record, folder=self.home.data)

    def _say_state(self, **changed: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changed)
        topology.write_state(self.home, self.state)

    def _addresses(self) -> None:
        url = self.state.public_url
        self.say.plain()
        for what, where in (
            ("national ranking", f"{url}/ranking"),
            ("home", f"{url}/"),
            ("apply as an applicant", f"{url}/registration/apply"),
            ("officers' desk", f"{url}/screening/"),
            ("operators' page", f"{url}/operations"),
            ("logs", f"{self.home.logs}"),
        ):
            self.say.plain(f"    {what:<24}{where}")
        self.say.plain("\n    Ctrl-C ends it, and what it has counted stays; twice ends it at once\n")

    async def _simulate(self) -> None:
        """The simulation shows its own progress; it trickles on until it is ended."""
        environment = topology.inherited(os.environ)
        self.simulation = self._begin("simulation", topology.SIMULATION, environment, None, 0)
        while self.simulation.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if self.simulation.returncode:
            self.say.cross("the simulation ended", f"exit code {self.simulation.returncode}; the country goes on")
            self.code = 1

    async def _stop(self) -> None:
        """Whoever asks first, then the services, which drain, and at last what they keep their data in."""
        self.say.plain()
        with self.say.step("everything has ended"):
            if self.page:
                self.page.cancel()
            for keeper in self.keepers.values():
                keeper.no_more()
            if self.simulation:
                self.simulation.terminate()
            ours = [keeper for name, keeper in self.keepers.items() if name not in ("kafka", "mongod")]
            await asyncio.gather(*(keeper.stop(DRAIN) for keeper in ours))
            if self.simulation:
                kill(self.simulation)
                self.simulation.wait()
            parts = [self.keepers[name] for name in ("kafka", "mongod") if name in self.keepers]
            await asyncio.gather(*(keeper.stop(DATABASES_DRAIN) for keeper in parts))
            await asyncio.to_thread(end, [each.who for each in self.state.processes.values()])
            self._say_state(ready=False, processes={})


def _blocking(ready: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    return lambda: asyncio.to_thread(ready)


def run(simulate: bool) -> int:
    """`peyvand run` and `peyvand up`; returns the exit code."""
    say, home = Checklist(), here()

    async def supervise() -> int:
        return await Supervisor(home, say, simulate=simulate).run()

    try:
        with home.taken():
            return asyncio.run(supervise())
    except Busy as why:
        say.cross(str(why))
        return 1
