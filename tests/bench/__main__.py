"""`python -m tests.bench NAME FILE [--quick]`: run one benchmark and write its results, for `peyvand bench`."""

import asyncio
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import msgspec
import uvloop

from peyvand.local_cluster.workspace import current_workspace


def main(arguments: list[str]) -> int:
    """Run the benchmark in a temporary folder, on the disk that a cluster would use."""
    name, to = arguments[:2]
    quick = "--quick" in arguments
    with tempfile.TemporaryDirectory(
        prefix="bench-", dir=current_workspace().installation, ignore_cleanup_errors=True
    ) as folder:
        measured = uvloop.run(import_module(f"tests.bench.{name}").run(Path(folder), quick))
    Path(to).write_bytes(msgspec.json.encode(measured))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
