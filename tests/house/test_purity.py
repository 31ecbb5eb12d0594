"""The rules and the words have no input, output, clock or chance, and importing anything is free."""

import json
import subprocess
import sys

import pytest

from tests.house.purity import happenings, impurities
from tests.house.sources import HOME, SERVICES, Source, in_use, sources

READS_ITS_TABLES = {"shared/programme/reference.py", "shared/programme/policies.py"}  # packaged, read once
WRITES_PUBLISHED = {"shared/contracts/publish.py"}  # a command of the development environment
SCRIPTS = {"deploy/setup.py"}  # run, never imported


def test_the_rules_and_the_words_are_pure() -> None:
    pure = [each for each in sources() if _is_pure(each.where)]
    assert {each.where.split("/")[1] for each in pure} == {"contracts", "programme", *SERVICES}
    for source in pure:
        found = impurities(source)
        if source.where in READS_ITS_TABLES:
            found = [each for each in found if not each.endswith((" imports csv", " imports pathlib.Path"))]
        assert found == []


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
def test_the_guard_of_purity_bites(text: str) -> None:
    assert impurities(Source("services/market/market/domain/new.py", text))


def test_nothing_but_definitions_at_module_level() -> None:
    assert [found for each in in_use() if each.where not in SCRIPTS for found in happenings(each)] == []


@pytest.mark.parametrize(
    "text",
    [
        "print('hello')",
        "TABLE = open('table.csv').read()",
        "app = create_app()",
        "HOME = os.environ['HOME']",
        "for each in (1, 2):\n    N = each",
        "try:\n    import x\nexcept ImportError:\n    x = None",
        "with lock:\n    N = 1",
        "class A:\n    rows = read_rows()",
        "CLIENT: Client = connect('localhost')",
        "if True:\n    N = 1",
    ],
)
def test_the_guard_of_imports_bites(text: str) -> None:
    assert happenings(Source("shared/kernel/new.py", text))


@pytest.mark.parametrize(
    "text",
    [
        '"""What it is."""\nN = 1',
        "from x import Row\nROWS = (Row(1), Row(2))",
        "def make(): ...\nTHING = make()",
        "LATER = lambda: connect('localhost')",
        "if __name__ == '__main__':\n    main()",
        "class A:\n    n: int = field(default=0)",
    ],
)
def test_the_guard_of_imports_allows(text: str) -> None:
    assert happenings(Source("shared/kernel/new.py", text)) == []


_WATCH = """
import importlib, json, sys
seen = []
events = ("open", "socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.remove", "os.mkdir")
def ours(frame):
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    file = frame.f_code.co_filename if frame else "<"
    return "site-packages" not in file and "/lib/python" not in file and not file.startswith("<")
def watch(event, arguments):
    if event in events and ours(sys._getframe(1)) and not str(arguments[0]).endswith((".py", ".pyc", "/Asia/Tehran")):
        seen.append(f"{event} {arguments[0]}")
sys.addaudithook(watch)
for module in sys.argv[1:]:
    importlib.import_module(module)
sys.stderr.write(json.dumps(seen))
"""


def _watched(modules: list[str], path: str = "") -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", _WATCH, *modules],
        capture_output=True,
        text=True,
        cwd=HOME,
        env={"PYTHONPATH": path, "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
    return list(json.loads(ran.stderr.splitlines()[-1]))


def _is_pure(where: str) -> bool:
    if where.startswith("services/"):
        return "/domain/" in where
    return where.startswith(("shared/contracts/", "shared/programme/")) and where not in WRITES_PUBLISHED


def _module(where: str) -> str:
    inner = where.removeprefix("shared/").removeprefix("deploy/peyvand/")
    if inner.startswith("services/"):
        inner = inner.split("/", 2)[2]
    return inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_importing_every_module_opens_connects_and_starts_nothing() -> None:
    modules = sorted(_module(each.where) for each in in_use() if each.where not in SCRIPTS)
    assert _watched([each for each in modules if not each.endswith("__main__")]) == []


def test_a_module_that_opens_a_file_is_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("canary")
    (folder / "canary.py").write_text(f"open({str(HOME / 'pyproject.toml')!r}).close()\n")
    assert _watched(["canary"], str(folder)) == [f"open {HOME / 'pyproject.toml'}"]
