"""What importing a package loads: no Kafka client in the API, no web framework in security."""

import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

KAFKA = ("aiokafka", "faust", "kafka", "mode", "kernel.kafka", "kernel.roles")
WEB = ("fastapi", "starlette", "uvicorn", "jinja2")
SHARED = Path(__file__).parents[2] / "shared"


def modules_of(package: str) -> list[str]:
    """Return the names of all modules of a shared package."""
    files = sorted((SHARED / package).rglob("*.py"))
    return [".".join(file.relative_to(SHARED).with_suffix("").parts).removesuffix(".__init__") for file in files]


def loaded_by(modules: Collection[str], unwanted: Collection[str]) -> list[str]:
    """Return which of the unwanted modules a fresh interpreter has loaded after importing these."""
    script = f"import sys, {', '.join(modules)}; print(*(name for name in {tuple(unwanted)} if name in sys.modules))"
    command = [sys.executable, "-W", "ignore", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("package", "unwanted"),
    [("web", KAFKA), ("security", (*KAFKA, *WEB)), ("base", (*KAFKA, *WEB)), ("observability", (*KAFKA, *WEB))],
    ids=["web", "security", "base", "observability"],
)
def test_package_does_not_load(package: str, unwanted: Collection[str]) -> None:
    modules = modules_of(package)

    assert package in modules
    assert not loaded_by(modules, unwanted)


def test_loaded_modules_are_found() -> None:
    """The canary: a module that loads a Kafka client is noticed."""
    assert {"kernel.kafka", "aiokafka", "faust"} <= set(loaded_by(["kernel.kafka.consumer_group"], KAFKA))
    assert {"fastapi", "starlette"} <= set(loaded_by(["web.app"], WEB))
