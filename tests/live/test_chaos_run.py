"""A short run of `peyvand chaos`: nothing acknowledged is lost, nothing counted twice."""

import subprocess
import sys

import pytest


@pytest.mark.server
def test_a_short_run_loses_nothing() -> None:
    command = [sys.executable, "-m", "peyvand", "chaos", "--seed", "7", "--faults", "10", "--seconds", "30"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    last = result.stdout.splitlines()[-1]
    assert last.endswith(" acknowledged, 0 lost, 0 twice, recount = ranking") and not last.startswith("0 "), last
