"""The MongoDB that a backup is written into: the one that is named, the one that runs, else the embedded one alone."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from peyvand.endpoints import Trouble
from peyvand.local_cluster.processes import alive, free_ports, start, stop, wait_until
from peyvand.local_cluster.servers import Missing, Mongod
from peyvand.local_cluster.topology import SERVICES, as_user, read_state
from peyvand.local_cluster.workspace import Busy, development_secrets, here

UP_WITHIN, DOWN_WITHIN = 60.0, 15.0  # seconds


@contextmanager
def stores() -> Iterator[str]:
    """Its address, for a user who may write all stores. Raises Trouble."""
    if named := os.environ.get("MONGO_URL"):
        yield named
        return
    home = here()
    state = read_state(home)
    if state is not None and alive(state.supervisor):
        # what the services have written meanwhile makes the stores anything but empty, and that is said
        yield as_user(state.mongo, "admin", development_secrets(home, SERVICES).mongo_admin)
        return
    try:
        with home.taken():
            home.make()
            port = free_ports({"mongod": None})["mongod"]
            mongod = Mongod(home, home.data / "mongod", port, development_secrets(home, SERVICES).mongo_admin)
            mongod.prepare()
            log = home.logs / "mongod-restore.log"
            process = start(mongod.command(), log, os.environ, if_we_die=signal.SIGTERM)
            try:
                wait_until(lambda: process.poll() is not None or mongod.ready(), UP_WITHIN)
                if process.poll() is not None or not mongod.ready():
                    raise Trouble("MongoDB does not come up", f"see {log}")
                yield mongod.url()
            finally:
                stop(process, DOWN_WITHIN)
    except Busy as e:
        raise Trouble(str(e), "end it first: Ctrl-C where it runs") from e
    except Missing as e:
        raise Trouble(str(e)) from e
