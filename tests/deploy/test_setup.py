"""Set-up carries out each step completely or not at all, once, and reports missing prerequisites."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from peyvand.local_cluster.workspace import ROOT

HOSTS = re.compile(r"https?://|git\+|file:|registry\.|/root/|/home/|/work/")


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module that works in a temporary folder."""
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "deploy" / "setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HOME", tmp_path / "home")
    (tmp_path / "home").mkdir()
    return module


def test_a_step_is_repeated_only_if_its_inputs_change(setup: ModuleType, tmp_path: Path) -> None:
    result, pom = tmp_path / "home" / "kafka", tmp_path / "pom.xml"
    pom.write_text("4.3.1")
    assert not setup.done("Kafka", result, pom)
    with setup.step("Kafka", pom):
        result.mkdir()
    assert setup.done("Kafka", result, pom)
    pom.write_text("4.3.2")
    assert not setup.done("Kafka", result, pom), "its input changed"
    pom.write_text("4.3.1")
    result.rmdir()
    assert not setup.done("Kafka", result, pom), "its result is gone"


def test_a_failed_step_has_no_stamp(setup: ModuleType, tmp_path: Path) -> None:
    pom = tmp_path / "pom.xml"
    pom.touch()
    with pytest.raises(OSError, match="no network"), setup.step("Kafka", pom):
        raise OSError("no network")
    assert not setup.stamp("Kafka").exists()


def test_without_maven_no_step_begins(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_BOOTSTRAP", "KAFKA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    with pytest.raises(setup.SetupError, match="sudo apt-get install -y maven"):
        setup.install(tests=False)
    assert list(setup.HOME.iterdir()) == []


def test_an_old_python_is_reported(setup: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "PYTHON", (99, 0))
    with pytest.raises(setup.SetupError, match=r"Python 99\.0 or newer is needed"):
        setup.check_machine()


@pytest.mark.parametrize("name", ["requirements", "embedded/uv", "embedded/jdk", "embedded/mongod", "embedded/node"])
def test_python_locks_contain_no_address(name: str) -> None:
    lock = (ROOT / (f"deploy/{name}.lock" if "/" in name else f"{name}.lock")).read_text()
    assert not HOSTS.search(lock)
    pins = [line for line in lock.splitlines() if not line.startswith(" ")]
    assert pins and all("==" in line for line in pins)
    assert lock.count("--hash=sha256:") >= len(pins)


def test_the_npm_lock_contains_no_registry() -> None:
    lock = (ROOT / "deploy/embedded/package-lock.json").read_text()
    assert '"resolved"' not in lock and '"integrity"' in lock


def test_an_address_in_a_lock_is_detected() -> None:
    assert HOSTS.search("--index-url https://example.org/simple") and HOSTS.search("-e file:///work/main")


def test_locks_of_wheels_begin_with_the_pinned_version(setup: ModuleType) -> None:
    for name, pinned in setup.WHEELS.items():
        assert (ROOT / "deploy" / "embedded" / f"{name}.lock").read_text().startswith(pinned)


def test_a_jar_that_is_not_the_locked_one_is_refused(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jar = tmp_path / "jars" / "a-1.jar"
    jar.parent.mkdir()
    jar.write_bytes(b"right")
    monkeypatch.setattr(setup, "KAFKA_LOCK", tmp_path / "kafka.lock")
    (tmp_path / "kafka.lock").write_text(f"org.example:a:1 {setup.digest_of(jar)}\n")
    setup.check_jars(jar.parent)
    jar.write_bytes(b"wrong")
    with pytest.raises(setup.SetupError, match=r"a-1\.jar"):
        setup.check_jars(jar.parent)
    jar.unlink()
    with pytest.raises(setup.SetupError, match=r"a-1\.jar"):
        setup.check_jars(jar.parent)
    (jar.parent / "b-1.jar").touch()
    with pytest.raises(setup.SetupError, match=r"b-1\.jar"):
        setup.check_jars(jar.parent)
