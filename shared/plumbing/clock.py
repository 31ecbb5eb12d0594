"""Two times: programme time, which development may set, and machine time, which nobody sets."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Moment(msgspec.Struct, frozen=True):
    """Programme time (event time, due dates, tally days) and machine time of the same moment, both UTC."""

    at: datetime
    recorded: datetime


Clock = Callable[[], Moment]


class _Setting(msgspec.Struct, frozen=True):
    at: datetime
    running_since: datetime | None = None  # machine time; none: programme time stands still

    def now(self, machine: datetime) -> datetime:
        return self.at if self.running_since is None else self.at + (machine - self.running_since)


_decode = msgspec.json.Decoder(_Setting).decode


def machine_now() -> datetime:
    """Machine time, UTC."""
    return datetime.now(UTC)


def system_clock() -> Clock:
    """The clock of production: programme time is machine time."""

    def now() -> Moment:
        machine = machine_now()
        return Moment(machine, machine)

    return now


def file_clock(path: Path) -> Clock:
    """The settable clock of development: every process of a run reads the same file; no file means machine time."""
    known: tuple[int, _Setting] | None = None

    def now() -> Moment:
        nonlocal known
        machine = machine_now()
        try:
            changed = path.stat().st_mtime_ns
            if known is None or known[0] != changed:
                known = changed, _decode(path.read_bytes())
        except FileNotFoundError:
            return Moment(machine, machine)
        return Moment(known[1].now(machine), machine)

    return now


def hold_clock(path: Path) -> datetime:
    """Lets programme time stand still where it is; returns when that is. Reading it and setting it would go back."""
    at = file_clock(path)().at
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode(_Setting(at)))
    new.replace(path)
    return at


def set_clock(path: Path, at: datetime, *, running: bool = False) -> None:
    """Sets programme time, standing still or running from there. Raises ValueError where it would go back."""
    machine = machine_now()
    if path.exists() and _decode(path.read_bytes()).now(machine) > at:
        raise ValueError(f"programme time is later than {at.isoformat()} already, and it never goes back")
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode(_Setting(at, machine if running else None)))
    new.replace(path)
