"""The leaf files of epochs: one folder, one file an epoch, written by whoever builds the trees.

Rules:
  1. A file appears whole or not at all: it is written under another name, synced, and renamed.
  2. What is served is the file whose hash stands in the epoch's row: a file that was left by a
     closing that was done anew has another name.
Not here: what is in a file (`onchain.leaves`), and the tree over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


class LeafFiles:
    """A folder of leaf files; made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, number: int, data_hash: bytes) -> Path:
        """Where the file of an epoch lies, whether it is there or not."""
        return self._folder / f"epoch-{number:06}-{data_hash[:8].hex()}.leaves"

    def size(self, number: int, data_hash: bytes) -> int | None:
        """Bytes of an epoch's file; None if it is not here."""
        try:
            return self.path(number, data_hash).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def new(self, number: int) -> Iterator[tuple[BinaryIO, Path]]:
        """A file to be written for an epoch, and where it lies; `keep` gives it its name.

        What is left when the block ends is deleted.
        """
        self._folder.mkdir(exist_ok=True)
        draft = self._folder / f"epoch-{number:06}.new"
        try:
            with draft.open("w+b") as opened:
                yield opened, draft
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()

    def keep(self, opened: BinaryIO, draft: Path, number: int, data_hash: bytes) -> Path:
        """Give a whole file its name, durably; its path."""
        opened.flush()
        os.fsync(opened.fileno())
        target = self.path(number, data_hash)
        draft.rename(target)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return target
