"""A short storm over a whole country: nothing acknowledged is lost, nothing counted twice."""

import subprocess
import sys

import pytest


@pytest.mark.server
def test_a_short_storm_loses_nothing() -> None:
    command = [sys.executable, "-m", "peyvand", "storm", "--seed", "7", "--faults", "10", "--seconds", "30"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.splitlines()[-1]
    assert last.endswith(" acknowledged, 0 lost, 0 twice, recount = ranking") and not last.startswith("0 "), last
