"""`peyvand backup` and `peyvand restore`: what is written where, and the handling of the keys."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peyvand.commands import main
from peyvand.store_backup import Manifest


def test_a_backup_prints_where_the_keys_are_and_that_they_must_be_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[dict[str, str]] = []

    def write(url: str, folder: Path, topics: dict[str, str], *_: Any, **__: Any) -> Manifest:
        written.append(topics)
        return Manifest(1, "0", datetime.now(UTC), {})

    monkeypatch.setattr("peyvand.store_backup.backup", write)
    monkeypatch.setattr("peyvand.commands.status.log_ends", lambda _: {})
    for name in ("PUBLIC_URL", "KAFKA", "MONGO", "MONGO_KEYS"):
        monkeypatch.setenv(f"PEYVAND_{name}", "http://127.0.0.1:9")
    assert main.main(["backup", str(tmp_path / "b")]) == 0
    output = capsys.readouterr().out
    assert str(tmp_path / "b" / "registration_keys") in output and "PEYVAND_MASTER_KEY" in output
    assert written[0] == {
        "registration": "peyvand.registration",
        "screening": "peyvand.screening",
        "market": "peyvand.market",
        "reporting": "",
    } and written[1] == {"registration_keys": ""}
    assert main.main(["restore", str(tmp_path / "none")]) == 1
    assert "--without-keys" in capsys.readouterr().err
