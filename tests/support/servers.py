"""A real Kafka and a real MongoDB for the tests that need them: started once, on free ports, in a temporary folder."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from kafka.admin import KafkaAdminClient, NewTopic

from peyvand.local_cluster import workspace
from peyvand.local_cluster.processes import free_ports, kill, start, stop, wait_until
from peyvand.local_cluster.servers import Kafka, Mongod

PATIENCE = 60.0  # seconds for a part to be ready on a busy machine


class Servers:
    """Where they are."""

    def __init__(self, kafka: Kafka, mongod: Mongod, pids: dict[str, int]) -> None:
        self.kafka: str = kafka.address
        self.mongo: str = mongod.url()
        self.pids = pids  # of the processes kafka and mongod

    async def topic(self, name: str = "", partitions: int = 32) -> str:
        """Makes a topic, with a name of its own where none is given; returns its name when it can be used."""
        name = name or f"test.{uuid4().hex}"
        await asyncio.to_thread(self._make, [NewTopic(name, partitions, 1)])
        return name

    async def topics(self, *names: str, partitions: int = 32) -> None:
        """Makes several topics at once."""
        await asyncio.to_thread(self._make, [NewTopic(name, partitions, 1) for name in names])

    def database(self) -> str:
        """A name that no other test has."""
        return f"test_{uuid4().hex[:16]}"

    def _make(self, topics: list[NewTopic]) -> None:
        client = KafkaAdminClient(bootstrap_servers=self.kafka)
        try:
            client.create_topics(topics)
            wanted = {topic.name for topic in topics}
            wait_until(lambda: wanted <= set(client.list_topics()), 10)
        finally:
            client.close()


def _comes_up(part: Kafka | Mongod, process: "subprocess.Popen[bytes]") -> bool:
    wait_until(lambda: process.poll() is not None or part.ready(), PATIENCE)
    return process.poll() is None and part.ready()


@contextmanager
def started(folder: Path, settings: str = "") -> Iterator[Servers]:
    """Starts both at once and ends both for certain: even where pytest is killed, the kernel ends them.

    `settings` are lines of Kafka's properties, which go before ours.
    """
    installed = workspace.here()
    ports = free_ports({"kafka": None, "controller": None, "mongod": None})
    kafka = Kafka(installed, folder / "kafka", ports["kafka"], ports["controller"])
    mongod = Mongod(installed, folder / "mongod", ports["mongod"])
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, part in (("mongod", mongod), ("kafka", kafka)):
            part.prepare()
            if part is kafka and settings:
                with kafka.data.with_suffix(".properties").open("a") as properties:
                    properties.write(settings)
            running[name] = start(part.command(), folder / f"{name}.log", os.environ, if_we_die=signal.SIGKILL)
        for name, part in (("mongod", mongod), ("kafka", kafka)):
            if not _comes_up(part, running[name]):
                log = (folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"{name} does not come up:\n{log[-3000:]}")
        yield Servers(kafka, mongod, {name: process.pid for name, process in running.items()})
    finally:
        for process in running.values():
            kill(process)  # what they hold is thrown away
        for process in running.values():
            stop(process, 0)
