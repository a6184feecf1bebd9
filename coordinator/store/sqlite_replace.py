"""Another database takes the place of one that is there: the old one is moved aside, never lost.

A database in WAL mode is up to three files, which no file system renames at once. So a note beside
it (`NAME.replacing`) says what is going on while they move; a store with such a note does not open,
and the next `replace` goes on where the last one was broken off.
Rules:
  1. The caller owns the file (`lock`): no coordinator has it open.
  2. Nothing is deleted: old files keep their bytes under another name, together.
  3. After a crash at any point the old rows or the new ones are there under the name, or the note.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from coordinator.store.interface import StoreError
from coordinator.store.sqlite_connection import sync_folder
from coordinator.store.sqlite_copy import sync_file

#: What SQLite keeps beside a file, the file itself last: while it is there, so is the database.
PARTS: Final = ("-wal", "-shm", "")
_NOTE: Final = ".replacing"


class _Note(msgspec.Struct, frozen=True):
    #: Name that the old files get.
    aside: str


def replace(path: Path, prepared: Path) -> Path | None:
    """Put `prepared` in the place of `path`.

    Args:
        path: Where the database is wanted.
        prepared: A closed database beside it, all of it in its one file, durable.

    Returns:
        Where the old database lies now; None if there was none.

    Raises:
        StoreError: a file cannot be moved.
    """
    try:
        aside = _begin(path)
        for part in PARTS:
            old = path.with_name(path.name + part)
            if old.exists():
                old.rename(aside.with_name(aside.name + part))
        sync_folder(path.parent)
        prepared.rename(path)
        sync_folder(path.parent)
        _note_of(path).unlink()
        sync_folder(path.parent)
    except OSError as error:
        msg = f"cannot replace {path}: {error}"
        raise StoreError(msg) from error
    return aside if aside.exists() else None


def _begin(path: Path) -> Path:
    """Choose a name for the old files and note it; one that was noted before is kept.

    The noted name is free for the database itself unless that was moved already: what stands under
    the wanted name then is the new one, and moving it needs a name of its own.
    """
    noted = _noted(path)
    aside = noted if noted is not None and not noted.exists() else _free_name(path)
    note = _note_of(path)
    fresh = note.with_name(note.name + ".new")
    fresh.write_bytes(msgspec.json.encode(_Note(aside.name)))
    sync_file(fresh)
    fresh.rename(note)
    sync_folder(path.parent)
    return aside


def _free_name(path: Path) -> Path:
    number = 1
    while True:
        name = f"{path.name}.replaced-{number}"
        if not any(path.with_name(name + part).exists() for part in PARTS):
            return path.with_name(name)
        number += 1


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + _NOTE)


def _noted(path: Path) -> Path | None:
    try:
        raw = _note_of(path).read_bytes()
    except FileNotFoundError:
        return None
    return path.with_name(msgspec.json.decode(raw, type=_Note).aside)


def require_whole(path: Path) -> None:
    """Refuse a database that is being replaced.

    Raises:
        StoreError: a replacement was broken off; the text says where the old files are.
    """
    if _note_of(path).exists():
        aside = _noted(path)
        where = f"the database of before is {aside} or still in its place" if aside else ""
        msg = f"a restore of {path} was broken off: run it again ({where})"
        raise StoreError(msg)
