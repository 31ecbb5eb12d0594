"""The archive's files and rules: what is cut off, missing, exchanged or altered; whole transactions; deltas."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp

from peyvand.archive import frames
from peyvand.archive.changes import Documents, UnfitChange, apply, whole
from peyvand.archive.folders import Base, Line, lines, name_of, pack, remove_old
from peyvand.archive.frames import Damaged, FrameLog, archive_key

KEY = archive_key("a secret")
CONTENTS = [b"%d" % n * 40 for n in range(12)]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def log_of(folder: Path, key: Any = KEY, name: str = "log") -> FrameLog:
    return FrameLog(folder / name, name, key)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrameLog:
    """Write a log of several files."""
    monkeypatch.setattr(frames, "FILE_BYTES", 200)
    log = log_of(tmp_path)
    assert log.open() is None
    assert [log.append(each) for each in CONTENTS] == list(range(12))
    assert len(list(log.folder.iterdir())) > 3
    return log


def test_a_log_is_read_from_any_frame_and_goes_on_after_a_restart(written: FrameLog, tmp_path: Path) -> None:
    for first in range(13):
        assert list(log_of(tmp_path).read(first)) == CONTENTS[first:]
    again = log_of(tmp_path)
    assert again.open() == CONTENTS[-1] and again.append(b"more") == 12
    assert list(log_of(tmp_path).read()) == [*CONTENTS, b"more"]


def test_what_a_crash_cut_off_is_removed_wherever_it_ends(written: FrameLog, tmp_path: Path) -> None:
    last = sorted(written.folder.iterdir())[-1]
    whole_file = last.read_bytes()
    in_it = len(CONTENTS) - int(last.name)
    for length in range(len(whole_file)):
        last.write_bytes(whole_file[:length])
        kept = list(log_of(tmp_path).read())
        assert CONTENTS[: len(CONTENTS) - in_it] == kept[: len(CONTENTS) - in_it] and len(kept) < len(CONTENTS)
        again = log_of(tmp_path)
        assert again.open() == kept[-1]
        again.append(b"next")
        assert list(log_of(tmp_path).read()) == [*kept, b"next"]
        for each in written.folder.iterdir():
            if int(each.name) >= int(last.name):
                each.unlink()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _exchange(one: Path, other: Path) -> None:
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda files: files[1].unlink(),
        lambda files: files[0].unlink(),
        lambda files: _flip(files[1]),
        lambda files: _exchange(files[1], files[2]),
        lambda files: files[1].write_bytes(files[1].read_bytes()[:-1]),
        lambda files: shutil.copy(files[1], files[2]),
    ],
    ids=["missing", "first missing", "altered", "exchanged", "cut off", "repeated"],
)
def test_a_damaged_file_is_found(written: FrameLog, tmp_path: Path, damage: Callable[[list[Path]], Any]) -> None:
    damage(sorted(written.folder.iterdir()))
    with pytest.raises(Damaged):
        list(log_of(tmp_path).read())


def test_another_key_or_another_log_is_found(written: FrameLog, tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="key"):
        list(log_of(tmp_path, archive_key("another secret")).read())
    written.folder.rename(tmp_path / "other")
    with pytest.raises(Damaged):
        list(log_of(tmp_path, name="other").read())
    assert not any(CONTENTS[3] in file.read_bytes() for file in (tmp_path / "other").iterdir())


def test_files_before_a_frame_are_removed_and_the_rest_is_read_on(written: FrameLog, tmp_path: Path) -> None:
    written.remove_before(7)
    begins = min(int(each.name) for each in written.folder.iterdir())
    assert 0 < begins <= 7 and list(log_of(tmp_path).read(7)) == CONTENTS[7:]
    with pytest.raises(Damaged):
        list(log_of(tmp_path).read(0))


def raw(document: dict[str, Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document))


def event(operation: str, **more: Any) -> RawBSONDocument:
    return raw({"operationType": operation, "documentKey": {"_id": 1}, "ns": {"coll": "c"}, **more})


def updated(
    fields: dict[str, Any] | None = None, removed: list[str] | None = None, truncated: list[Any] | None = None
) -> RawBSONDocument:
    changes = {"updatedFields": fields or {}, "removedFields": removed or [], "truncatedArrays": truncated or []}
    return event("update", updateDescription=changes)


ONE = bson.encode({"_id": 1})


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        ({"a": 1}, updated({"b": Int64(2)}), {"a": 1, "b": Int64(2)}),
        ({"a": {"b": {"5": 1}}}, updated({"a.b.5": 2, "a.b.c": None}), {"a": {"b": {"5": 2, "c": None}}}),
        ({"a": [1, 2]}, updated({"a.2": 3, "a.0": {"x": 1}}), {"a": [{"x": 1}, 2, 3]}),
        ({"a": [{"b": 1}]}, updated({"a.0.b": 2}), {"a": [{"b": 2}]}),
        ({"a": 1, "b": {"c": 1, "d": 2}}, updated(removed=["a", "b.c"]), {"b": {"d": 2}}),
        ({"a": [1, 2, 3]}, updated({"a.0": 9}, truncated=[{"field": "a", "newSize": 1}]), {"a": [9]}),
    ],
)
def test_a_delta_changes_its_fields(before: dict[str, Any], change: RawBSONDocument, after: dict[str, Any]) -> None:
    documents: Documents = {ONE: {"_id": 1, **before}}
    apply(documents, change, exact=True)
    assert documents == {ONE: {"_id": 1, **after}}


def test_documents_are_inserted_replaced_and_deleted_as_they_are() -> None:
    documents: Documents = {}
    for value in (Int64(1), 1.0, datetime(2026, 1, 1), [None, b"x"]):
        for operation in ("insert", "replace"):
            apply(documents, event(operation, fullDocument={"_id": 1, "a": value}), exact=True)
            assert documents[ONE] == {"_id": 1, "a": value} and type((documents[ONE] or {})["a"]) is type(value)
    apply(documents, event("delete"), exact=True)
    assert documents == {ONE: None}


@pytest.mark.parametrize(
    "change",
    [
        updated({"a.b": 1}),
        updated({"a.7": 1}),
        updated(removed=["x"]),
        updated(truncated=[{"field": "a", "newSize": 9}]),
    ],
)
@pytest.mark.parametrize("before", [None, {"_id": 1, "a": [1]}, {"_id": 1, "a": None}])
def test_a_delta_that_does_not_fit_is_an_error_unless_a_copy_may_be_later(
    change: RawBSONDocument, before: dict[str, Any] | None
) -> None:
    with pytest.raises(UnfitChange):
        apply({ONE: before and dict(before)}, change, exact=True)
    documents: Documents = {ONE: before and dict(before)}
    apply(documents, change, exact=False)
    assert documents == {ONE: before}


def transaction(n: int, of: int, session: int = 1) -> dict[str, Any]:
    return {"_id": {"_data": f"{of}/{session}/{n}"}, "lsid": {"id": session}, "txnNumber": of}


def test_a_transaction_is_complete_once_a_later_token_is_seen() -> None:
    alone = {"_id": {"_data": "0"}}
    events = [alone, transaction(0, 1), transaction(1, 1)]
    assert whole(events, {"_data": "later"}) == (events, ())
    assert whole(events, events[-1]["_id"]) == (events[:1], events[1:])
    assert whole([*events, alone], alone["_id"]) == ([*events, alone], ())
    both = [transaction(0, 1), transaction(0, 1, session=2)]
    assert whole(both, both[-1]["_id"]) == (both[:1], both[1:])
    assert whole(events[1:], events[-1]["_id"]) == ([], events[1:])
    assert whole((), {"_data": "later"}) == ((), ())


def test_old_copies_are_removed_with_the_changes_before_the_others_once_a_newer_one_is_usable(tmp_path: Path) -> None:
    def copy(line: Line, days: int, *, done: bool = True) -> Base:
        base = Base(line, name_of(NOON - timedelta(days=days)))
        base.log.open()
        base.log.append(pack({"follows": line.stream.begin_file(), "collection": ""}))
        if done:
            base.log.append(pack({"collection": "", "consistent": Timestamp(1, 1)}))
        line.stream.append(pack({"token": None}))
        return base

    def left() -> list[list[str]]:
        return [[base.name for base in line.bases()] for line in lines(tmp_path, KEY)]

    def line_of(days: int) -> Line:
        line = Line(tmp_path / name_of(NOON - timedelta(days=days)), KEY)
        line.stream.open()
        return line

    first = line_of(90)
    oldest, older = copy(first, 80), copy(first, 40)
    remove_old(tmp_path, KEY, timedelta(days=30), NOON)
    assert left() == [[older.name]], "the newest one stays, however old it is"
    with pytest.raises(Damaged):
        list(first.stream.read(0))
    assert len(list(first.stream.read(older.first_change()))) == 1 and not oldest.log.folder.exists()
    second = line_of(20)
    unfinished = copy(second, 19, done=False)
    remove_old(tmp_path, KEY, timedelta(days=30), NOON)
    assert left() == [[older.name], [unfinished.name]]
    newest = copy(second, 3)
    remove_old(tmp_path, KEY, timedelta(days=30), NOON)
    assert left() == [[unfinished.name, newest.name]], "the line without copies is gone"
