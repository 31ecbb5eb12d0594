"""Start the platform, restart its processes when they die, and stop it so that nothing is left running.

asyncio instead of honcho, which ends everything when one process dies and knows neither readiness nor an order.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from base.kafka_access import KafkaAccess
from base.tasks import cancel_and_wait
from peyvand.kafka_users import NotAuthorized
from peyvand.local_cluster import topology
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.process_monitor import (
    MonitoredProcess,
    PortTaken,
    ProcessMonitor,
    StartFailed,
    responds_ok,
)
from peyvand.local_cluster.processes import ProcessIdentity, alive, end, free_ports, identify, kill, listening, start
from peyvand.local_cluster.prometheus import write_configuration
from peyvand.local_cluster.servers import Kafka, Mongod, NotInstalled
from peyvand.local_cluster.topology import SERVICES, ClusterAddresses, ClusterState, Role, RunningProcess
from peyvand.local_cluster.workspace import (
    Secrets,
    Workspace,
    WorkspaceLocked,
    current_workspace,
    development_secrets,
)
from peyvand.terminal.checklist import Checklist

SERVICES_GRACE = 20.0  # seconds for the services to finish what they do
DATABASES_GRACE = 15.0  # seconds for Kafka and MongoDB, afterwards
DATABASES = ("kafka", "mongod")


class Supervisor:
    """One run of the platform in one folder."""

    def __init__(self, workspace: Workspace, checklist: Checklist, *, simulate: bool) -> None:
        self.workspace, self.checklist, self.simulate = workspace, checklist, simulate
        identity = identify(os.getpid())
        assert identity is not None
        self.state = ClusterState(supervisor=identity)
        self.addresses = ClusterAddresses(KafkaAccess(""), "", {})
        self.monitors: dict[str, ProcessMonitor] = {}
        self.simulation: subprocess.Popen[bytes] | None = None
        self.others: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()
        self.exit_code = 0

    async def run(self) -> int:
        """Run until a signal arrives or the start fails; return the exit code."""
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signal_number, self._on_signal)
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        except* (StartFailed, NotInstalled, RuntimeError) as group:
            for error in _leaves(group):
                self.checklist.cross("the platform does not start", str(error))
            self.exit_code = 1
        finally:
            await cancel_and_wait(work, stopping)
            await self._stop()
        return self.exit_code

    def _on_signal(self) -> None:
        """Stop in order; at the second signal kill everything."""
        if not self.stopping.is_set():
            self.stopping.set()
            return
        for monitor in self.monitors.values():
            monitor.kill()
        if self.simulation:
            kill(self.simulation)

    async def _work(self) -> None:
        began = time.monotonic()
        taken = False
        self._end_leftovers()
        self.workspace.create()
        try:
            await self._start_all()
        except* PortTaken as group:  # by another platform, since the ports were chosen: choose again, once
            for error in _leaves(group):
                self.checklist.note(f"{error}; choosing other ports")
            await self._stop_processes()
            self.monitors.clear()
            taken = True
        if taken:
            await self._start_all()
        self._update_state(ready=True)
        write_configuration(self.workspace, self.state)
        self.checklist.tick("the platform is up", time.monotonic() - began)
        self.others = asyncio.create_task(self._start_others())
        self._print_addresses()
        if self.simulate:
            await self._simulate()
        await asyncio.Event().wait()

    def _end_leftovers(self) -> None:
        """End the processes that a killed supervisor left, identified by process id and start time."""
        before = topology.read_state(self.workspace)
        known = {name: each.identity for name, each in before.processes.items()} if before else {}
        left = {name: identity for name, identity in known.items() if alive(identity)}
        if not left:
            return
        with self.checklist.step("ending leftovers", ", ".join(left)):
            end(left.values())
        if remaining := [name for name, identity in left.items() if alive(identity)]:
            raise StartFailed(f"these processes of an earlier run cannot be ended: {', '.join(remaining)}")

    async def _start_all(self) -> None:
        """Choose the addresses and start every process with a log of its own. Raise an exception group."""
        for log in self.workspace.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        secrets = self._secrets()
        broker, database = self._servers(secrets)
        kafka_ready, mongo_ready = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_kafka(broker, secrets, kafka_ready))
            group.create_task(self._start_mongo(database, secrets, mongo_ready))
            group.create_task(self._start_gateway())
            group.create_task(self._create_indexes(mongo_ready))
            for service in SERVICES:
                group.create_task(self._start_role(service, "api", mongo_ready))
                for n in range(1, topology.worker_count() + 1):
                    group.create_task(self._start_role(service, "worker", mongo_ready, kafka_ready, number=n))

    def _servers(self, secrets: Secrets) -> tuple[Kafka | None, Mongod | None]:
        """Choose all addresses and write them to the state; return the embedded servers to start."""
        kafka = topology.kafka_from(os.environ, "KAFKA", "KAFKA_BOOTSTRAP")
        mongo = os.environ.get("MONGO_URL", "")
        any_port = os.environ.get("PEYVAND_PORTS") == "any"
        ports = free_ports(
            {
                name: None if any_port else port
                for name, port in topology.preferred_ports(topology.worker_count()).items()
                if not (kafka.bootstrap and name in ("kafka", "controller")) and not (mongo and name == "mongod")
            }
        )
        data, proxy_ports = self.workspace.data, topology.proxy_ports()
        certificates = Certificates(self.workspace.certificates)
        broker = database = None
        if not kafka.bootstrap:
            broker = Kafka(
                self.workspace,
                data / "kafka",
                ports["kafka"],
                ports["controller"],
                certificates,
                secrets.kafka_admin,
                secrets.kafka_broker,
                proxy_ports.get("kafka", 0),
            )
            kafka = broker.access
        if not mongo:
            proxy_port = proxy_ports.get("mongod", 0)
            database = Mongod(
                self.workspace, data / "mongod", ports["mongod"], certificates, secrets.mongo_admin, proxy_port
            )
            mongo = database.url()
        if broker or database:
            certificates.prepare()  # before both start at once
        self.addresses = ClusterAddresses(kafka, mongo, ports)
        self._update_state(
            public_url=self.addresses.public_url,
            issuer=self.addresses.issuer,
            kafka=self.addresses.kafka_of(topology.READER, secrets.kafka_reader),
            mongo=self.addresses.mongo_of(topology.READER, secrets.mongo_reader),
            ports=ports,
        )
        return broker, database

    async def _start_kafka(self, broker: Kafka | None, secrets: Secrets, ready: asyncio.Event) -> None:
        from kafka.errors import KafkaError

        from peyvand.commands import apply

        if broker:
            with self.checklist.step("Kafka", broker.access.bootstrap):
                await _to_its_end(broker.prepare)
                await self._monitor("kafka", broker.command(), os.environ.copy, broker.port, _in_thread(broker.ready))
        with self.checklist.step("topics and their users", "" if broker else self.addresses.kafka.bootstrap):
            try:
                await asyncio.to_thread(apply.topics, self.addresses.kafka)
                await asyncio.to_thread(apply.kafka_users, self.addresses.kafka, secrets)
            except NotAuthorized:  # users of this cluster are managed elsewhere
                self.addresses = msgspec.structs.replace(self.addresses, own_kafka_users=False)
                self._update_state(kafka=self.addresses.kafka)
            except KafkaError as e:
                log = f": see {self.workspace.logs / 'kafka.log'}" if broker else ""
                raise StartFailed(f"Kafka at {self.addresses.kafka.bootstrap} does not answer ({e!r}){log}") from e
        ready.set()

    async def _start_mongo(self, database: Mongod | None, secrets: Secrets, ready: asyncio.Event) -> None:
        from peyvand import mongo_users

        if database:
            with self.checklist.step("MongoDB", f"127.0.0.1:{database.port}"):
                database.prepare()
                command, is_ready = database.command(), _in_thread(database.ready)
                await self._monitor("mongod", command, os.environ.copy, database.port, is_ready)
        with self.checklist.step("database users"):
            try:
                await asyncio.to_thread(mongo_users.users, self.addresses.mongo, secrets)
            except NotAuthorized:  # users of this cluster are managed elsewhere
                self.addresses = msgspec.structs.replace(self.addresses, own_users=False)
                self._update_state(mongo=self.addresses.mongo)
        ready.set()

    async def _create_indexes(self, mongo_ready: asyncio.Event) -> None:
        await mongo_ready.wait()
        with self.checklist.step("indexes"):  # in a process of its own, since it imports all four services
            environment = topology.inherited(os.environ) | {"PEYVAND_MONGO": self.addresses.mongo}
            log = self.workspace.logs / "indexes.log"
            process = self._begin("indexes", topology.INDEXES, environment, log, 0)
            while process.poll() is None:  # noqa: ASYNC110  the end of a process is only polled
                await asyncio.sleep(0.1)
            self._update_state(
                processes={name: each for name, each in self.state.processes.items() if name != "indexes"}
            )
            if process.returncode:
                raise StartFailed(f"indexes: {log.read_text(errors='replace')[-2000:]}")

    def _secrets(self) -> Secrets:
        return development_secrets(self.workspace, SERVICES)

    async def _start_gateway(self) -> None:
        with self.checklist.step("gateway", self.addresses.public_url):
            await self._monitor_role(lambda: topology.gateway(self.workspace, self.addresses, self._secrets()))

    async def _start_role(self, service: str, kind: str, *required: asyncio.Event, number: int = 1) -> None:
        for each in required:
            await each.wait()

        def current() -> Role:
            return topology.role(service, kind, self.workspace, self.addresses, self._secrets(), number)

        role = current()
        while not self.workspace.jwks.exists():  # noqa: ASYNC110  the issuer writes it at its first start
            await asyncio.sleep(0.05)
        with self.checklist.step(role.name, f"127.0.0.1:{role.port}"):
            await self._monitor_role(current)

    async def _start_others(self) -> None:
        """Start the archives and the operations page after everything else; without them the platform goes on."""
        of = self.workspace, self.addresses, self._secrets()
        roles = [*topology.archives(*of), topology.operations(*of)]
        await asyncio.gather(*(self._start_other(role) for role in roles))

    async def _start_other(self, role: Role) -> None:
        try:
            await self._monitor_role(lambda: role)
        except StartFailed as e:
            self.checklist.cross(f"{role.name} does not start", str(e))

    async def _monitor_role(self, current: Callable[[], Role]) -> None:
        """Monitor a role; its environment is read again at each start, so that a restart gives it new secrets."""
        role = current()
        await self._monitor(
            role.name,
            role.command,
            lambda: current().environment,
            role.port,
            lambda: responds_ok(role.port, "/readyz"),
        )

    async def _monitor(
        self,
        name: str,
        command: list[str] | tuple[str, ...],
        environment: Callable[[], dict[str, str]],
        port: int,
        ready: Callable[[], Awaitable[bool]],
    ) -> None:
        """Start a process and monitor it; return when it is ready. Raise StartFailed, PortTaken."""
        taken = f"port {port} of {name} was taken by another process in the meantime"
        if listening(port):
            raise PortTaken(taken)
        log = self.workspace.logs / f"{name}.log"
        process = MonitoredProcess(name, lambda: self._begin(name, command, environment(), log, port), ready, log)
        self.monitors[name] = monitor = ProcessMonitor(process, self.checklist)
        try:
            await monitor.start()
        except StartFailed as e:
            if listening(port):
                raise PortTaken(taken) from e
            raise

    def _begin(
        self, name: str, command: list[str] | tuple[str, ...], environment: dict[str, str], log: Path | None, port: int
    ) -> "subprocess.Popen[bytes]":
        def record(identity: ProcessIdentity) -> None:
            before = self.state.processes.get(name)
            process = RunningProcess(identity, port, before.starts + 1 if before else 1)
            self._update_state(processes={**self.state.processes, name: process})

        return start(command, log, environment, record, folder=self.workspace.data)

    def _update_state(self, **changed: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changed)
        topology.write_state(self.workspace, self.state)

    def _print_addresses(self) -> None:
        url = self.state.public_url
        self.checklist.plain()
        for name, address in (
            ("national ranking", f"{url}/ranking"),
            ("home", f"{url}/"),
            ("apply as an applicant", f"{url}/registration/apply"),
            ("officers' desk", f"{url}/screening/"),
            ("operations page", f"{url}/operations"),
            ("logs", f"{self.workspace.logs}"),
        ):
            self.checklist.plain(f"    {name:<24}{address}")
        self.checklist.plain("\n    Ctrl-C stops it and keeps its data; a second Ctrl-C kills it at once\n")

    async def _simulate(self) -> None:
        """Run the simulation, which prints its own progress and sends live events until it is stopped."""
        environment = topology.inherited(os.environ)
        self.simulation = self._begin("simulation", topology.SIMULATION, environment, None, 0)
        while self.simulation.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        if self.simulation.returncode:
            self.checklist.cross(
                "the simulation failed", f"exit code {self.simulation.returncode}; the platform keeps running"
            )
            self.exit_code = 1

    async def _stop(self) -> None:
        """Stop the clients first, then the services, then the databases."""
        self.checklist.plain()
        with self.checklist.step("everything has stopped"):
            if self.others:
                self.others.cancel()
            for monitor in self.monitors.values():
                monitor.stop_monitoring()
            if self.simulation:
                self.simulation.terminate()
            await self._stop_processes()

    async def _stop_processes(self) -> None:
        services = [monitor for name, monitor in self.monitors.items() if name not in DATABASES]
        await asyncio.gather(*(monitor.stop(SERVICES_GRACE) for monitor in services))
        if self.simulation:
            kill(self.simulation)
            self.simulation.wait()
        databases = [self.monitors[name] for name in DATABASES if name in self.monitors]
        await asyncio.gather(*(monitor.stop(DATABASES_GRACE) for monitor in databases))
        await asyncio.to_thread(end, [each.identity for each in self.state.processes.values()])
        self._update_state(ready=False, processes={})


async def _to_its_end(work: Callable[[], None]) -> None:
    """Do work in a thread, and wait for its end even when cancelled: another attempt must not meet it."""
    thread = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(thread)
    finally:
        await asyncio.wait([thread])


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    """Return the exceptions in a group, and in the groups within."""
    nested = [_leaves(each) if isinstance(each, BaseExceptionGroup) else [each] for each in group.exceptions]
    return [leaf for leaves in nested for leaf in leaves]


def _in_thread(ready: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    return lambda: asyncio.to_thread(ready)


def run(simulate: bool) -> int:
    """Run `peyvand run` or `peyvand up`; return the exit code."""
    checklist, workspace = Checklist(), current_workspace()

    async def supervise() -> int:
        return await Supervisor(workspace, checklist, simulate=simulate).run()

    try:
        with workspace.locked():
            return asyncio.run(supervise())
    except WorkspaceLocked as e:
        checklist.cross(str(e))
        return 1
