"""A log of encrypted frames, in append-only files: a missing, exchanged or altered frame is found.

A frame is its length, a random nonce and AES-GCM ciphertext. It authenticates the name of the log, its own number and
the tag of the frame before it. A file is named after the number of its first frame and begins with the tag before it.
"""

import hmac
import os
import struct
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"PVA1"
LENGTH, NUMBER = ">I", ">Q"
NONCE, TAG = 12, 16  # bytes
HEAD = len(MAGIC) + TAG
FILE_BYTES = 64 << 20  # after which the next frame begins a new file


class Damaged(Exception):
    """A frame is missing, altered or of another log, or the key is another one."""


def archive_key(secret: str) -> AESGCM:
    """Return the key that encrypts an archive."""
    return AESGCM(hmac.digest(secret.encode(), b"peyvand archive", "sha256"))


class FrameLog:
    """One log in a folder. `open` before `append`; reading needs neither."""

    def __init__(self, folder: Path, name: str, key: AESGCM) -> None:
        self.folder, self.name, self._key = folder, name.encode(), key
        self.next = 0  # the number of the next frame
        self._tag = bytes(TAG)  # of the frame before it
        self._path: Path | None = None  # of the file to append to; None begins a new one
        self._lock = threading.Lock()

    def open(self) -> bytes | None:
        """Prepare to append: remove a frame that a crash cut off; return the content of the last frame, if any.

        Raise Damaged, OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        while files := self._files():
            number, path = files[-1]
            last, end = None, HEAD
            with path.open("r+b") as f:
                tag = _tag_before(f)
                if tag is not None:
                    self.next, self._tag = number, tag
                    while (frame := _next_frame(f)) is not None:
                        last, before, end = frame, self._tag, f.seek(0, os.SEEK_CUR)
                        self.next, self._tag = self.next + 1, frame[-TAG:]
                    f.truncate(end)
                    os.fsync(f.fileno())
            if last is not None:
                self._path = path
                return self._decrypted(last, self.next - 1, before, path)
            path.unlink()  # it has no frame
        return None

    def append(self, content: bytes) -> int:
        """Store a frame durably; return its number. After an OSError `open` is due. Raise OSError."""
        with self._lock:
            if self._path is None or self._path.stat().st_size > FILE_BYTES:
                self._path = self.folder / f"{self.next:012}"
                begins = MAGIC + self._tag
            else:
                begins = b""
            nonce = os.urandom(NONCE)
            frame = nonce + self._key.encrypt(nonce, content, self._authenticated(self.next, self._tag))
            with self._path.open("ab") as f:
                f.write(begins + struct.pack(LENGTH, len(frame)) + frame)
                f.flush()
                os.fsync(f.fileno())
            if begins:
                sync_folder(self.folder)
            self.next, self._tag = self.next + 1, frame[-TAG:]
            return self.next - 1

    def begin_file(self) -> int:
        """Have the next frame begin a new file; return its number."""
        with self._lock:
            self._path = None
            return self.next

    def remove_before(self, number: int) -> None:
        """Remove the files whose frames are all before this one."""
        files = self._files()
        for (_, path), (following, _) in pairwise(files):
            if following <= number:
                path.unlink()

    def read(self, first: int = 0) -> Iterator[bytes]:
        """Yield the content of each frame from number `first` on. Raise Damaged, OSError."""
        files = [each for n, each in enumerate(self._files()) if not self._ends_before(n, first)]
        expected: tuple[int, bytes] | None = None
        for number, path in files:
            with path.open("rb") as f:
                tag = _tag_before(f)
                if tag is None and (number, path) == files[-1]:
                    return  # a crash cut its beginning off
                if tag is None or (expected and expected != (number, tag)) or (not expected and number > first):
                    raise Damaged(f"{path}: what comes before it is missing or is another file")
                while (frame := _next_frame(f)) is not None:
                    content = self._decrypted(frame, number, tag, path)
                    number, tag = number + 1, frame[-TAG:]
                    if number > first:
                        yield content
                if f.read(1) and path != files[-1][1]:
                    raise Damaged(f"{path} is cut off")
            expected = number, tag

    def _ends_before(self, n: int, first: int) -> bool:
        files = self._files()
        return n + 1 < len(files) and files[n + 1][0] <= first

    def _files(self) -> list[tuple[int, Path]]:
        return sorted((int(path.name), path) for path in self.folder.glob("[0-9]" * 12))

    def _authenticated(self, number: int, tag: bytes) -> bytes:
        return b"%b\0%b%b" % (self.name, struct.pack(NUMBER, number), tag)

    def _decrypted(self, frame: bytes, number: int, tag: bytes, path: Path) -> bytes:
        try:
            return self._key.decrypt(frame[:NONCE], frame[NONCE:], self._authenticated(number, tag))
        except InvalidTag as e:
            raise Damaged(f"{path}: frame {number} is damaged or of another log, or the key is another one") from e


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tag_before(f: BinaryIO) -> bytes | None:
    """Return the tag that a file begins with; None if the file ends before."""
    head = f.read(HEAD)
    return head[len(MAGIC) :] if len(head) == HEAD and head.startswith(MAGIC) else None


def _next_frame(f: BinaryIO) -> bytes | None:
    """Return the next frame, and stay before it if it is not complete."""
    start, length = f.seek(0, os.SEEK_CUR), f.read(4)
    if len(length) == 4:
        (expected,) = struct.unpack(LENGTH, length)
        frame = f.read(expected)
        if len(frame) == expected > NONCE + TAG:
            return frame
    f.seek(start)
    return None
