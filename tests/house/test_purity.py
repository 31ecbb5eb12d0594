"""Rules and contracts have no I/O, clock or randomness; importing any module has no effect."""

import json
import subprocess
import sys

import pytest

from tests.house.purity import import_effects, impurities
from tests.house.sources import ROOT, SERVICES, Source, assert_none, code, sources

READS_PACKAGED_FILES = {
    "shared/programme/reference.py",
    "shared/programme/policies.py",
    "shared/programme/work_calendar.py",
}  # data files, once, on first use
COMMANDS = {"shared/contracts/publish.py"}  # run in the development environment
SCRIPTS = {"deploy/setup.py"}  # run, never imported


def test_rules_and_contracts_are_pure() -> None:
    pure = [each for each in sources() if _is_pure(each.path)]
    assert {each.path.split("/")[1] for each in pure} == {"contracts", "programme", *SERVICES}
    found = []
    for source in pure:
        allowed = (" imports csv", " imports pathlib.Path") if source.path in READS_PACKAGED_FILES else ()
        found += [each for each in impurities(source) if not each.endswith(allowed)]
    assert_none(found, "pass time, random values and data as arguments: rules and contracts are pure")


@pytest.mark.parametrize(
    "text",
    [
        "import random",
        "from uuid import uuid4",
        "import time",
        "import os",
        "from pathlib import Path",
        "import logging",
        "import asyncio",
        "def f():\n    return datetime.now()",
        "def f():\n    return date.today()",
        "def f():\n    open('x')",
        "def f():\n    print('x')",
        "def f(s):\n    return hash(s)",
        "async def f():\n    pass",
        "def f():\n    global N\n    N = 1",
    ],
)
def test_impure_code_is_found(text: str) -> None:
    assert impurities(Source("services/market/market/domain/new.py", text))


def test_modules_hold_definitions_only() -> None:
    assert_none(
        [found for each in code() if each.path not in SCRIPTS for found in import_effects(each)],
        "do it in a function: importing a module only defines names",
    )


@pytest.mark.parametrize(
    "text",
    [
        "print('hello')",
        "TABLE = open('table.csv').read()",
        "TABLE = tables.read('table.csv')",
        "app = create_app()",
        "import subprocess\nP = subprocess.Popen(['true'])",
        "from subprocess import Popen\nP = Popen(['true'])",
        "import pymongo\nCLIENT = pymongo.MongoClient('localhost')",
        "import httpx\nCLIENT = httpx.Client()",
        "import threading\nT = threading.Thread(target=print)",
        "from kafka import KafkaProducer\nP = KafkaProducer()",
        "HOME = os.environ['HOME']",
        "for each in (1, 2):\n    N = each",
        "try:\n    import x\nexcept ImportError:\n    x = None",
        "with lock:\n    N = 1",
        "class A:\n    rows = read_rows()",
        "CLIENT: Client = connect('localhost')",
        "if True:\n    N = 1",
    ],
)
def test_effects_of_an_import_are_found(text: str) -> None:
    assert import_effects(Source("shared/kernel/new.py", text))


@pytest.mark.parametrize(
    "text",
    [
        '"""What it is."""\nN = 1',
        "from kernel.x import Row\nROWS = (Row(1), Row(2))",
        "def make(): ...\nTHING = make()",
        "LATER = lambda: connect('localhost')",
        "if __name__ == '__main__':\n    main()",
        "class A:\n    n: int = field(default=0)",
        "from kernel import y\nROWS = (y.Row(1), y.Row(2))",
    ],
)
def test_definitions_are_allowed(text: str) -> None:
    assert import_effects(Source("shared/kernel/new.py", text)) == []


_WATCH = """
import importlib, json, sys
seen = []
events = ("open", "socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.remove", "os.mkdir")
def own(frame):
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    file = frame.f_code.co_filename if frame else "<"
    return "site-packages" not in file and "/lib/python" not in file and not file.startswith("<")
def watch(event, arguments):
    if event in events and own(sys._getframe(1)) and not str(arguments[0]).endswith((".py", ".pyc", "/Asia/Tehran")):
        seen.append(f"{event} {arguments[0]}")
sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
sys.stderr.write(json.dumps(seen))
"""


def _effects_of_importing(modules: list[str], path: str = "") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", _WATCH, *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": path, "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    return list(json.loads(ran.stderr.splitlines()[-1]))


def _is_pure(path: str) -> bool:
    if path.startswith("services/"):
        return "/domain/" in path
    return path.startswith(("shared/contracts/", "shared/programme/")) and path not in COMMANDS


def test_importing_any_module_opens_connects_and_starts_nothing() -> None:
    modules = sorted(each.module for each in code() if each.path not in SCRIPTS)
    assert _effects_of_importing([each for each in modules if not each.endswith("__main__")]) == []


def test_a_module_that_opens_a_file_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("canary")
    (folder / "canary.py").write_text(f"open({str(ROOT / 'pyproject.toml')!r}).close()\n")
    assert _effects_of_importing(["canary"], str(folder)) == [f"open {ROOT / 'pyproject.toml'}"]
