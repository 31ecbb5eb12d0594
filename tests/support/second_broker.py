"""One more broker beside that of `tests.support.servers`: what only it holds has no leader once it is gone."""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import Kafka
from peyvand.local_cluster.workspace import current_workspace
from tests.support.servers import ADMIN_PASSWORD, BROKER_PASSWORD, START_TIMEOUT, Servers

NODE = 2


class SecondBroker:
    """Broker 2 of a cluster whose data is in `folder`."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        port = free_ports({"second": None})["second"]
        passwords = (ADMIN_PASSWORD, BROKER_PASSWORD)
        certificates = Certificates(folder / "certificates")
        data = folder / "second"
        self.kafka = Kafka(current_workspace(), data, port, servers.controller, certificates, *passwords)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until the cluster counts it among its brokers."""
        settings = self.kafka.settings()
        for old, new in (
            ("process.roles=broker,controller", "process.roles=broker"),
            ("node.id=1", f"node.id={NODE}"),
            (f",CONTROLLER://127.0.0.1:{self.kafka.controller}", ""),
        ):
            assert settings.count(old) == 1, old
            settings = settings.replace(old, new)
        file = self.folder / "second.properties"
        file.write_text(settings)
        if not self.kafka.data.exists():
            command = [*self.kafka.command()[:-2], "kafka.tools.StorageTool", "format"]
            subprocess.run([*command, "-t", "peyvand-embedded-kafka", "-c", str(file)], check=True, capture_output=True)
        log = self.folder / "second.log"
        self.process = start(self.kafka.command(), log, os.environ, parent_death_signal=signal.SIGKILL)
        assert wait_until(lambda: self._runs() is True, START_TIMEOUT), log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """Kill it, and wait until the cluster knows that it is gone."""
        self.end()
        assert wait_until(lambda: self._runs() is False, START_TIMEOUT)

    def end(self) -> None:
        """Kill it if it runs."""
        process, self.process = self.process, None
        if process is not None:
            kill(process)
            stop(process, 0)

    def create_group_topic(self) -> None:
        """Have the first broker hold the positions of all groups. To be called before this one starts."""
        client = KafkaAdminClient(**self.servers.kafka.options())

        def exists() -> bool:
            with suppress(KafkaError):  # the first request creates it
                client.describe_groups(["first"])
                return True
            return False

        try:
            assert wait_until(exists, START_TIMEOUT)
        finally:
            client.close()

    def create_topics(self, names: list[str], mine: frozenset[int], partitions: int) -> None:
        """Create topics of which this broker alone holds the partitions `mine`, and the first one the others."""
        client = KafkaAdminClient(**self.servers.kafka.options())
        assignments: Mapping[int, list[int]] = {p: [NODE if p in mine else 1] for p in range(partitions)}
        try:
            client.create_topics({name: {"assignments": assignments} for name in names}, wait_for_metadata=True)
        finally:
            client.close()

    def _runs(self) -> bool | None:
        """Return whether the cluster counts it among its brokers; None if that is not known."""
        try:
            client = KafkaAdminClient(**self.servers.kafka.options())
        except KafkaError:
            return None
        try:
            brokers = client.describe_cluster()["brokers"]
            return NODE in {each["broker_id"] for each in brokers if not each.get("is_fenced")}
        except KafkaError:
            return None
        finally:
            client.close()
