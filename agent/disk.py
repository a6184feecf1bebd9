"""The few files that an agent keeps, behind an interface of six calls.

In:   names without folders, bytes.
Out:  when `append` or `replace` returns, the bytes survive a kill and a power cut.
Rules:
  1. A failed append leaves the file as it was before.
  2. A replaced file is the old one or the new one, never a mixture.
Not here: what the bytes mean (`outbox.py`, `state.py`).
Source: SQLite's and LevelDB's write-ahead logs (write, fsync file, fsync folder).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Disk(Protocol):
    """Durable files. Calls block: shells make them in a thread."""

    def read(self, name: str) -> bytes | None:
        """The file's bytes, or None if there is none."""
        ...

    def read_part(self, name: str, start: int, length: int) -> bytes:
        """At most `length` bytes from `start` on."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file, durably."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Give a file new contents, durably and at once."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        ...

    def names(self) -> list[str]:
        """All files' names."""
        ...


class FolderDisk:
    """Files in one folder (0700) of the host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def read_part(self, name: str, start: int, length: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def append(self, name: str, data: bytes) -> None:
        path = self._folder / name
        is_new = not path.exists()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size
            try:
                _write_all(handle, data)
                os.fsync(handle)
            except OSError:
                # Half a record in the middle would hide all that follow it.
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        if is_new:
            self._sync_folder()

    def replace(self, name: str, data: bytes) -> None:
        path = self._folder / name
        fresh = self._folder / f".{name}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.replace(path)
        self._sync_folder()

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.iterdir() if path.is_file())

    def _sync_folder(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class MemoryDisk:
    """The same without a folder: for worlds in one process; it outlives the agent that uses it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def read_part(self, name: str, start: int, length: int) -> bytes:
        return self.files[name][start : start + length]

    def append(self, name: str, data: bytes) -> None:
        self.files[name] = self.files.get(name, b"") + data

    def replace(self, name: str, data: bytes) -> None:
        self.files[name] = bytes(data)

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def names(self) -> list[str]:
        return sorted(self.files)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


class Hop(Protocol):
    """Where blocking calls are made; injected, so that a world of one seed has no threads."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


async def in_thread(call: Callable[[], T], /) -> T:
    """Make the call in a thread; once begun it runs to its end, even if the caller is cancelled."""
    return await trio.to_thread.run_sync(call)


async def inline(call: Callable[[], T], /) -> T:
    """Make the call here and now."""
    await trio.lowlevel.checkpoint()
    return call()
