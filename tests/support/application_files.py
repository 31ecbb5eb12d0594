"""CSV files of synthetic applications, for `peyvand applications import`."""

from collections.abc import Iterable
from pathlib import Path

from peyvand.commands.applications import COLUMNS

ROW = "{},1365-02-11,زهرا,نمونه,female,09123456789,IR-20,2001,JF001,independent,1404-1"


def application_file(path: Path, national_ids: Iterable[str]) -> Path:
    """Write an application per national ID, all of Semnan; return the path."""
    path.write_text("\n".join([",".join(COLUMNS), *map(ROW.format, national_ids)]) + "\n", "utf-8")
    return path
