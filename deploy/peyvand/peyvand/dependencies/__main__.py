"""`python -m peyvand.dependencies sbom|audit|check`: write the bill of materials; renew the advisories; compare.

It runs in a clone: its libraries are among those for development.
"""

import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from base.http_client import HttpClient, HttpError
from peyvand.dependencies.advisories import OLD, OSV, accepted, errors, renewed, stored, write
from peyvand.dependencies.locked import locked
from peyvand.dependencies.sbom import sbom
from peyvand.local_cluster.workspace import ROOT


def main(arguments: list[str]) -> int:
    """Run one of the three verbs; return the exit code."""
    today = datetime.now(UTC).date()
    match arguments:
        case ["sbom"]:
            return _write_sbom()
        case ["audit"]:
            return _renew(today)
        case ["check"]:
            return _check(today)
    print(__doc__, file=sys.stderr)
    return 2


def _write_sbom() -> int:
    file = Path(os.environ.get("PEYVAND_HOME") or ROOT / ".peyvand") / "sbom.json"
    components = locked()
    file.write_text(sbom(components), encoding="utf-8")
    print(f"{len(components)} components: {file}")
    return 0


def _renew(today: date) -> int:
    try:
        with HttpClient(OSV, timeout=30) as client:
            write(renewed((each.package for each in locked() if each.type != "docker"), today, client))
    except HttpError as e:
        print(f"The advisories were not renewed, the stored ones stay: {e}", file=sys.stderr)
        return 1
    return _check(today)


def _check(today: date) -> int:
    known, found = stored(), errors(locked(), stored(), accepted(), today)
    age = (today - known.made).days
    print(f"{len(known.advisories)} advisories, made {known.made} ({age} days ago)")
    if age > OLD or not known.complete:
        print("The list is old or incomplete: renew it with `make audit` where OSV can be reached.")
    for line in found:
        print(f"  ✗ {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
