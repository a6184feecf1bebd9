"""Backups: the committed rows in a folder of their own, made while the house runs.

A backup is a folder: `coordinator.db` (every committed row, the house's keys among them),
`manifest.json` (what it is), and `blobs/` if they were asked for. Without them, what is lost with
the blobs is results above 4 KiB an array that nobody fetched yet, for a day and the window.
Rules:
  1. A backup is there as a whole or not at all: written under another name, synced, renamed.
  2. Nothing that exists is overwritten.
  3. Only its owner may read it. Whoever has it can sign as this coordinator: keep it as safe.
Not here: when one is made (`backups`), how one is put back (`restore`).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from coordinator.clock import iso_seconds
from coordinator.limits import KIB, MIB, READ_ROWS_MAX
from coordinator.store.interface import Reader, StoreError
from coordinator.store.schema import SCHEMA_VERSION
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_connection import sync_folder
from coordinator.store.sqlite_copy import sync_file

DATABASE: Final = "coordinator.db"
MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs"
#: In the names of folders that are not whole yet.
PARTIAL: Final = ".partial-"
FORMAT: Final = 1
#: What is copied at a time.
COPY_BYTES: Final = MIB
#: A manifest is some hundred bytes: more is something else.
_MANIFEST_BYTES_MAX: Final = 64 * KIB
#: How many backups a refusal names: the last ones by name, which are the newest of a schedule.
_NAMED_MAX: Final = 10

Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class BackupError(StoreError):
    """A backup cannot be made, or is not what it should be; the text says which and why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is, in `manifest.json`."""

    format: int = FORMAT
    #: The program that made it.
    program: str
    schema: int
    #: When: Unix ms, and the same for people.
    made_ms: int
    made: str
    #: Of `coordinator.db`.
    sha256: Hash
    size: int
    #: Number of jobs by state.
    jobs: dict[str, int]
    #: Number and link of the last batch of the ledger; 0 and "" before the first.
    ledger_batch: int
    ledger_link: str
    receipt_batch: int
    #: Rows of blobs; how many of their files are in the backup, and how many were gone already.
    blobs: int
    blobs_copied: int
    blobs_missing: int


# ---- making one -------------------------------------------------------------------------------
def make_backup(
    db: Path, target: Path, *, now_ms: int, program: str, blobs: Path | None = None
) -> Manifest:
    """Back a database up, also while a coordinator has it open.

    Args:
        db: The database.
        target: A new folder.
        now_ms: Unix ms.
        program: This program's version.
        blobs: The folder of blobs, if they shall be in it.

    Raises:
        BackupError: the target exists, or cannot be written.
        StoreError: the database cannot be read, or another version of this program wrote it.
    """
    if target.exists():
        msg = f"{target} exists; a backup overwrites nothing"
        raise BackupError(msg)
    if not db.exists():
        msg = f"there is no database {db}"
        raise BackupError(msg)
    try:
        with _growing(target) as folder:
            _copy_rows(db, folder / DATABASE)
            manifest = _describe(folder, now_ms, program, blobs)
            _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    except OSError as error:
        msg = f"cannot write the backup {target}: {error}"
        raise BackupError(msg) from error
    return manifest


def _copy_rows(db: Path, target: Path) -> None:
    source = open_sqlite(db, is_readonly=True)
    try:
        source.backup(target)
    finally:
        source.close()


def partial_of(target: Path) -> str:
    """How the names of folders begin that are to become `target`; a killed process leaves one."""
    return f".{target.name}{PARTIAL}"


@contextmanager
def _growing(target: Path) -> Iterator[Path]:
    """A folder under another name, which becomes `target` if all goes well."""
    if not target.parent.is_dir():
        msg = f"there is no folder {target.parent}"
        raise BackupError(msg)
    folder = Path(tempfile.mkdtemp(prefix=partial_of(target), dir=target.parent))
    try:
        yield folder
        for each in sorted(folder.rglob("*"), reverse=True):
            if each.is_dir():
                sync_folder(each)
        sync_folder(folder)
        # Renaming a folder over one that is not empty, or over a file, fails.
        folder.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _describe(folder: Path, now_ms: int, program: str, blobs: Path | None) -> Manifest:
    database = folder / DATABASE
    store = open_sqlite(database, is_readonly=True)
    try:
        reader = store.reader()
        last = reader.last_ledger_batch()
        root = reader.last_receipt_root()
        copied, missing, rows = _copy_blobs(reader, blobs, folder / BLOBS)
        jobs = {state.value: count for state, count in reader.jobs_by_state().items()}
    finally:
        store.close()
    return Manifest(
        program=program,
        schema=SCHEMA_VERSION,
        made_ms=now_ms,
        made=iso_seconds(now_ms),
        sha256=hash_of(database),
        size=database.stat().st_size,
        jobs=jobs,
        ledger_batch=last.number if last else 0,
        ledger_link=last.link.hex() if last else "",
        receipt_batch=root.batch if root else 0,
        blobs=rows,
        blobs_copied=copied,
        blobs_missing=missing,
    )


def _copy_blobs(reader: Reader, source: Path | None, target: Path) -> tuple[int, int, int]:
    """How many were copied, how many were gone, and how many there are; nothing without source."""
    copied = missing = rows = 0
    for name in _blob_names(reader):
        rows += 1
        if source is None:
            continue
        try:
            _copy_blob(source / name[:2] / name, target / name[:2] / name)
            copied += 1
        except FileNotFoundError:
            # It was swept while we copied.
            missing += 1
    return copied, missing, rows


def _blob_names(reader: Reader) -> Iterator[str]:
    last = b""
    while hashes := reader.blob_hashes(last, READ_ROWS_MAX):
        yield from (each.hex() for each in hashes)
        last = hashes[-1]


def _copy_blob(source: Path, target: Path) -> None:
    for folder in (target.parent.parent, target.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    copy_private(source, target)


def copy_private(source: Path, target: Path) -> None:
    """Copy a file to a new one that only its owner may read, and wait for the disk.

    Raises:
        OSError: there is no source, the target exists, the disk is full.
    """
    with source.open("rb") as data:
        number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "wb") as copy:
            shutil.copyfileobj(data, copy, COPY_BYTES)
            copy.flush()
            os.fsync(copy.fileno())


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)
    sync_file(path)


def hash_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# ---- looking at one ---------------------------------------------------------------------------
def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        BackupError: there is none, it cannot be read, or a newer program made this backup.
    """
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_BYTES_MAX:
            msg = f"{path} is no manifest: it is too large"
            raise BackupError(msg)
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{folder} is no backup: it has no {MANIFEST}{_backups_in(folder)}"
        raise BackupError(msg) from error
    except (OSError, msgspec.DecodeError) as error:
        msg = f"{path} cannot be read: {error}"
        raise BackupError(msg) from error
    if manifest.format > FORMAT or manifest.schema > SCHEMA_VERSION:
        msg = (
            f"a newer program ({manifest.program}) made this backup: format {manifest.format},"
            f" schema {manifest.schema}; this one knows {FORMAT} and {SCHEMA_VERSION}"
        )
        raise BackupError(msg)
    return manifest


def _backups_in(folder: Path) -> str:
    """What stands below a folder that somebody took for a backup; "" if no backups do."""
    below = sorted(path.parent.name for path in folder.glob(f"[!.]*/{MANIFEST}"))
    if not below:
        return ""
    more = len(below) - _NAMED_MAX
    older = f" and {more} others" if more > 0 else ""
    return f"; it holds backups, take one of them: {', '.join(below[-_NAMED_MAX:])}{older}"


def require_bytes(folder: Path, manifest: Manifest) -> None:
    """Compare the database with the manifest.

    Raises:
        BackupError: it is another file, or damaged.
    """
    database = folder / DATABASE
    try:
        size = database.stat().st_size
        sha256 = hash_of(database) if size == manifest.size else ""
    except OSError as error:
        msg = f"{database} cannot be read: {error}"
        raise BackupError(msg) from error
    if not sha256:
        msg = f"{database} is damaged: it has {size} bytes, its manifest says {manifest.size}"
        raise BackupError(msg)
    if sha256 != manifest.sha256:
        msg = f"{database} is damaged: its SHA-256 is {sha256}, its manifest says {manifest.sha256}"
        raise BackupError(msg)
