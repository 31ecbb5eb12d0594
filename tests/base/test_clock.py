"""The two times: programme time, which development can set, and machine time."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from base.clock import file_clock, machine_now, set_clock, system_clock

DAY = datetime(2025, 10, 1, 12, tzinfo=UTC)


def test_system_clock_gives_one_time() -> None:
    """In production, programme time is machine time."""
    now = system_clock()()
    assert now.recorded - now.at < timedelta(milliseconds=1) and abs(machine_now() - now.at) < timedelta(seconds=5)


def test_without_a_file_programme_time_is_machine_time(tmp_path: Path) -> None:
    """Also after the file has been removed."""
    path = tmp_path / "clock.json"
    clock = file_clock(path)
    assert abs(clock().at - machine_now()) < timedelta(seconds=5)
    set_clock(path, DAY)
    assert clock().at == DAY
    path.unlink()
    assert abs(clock().at - machine_now()) < timedelta(seconds=5)


def test_stopped_clock_shows_the_same_time_in_every_process(tmp_path: Path) -> None:
    """Machine time is not stopped."""
    path = tmp_path / "clock.json"
    one, other = file_clock(path), file_clock(path)
    set_clock(path, DAY)
    assert one().at == other().at == DAY and abs(one().recorded - machine_now()) < timedelta(seconds=5)
    set_clock(path, DAY + timedelta(days=1))
    os.utime(path, ns=(1, 1))  # as on a file system with coarse times
    assert other().at == DAY + timedelta(days=1)


def test_programme_time_never_goes_back(tmp_path: Path) -> None:
    """Neither stopped nor running."""
    path = tmp_path / "clock.json"
    set_clock(path, DAY)
    with pytest.raises(ValueError, match="never goes back"):
        set_clock(path, DAY - timedelta(seconds=1))
    set_clock(path, DAY, running=True)
    assert file_clock(path)().at >= DAY
    set_clock(path, DAY + timedelta(days=1))
    assert [each.name for each in tmp_path.iterdir()] == ["clock.json"]
