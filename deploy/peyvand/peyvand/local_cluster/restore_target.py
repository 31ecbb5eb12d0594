"""The MongoDB that is restored into: MONGO_URL, else the running one, else the embedded one, started alone."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from peyvand.endpoints import CommandError
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.processes import alive, free_ports, start, stop, wait_until
from peyvand.local_cluster.servers import Mongod, NotInstalled
from peyvand.local_cluster.topology import SERVICES, as_user, read_state
from peyvand.local_cluster.workspace import WorkspaceLocked, current_workspace, development_secrets

START_TIMEOUT, STOP_TIMEOUT = 60.0, 15.0  # seconds


@contextmanager
def restore_target() -> Iterator[str]:
    """Yield its URL, with a user that may write all stores. Raise CommandError."""
    if url := os.environ.get("MONGO_URL"):
        yield url
        return
    workspace = current_workspace()
    state = read_state(workspace)
    if state is not None and alive(state.supervisor):
        # The services have written to these stores, so that the restore refuses them as not empty.
        yield as_user(state.mongo, "admin", development_secrets(workspace, SERVICES).mongo_admin)
        return
    try:
        with workspace.locked():
            workspace.create()
            port = free_ports({"mongod": None})["mongod"]
            password, certificates = (
                development_secrets(workspace, SERVICES).mongo_admin,
                Certificates(workspace.certificates),
            )
            mongod = Mongod(workspace, workspace.data / "mongod", port, certificates, password)
            mongod.prepare()
            log = workspace.logs / "mongod-restore.log"
            process = start(mongod.command(), log, os.environ, parent_death_signal=signal.SIGTERM)
            try:
                wait_until(lambda: process.poll() is not None or mongod.ready(), START_TIMEOUT)
                if process.poll() is not None or not mongod.ready():
                    raise CommandError("MongoDB does not start", f"see {log}")
                yield mongod.url()
            finally:
                stop(process, STOP_TIMEOUT)
    except WorkspaceLocked as e:
        raise CommandError(str(e), "end it first: Ctrl-C where it runs") from e
    except NotInstalled as e:
        raise CommandError(str(e)) from e
