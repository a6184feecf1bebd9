"""A backup takes a database's place again: verified first, and nothing that was there is lost.

Rules:
  1. Nothing is touched until everything was looked at: hash, schema, the whole audit, on a copy.
  2. A coordinator that has the database open keeps it: the restore is refused.
  3. The database of before is moved aside under a name that is told, with all that belongs to it.
  4. No number is given again that a lost job, node or batch of receipts may have had: whoever still
     knows such a number meets nobody else's row.
  5. Root gives what it makes to the owner of the database's folder: a service of another user shall
     read it. It follows no link there, and takes a file with a second name from nobody.
Not covered: what happened after the backup was made. Agents that were paid then hold receipts that
prove it; sessions and tokens of that time are asked for anew, and one that was spent since the
backup was made counts as unspent again until it expires.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import structs

from coordinator.audit import audit
from coordinator.backup import (
    BLOBS,
    DATABASE,
    BackupError,
    Manifest,
    copy_private,
    hash_of,
    read_manifest,
    require_bytes,
)
from coordinator.store.sqlite import open_sqlite
from coordinator.store.sqlite_connection import lock, lock_path, sync_folder
from coordinator.store.sqlite_copy import sync_file
from coordinator.store.sqlite_replace import replace

#: Numbers left out after a restore: more than were given since any backup that one would restore.
SKIPPED_NUMBERS: Final = 10**9


#: User id, group id.
Owner: TypeAlias = tuple[int, int]


class Restored(msgspec.Struct, frozen=True):
    """What a restore did."""

    manifest: Manifest
    #: Where the database of before lies; None if there was none, or nothing was put in place.
    aside: Path | None
    #: Blobs that were added; of a mere look: that are in the backup.
    blobs: int
    #: User and group that root gave the files to; None where they are ours.
    owner: Owner | None = None


def restore_backup(
    source: Path, db: Path, blobs: Path, *, verify: bool = True, only_look: bool = False
) -> Restored:
    """Verify a backup and put it in a database's place; what was there is moved aside.

    Args:
        source: The backup's folder.
        db: Where the database is wanted; no coordinator may have it open.
        blobs: The folder of blobs: what the backup has is added.
        verify: Audit everything; without it only hashes, schema and SQLite's opinion count.
        only_look: Verify and change nothing.

    Raises:
        BackupError: the backup is damaged, its audit finds faults, a newer program made it, or what
            is made cannot be given to the folder's owner.
        StoreInUse: a coordinator has the database open.
        StoreError: something cannot be written; what was there still is.
    """
    manifest = read_manifest(source)
    require_bytes(source, manifest)
    if not db.parent.is_dir():
        msg = f"there is no folder {db.parent}"
        raise BackupError(msg)
    try:
        owner = None if only_look else _other_owner(db.parent)
        with nullcontext() if only_look else _owned(db, owner), _copied(source, db) as fresh:
            _prepare(fresh, manifest, verify=verify)
            _give(fresh, owner)
            added = _add_blobs(source / BLOBS, None if only_look else blobs, owner)
            aside = None if only_look else replace(db, fresh)
    except OSError as error:
        msg = f"cannot restore {db}: {error}"
        raise BackupError(msg) from error
    return Restored(manifest, aside, added, owner)


def _other_owner(folder: Path) -> Owner | None:
    """Whom root has to give its files to; None if we are not root, or the folder is root's."""
    found = folder.stat()
    return (found.st_uid, found.st_gid) if os.geteuid() == 0 and found.st_uid else None


def _give(path: Path, owner: Owner | None) -> None:
    """Give a file or folder of root's to `owner`.

    Raises:
        BackupError: it cannot be given.
    """
    if owner is None:
        return
    found = path.lstat()
    is_ours = found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode)
    if not is_ours or (stat.S_ISREG(found.st_mode) and found.st_nlink > 1):
        return
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError as error:
        msg = f"cannot give {path} to the folder's owner, user {owner[0]}: {error.strerror}"
        raise BackupError(msg) from error


@contextmanager
def _owned(db: Path, owner: Owner | None) -> Iterator[None]:
    """The database as ours alone, and nothing left of a restore that was killed."""
    held = lock(db)
    try:
        _give(lock_path(db), owner)
        for left in db.parent.glob(f"{_growing(db)}*"):
            shutil.rmtree(left)
        yield
    finally:
        held.close()


def _growing(db: Path) -> str:
    return f".{db.name}.restoring-"


@contextmanager
def _copied(source: Path, db: Path) -> Iterator[Path]:
    """A private copy of the backup's database, on the disk where it is wanted."""
    folder = Path(tempfile.mkdtemp(prefix=_growing(db), dir=db.parent))
    try:
        fresh = folder / DATABASE
        copy_private(source / DATABASE, fresh)
        yield fresh
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(fresh: Path, manifest: Manifest, *, verify: bool) -> None:
    """Bring the copy to the present schema, audit it, and leave out the numbers of lost rows."""
    store = open_sqlite(fresh, keeps_older=False)
    try:
        faults = audit(store) if verify else []
        last = store.reader().last_ledger_batch()
        if (last.link.hex() if last else "") != manifest.ledger_link:
            faults.append("the last link of the ledger is not that of the manifest")
        if faults:
            raise BackupError("this backup is not sound: " + "; ".join(faults))
        with store.batch() as batch:
            batch.skip_numbers(SKIPPED_NUMBERS)
            # What was claimed and exited since the copy was made is on the chain only.
            if (settlement := batch.settlement()) is not None:
                batch.save_settlement(structs.replace(settlement, told_ms=0))
    finally:
        store.close()
    if fresh.with_name(fresh.name + "-wal").exists():
        msg = f"the copy {fresh} could not be closed: its log is still there"
        raise BackupError(msg)
    sync_file(fresh)


def _add_blobs(source: Path, target: Path | None, owner: Owner | None) -> int:
    """Check the backup's blobs against their names, and copy those that are not there yet.

    Raises:
        BackupError: a file is not what its name says.
    """
    files = sorted(source.glob("[0-9a-f][0-9a-f]/*")) if source.is_dir() else []
    for file in files:
        if hash_of(file) != file.name:
            msg = f"the blob {file.name} is damaged"
            raise BackupError(msg)
    if target is None:
        return len(files)
    target.mkdir(mode=0o700, exist_ok=True)
    _give(target, owner)
    return sum([_add_blob(file, target, owner) for file in files])


def _add_blob(file: Path, target: Path, owner: Owner | None) -> bool:
    wanted = target / file.parent.name / file.name
    if wanted.exists():
        # Also what an earlier restore left as root's.
        _give(wanted.parent, owner)
        _give(wanted, owner)
        return False
    # By the name of an upload: what a killed restore leaves is swept at the next start.
    arriving = target / f"upload-{file.name}"
    arriving.unlink(missing_ok=True)
    wanted.parent.mkdir(mode=0o700, exist_ok=True)
    _give(wanted.parent, owner)
    copy_private(file, arriving)
    _give(arriving, owner)
    arriving.rename(wanted)
    sync_folder(wanted.parent)
    return True
