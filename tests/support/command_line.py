"""The operator's command in tests: run a verb with --json in the workspace of a running system."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from peyvand.commands import main
from tests.support.system import RunningSystem

Peyvand = Callable[..., tuple[int, Any]]


def command_line(system: RunningSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyvand:
    """Return a function that runs a verb and returns its exit code and output; of `events` a list of lines."""
    monkeypatch.setenv("PEYVAND_RUN", str(system.workspace.run))
    for name in ("PEYVAND_TOKEN", "MONGO_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, Any]:
        code = main.main([*arguments, "--json"])
        output = capsys.readouterr().out
        if arguments[0] == "events":
            return code, [json.loads(line) for line in output.splitlines()]
        return code, json.loads(output)

    return run


def is_quiescent(peyvand: Peyvand) -> bool:
    """Return whether the status is healthy, without lag and pending events."""
    code, found = peyvand("status")
    return code == 0 and all(each["lag"] == 0 and each["pending"] == 0 for each in found["services"])
