"""Backups on a beat: made off Trio's loop while the house works, the oldest ones deleted.

In:   `backup_folder`, `backup_every_s`, `backup_keep`, `backup_blobs` of the configuration.
Out:  folders `NAME-20260102T030405Z` in it, and the age of the last one as a metric.
Rules:
  1. One that fails is said in the log and tried again soon; the house goes on.
  2. A backup is deleted only after a newer one is whole, and only what this module named.
Not here: what a backup is (`backup`), how one is put back (`restore`).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec
import trio

from coordinator.backup import (
    PARTIAL,
    BackupError,
    Manifest,
    make_backup,
    partial_of,
    read_manifest,
)
from coordinator.clock import Clock, iso_seconds
from coordinator.log import get_log
from coordinator.metrics import Metrics
from coordinator.store.interface import StoreError

log = get_log(__name__)

#: Wait after a backup that failed, at most: a full disk may have been cleared.
RETRY_S: Final = 60.0


class Plan(msgspec.Struct, frozen=True):
    """What is backed up, where to, and how often."""

    db: Path
    folder: Path
    every_s: float
    keep: int
    program: str
    #: The folder of blobs, if they shall be in it.
    blobs: Path | None = None

    def made(self) -> list[Path]:
        """Backups of this database in the folder, the oldest first."""
        name = re.compile(rf"{re.escape(self.db.stem)}-\d{{8}}T\d{{6}}Z\Z")
        return sorted(path for path in self.folder.iterdir() if name.match(path.name))

    def next_target(self, now_ms: int) -> Path:
        stamp = iso_seconds(now_ms).replace("-", "").replace(":", "")
        return self.folder / f"{self.db.stem}-{stamp}"


async def begin_backups(plan: Plan, metrics: Metrics) -> int:
    """Look at the folder before the doors open; when the last backup was made, Unix ms.

    Raises:
        BackupError: the folder cannot be made or read.
    """
    last_ms = await trio.to_thread.run_sync(_look_around, plan)
    metrics.backup_made(last_ms)
    return last_ms


async def keep_backups(plan: Plan, last_ms: int, clock: Clock, metrics: Metrics) -> None:
    """Make a backup whenever one is due, for ever."""
    while True:
        due_s = (last_ms + plan.every_s * 1000 - clock.wall_ms()) / 1000
        # A clock that was set back makes no wait longer than the beat.
        await trio.sleep(min(max(due_s, 0.0), plan.every_s))
        retry_s = min(RETRY_S, plan.every_s)
        made = await _try(plan, clock, retry_s)
        if made is None:
            await trio.sleep(retry_s)
            continue
        last_ms = made.made_ms
        metrics.backup_made(last_ms)


async def _try(plan: Plan, clock: Clock, retry_s: float) -> Manifest | None:
    began = clock.monotonic()
    try:
        # Abandoned at the end of the process: what it leaves is swept at the next start.
        made = await trio.to_thread.run_sync(_make, plan, clock.wall_ms(), abandon_on_cancel=True)
    except (StoreError, OSError) as error:
        log.error("backup failed", error=str(error), retry_s=retry_s)  # noqa: TRY400
        return None
    seconds = round(clock.monotonic() - began, 3)
    log.info("backup made", bytes=made.size, seconds=seconds, blobs=made.blobs_copied)
    return made


def _make(plan: Plan, now_ms: int) -> Manifest:
    if _make_folder(plan.folder):
        log.warning("the backup folder was gone: it was made again", folder=str(plan.folder))
    target = plan.next_target(now_ms)
    made = make_backup(plan.db, target, now_ms=now_ms, program=plan.program, blobs=plan.blobs)
    for old in plan.made()[: -plan.keep]:
        # Out of the way first: a half deleted one must not pass for a backup.
        going = old.with_name(f"{partial_of(old)}old")
        old.rename(going)
        shutil.rmtree(going)
    return made


def _make_folder(folder: Path) -> bool:
    """Make the folder of the backups if it is not there; whether that was so.

    Raises:
        BackupError: a file stands in its place.
        OSError: it cannot be made.
    """
    # Its parent must be there: a disk that is not mounted is noticed, not written beside.
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError as error:
        if folder.is_dir():
            return False
        msg = f"the backup folder {folder} cannot be used: a file stands in its place"
        raise BackupError(msg) from error
    return True


def _look_around(plan: Plan) -> int:
    """Make the folder, sweep what a killed process left in it; when the last backup was made.

    Raises:
        BackupError: the folder cannot be made or read.
    """
    try:
        _make_folder(plan.folder)
        if not os.access(plan.folder, os.W_OK):
            raise PermissionError(errno.EACCES, "nothing can be written", str(plan.folder))
        for left in plan.folder.glob(f".{plan.db.stem}-*{PARTIAL}*"):
            shutil.rmtree(left)
        return max(map(_made_ms, plan.made()), default=0)
    except OSError as error:
        msg = f"the backup folder {plan.folder} cannot be used: {error}"
        raise BackupError(msg) from error


def _made_ms(folder: Path) -> int:
    """When a backup was made; 0 for a folder that is none, whatever its name."""
    try:
        return read_manifest(folder).made_ms
    except BackupError as error:
        log.warning("not a backup", error=str(error))
        return 0
