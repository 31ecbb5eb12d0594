"""The ranking on the terminal and as files: what the public API says, nothing computed here."""

from pathlib import Path
from typing import Any

from peyvand.api_client import Client
from peyvand.endpoints import Trouble

TABLES = ("composite", "1", "2", "3")


def table(client: Client, name: str) -> dict[str, Any]:
    """One of the four tables. Raises Trouble."""
    _check(name)
    found: dict[str, Any] = client.get("/v1/ranking", table=name)
    return found


def export(client: Client, folder: Path) -> list[Path]:
    """Writes the four tables as CSV, each whole or not at all; returns the files. Raises Trouble."""
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            content = client.fetch("/v1/ranking.csv", table=name).body
            path = folder / f"ranking-{name}.csv"
            new = path.with_suffix(".csv.new")
            new.write_bytes(content)
            new.replace(path)
            files.append(path)
    except OSError as e:
        raise Trouble(f"{folder} cannot be written: {e.strerror}", "name another folder with --to") from e
    return files


def _check(name: str) -> None:
    if name not in TABLES:
        raise Trouble(f"there is no table {name!r}", f"one of {', '.join(TABLES)}")
