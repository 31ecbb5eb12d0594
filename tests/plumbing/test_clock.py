"""Programme time is set by one file, runs or stands still, and never goes back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plumbing.clock import file_clock, hold_clock, set_clock, system_clock

SET = datetime(2026, 3, 21, 5, 30, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "clock.json"


def test_without_a_file_programme_time_is_machine_time(file: Path) -> None:
    for clock in (system_clock(), file_clock(file)):
        moment = clock()
        assert moment.at == moment.recorded


def test_every_process_reads_what_was_set(file: Path) -> None:
    clock = file_clock(file)
    set_clock(file, SET)
    assert clock().at == SET == clock().at
    set_clock(file, SET + timedelta(days=6))
    assert clock().at == SET + timedelta(days=6)
    assert abs(clock().recorded - datetime.now(UTC)) < timedelta(seconds=5), "machine time nobody sets"


def test_it_never_goes_back(file: Path) -> None:
    set_clock(file, SET)
    with pytest.raises(ValueError, match="never goes back"):
        set_clock(file, SET - timedelta(microseconds=1))
    assert file_clock(file)().at == SET


def test_it_runs_from_where_it_was_set(file: Path) -> None:
    set_clock(file, SET, running=True)
    clock = file_clock(file)
    first, second = clock(), clock()
    assert SET < first.at < second.at
    assert second.at - first.at == second.recorded - first.recorded


def test_a_running_clock_is_held_where_it_is(file: Path) -> None:
    set_clock(file, SET, running=True)
    held = hold_clock(file)
    assert held > SET
    assert file_clock(file)().at == held == file_clock(file)().at
    set_clock(file, held, running=True)
