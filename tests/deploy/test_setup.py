"""Set-up does each step whole or not at all, once, and says plainly what this machine lacks."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from peyvand.local_cluster.workspace import ROOT

HOSTS = re.compile(r"https?://|git\+|file:|registry\.|/root/|/home/|/work/")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, as a module that works in a folder of its own."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "deploy" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HOME", tmp_path / "home")
    (tmp_path / "home").mkdir()
    return module


def test_what_is_done_is_not_done_again_until_its_inputs_change(setup: ModuleType, tmp_path: Path) -> None:
    made, wanted = tmp_path / "home" / "kafka", tmp_path / "pom.xml"
    wanted.write_text("4.3.1")
    assert not setup.done("Kafka", made, wanted)
    with setup.step("Kafka", wanted):
        made.mkdir()
    assert setup.done("Kafka", made, wanted)
    wanted.write_text("4.3.2")
    assert not setup.done("Kafka", made, wanted), "its input changed"
    wanted.write_text("4.3.1")
    made.rmdir()
    assert not setup.done("Kafka", made, wanted), "what it made is gone"


def test_a_step_that_fails_is_not_stamped(setup: ModuleType, tmp_path: Path) -> None:
    wanted = tmp_path / "pom.xml"
    wanted.touch()
    with pytest.raises(OSError, match="no network"), setup.step("Kafka", wanted):
        raise OSError("no network")
    assert not setup.stamp("Kafka").exists()


def test_without_maven_nothing_is_begun(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP", "KAFKA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.Trouble, match="sudo apt-get install -y maven"):
        setup.install(tests=False)
    assert list(setup.HOME.iterdir()) == []


def test_an_old_python_is_told(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "PYTHON", (99, 0))
    with pytest.raises(setup.Trouble, match=r"Python 99\.0 or newer is needed"):
        setup.check_machine()


@pytest.mark.parametrize("name", ["requirements", "embedded/uv", "embedded/jdk", "embedded/mongod", "embedded/node"])
def test_python_locks_name_no_address(name: str) -> None:
    lock = (ROOT / (f"deploy/{name}.lock" if "/" in name else f"{name}.lock")).read_text()
    assert not HOSTS.search(lock)
    pins = [line for line in lock.splitlines() if not line.startswith(" ")]
    assert pins and all("==" in line for line in pins)
    assert lock.count("--hash=sha256:") >= len(pins)


def test_the_npm_lock_names_no_registry() -> None:
    lock = (ROOT / "deploy/embedded/package-lock.json").read_text()
    assert '"resolved"' not in lock and '"integrity"' in lock


def test_the_guard_against_addresses_bites() -> None:
    assert HOSTS.search("--index-url https://example.org/simple") and HOSTS.search("-e file:///work/main")


def test_the_lock_was_made_from_what_is_pinned(setup: ModuleType) -> None:
    for name, pinned in setup.WHEELS.items():
        assert (ROOT / "deploy" / "embedded" / f"{name}.lock").read_text().startswith(pinned)
