"""`peyvand-contracts` stands alone: it needs msgspec only, and its wheel holds the whole package."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import contracts

FOLDER = Path(contracts.__file__).parent
MODULES = sorted(
    f"contracts.{file.relative_to(FOLDER).with_suffix('').as_posix().replace('/', '.')}".removesuffix(".__init__")
    for file in FOLDER.rglob("*.py")
)
ALLOWED = {"contracts", "msgspec", "typing_extensions"}  # msgspec uses typing_extensions where it is installed
PROBE = """
import importlib, sys
before = set(sys.modules)
sys.path[:0] = [{path!r}]
for name in {modules!r}:
    importlib.import_module(name)
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - set(sys.stdlib_module_names)))
print(importlib.import_module("contracts").__file__)
"""


def third_party(modules: list[str], path: Path = FOLDER.parent) -> tuple[set[str], Path]:
    """Import modules in a fresh interpreter; return the packages that this loads, and where `contracts` comes from."""
    run = [sys.executable, "-I", "-c", PROBE.format(modules=modules, path=str(path))]
    loaded, where = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    return set(loaded.split()), Path(where)


def test_importing_all_of_contracts_loads_msgspec_and_nothing_else() -> None:
    assert {"contracts.events", "contracts.publish", "contracts.topics"} <= set(MODULES)
    loaded, _ = third_party(MODULES)
    assert {"contracts", "msgspec"} <= loaded <= ALLOWED


@pytest.mark.parametrize("module", ["yaml", "programme.reference"])
def test_another_module_is_noticed(module: str) -> None:
    assert module.partition(".")[0] in third_party([module])[0] - ALLOWED


def test_the_distribution_requires_msgspec_only() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "peyvand-contracts"
    assert [each.partition(">")[0] for each in project["dependencies"]] == ["msgspec"]
    shared = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "peyvand-contracts" in shared["dependencies"]


def test_the_wheel_holds_the_whole_package_and_imports(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=FOLDER, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "installed")
    files = (*FOLDER.rglob("*.py"), *FOLDER.rglob("published/**/*.*"), FOLDER / "py.typed")
    assert packed == {file.relative_to(FOLDER.parent).as_posix() for file in files if file.is_file()}
    loaded, where = third_party(MODULES, tmp_path / "installed")
    assert {"contracts", "msgspec"} <= loaded <= ALLOWED and where.is_relative_to(tmp_path)
