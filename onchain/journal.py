"""What was signed, written down before it is sent: so that no restart signs the same deed twice.

In:   attempts (an intent's name, bytes, signature, last block height), and how they ended.
Out:  attempts that may still land, by intent, after any crash; the signature of what landed.
Rules:
  1. `write` and `close` return when the line is on the disk, or raise; after a failed write nothing
     more is written, for nobody knows what the disk holds.
  2. A torn last line is cut off: what it was to say had not been promised to anybody. Any other
     broken line is refused: somebody changed the file.
  3. One process holds the file at a time.
Format: one line an entry, `crc32 of the rest, 8 hex digits | blank | JSON | newline`.
Not covered: a disk that lies about what it has; a file restored from an old backup, which lacks
the attempts made since.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, Protocol
from zlib import crc32

import trio

from coordinator.limits import JOURNAL_ENDED_MAX


class End(Enum):
    """How an attempt ended; only what landed ends its intent."""

    LANDED = "landed"
    #: It landed and its program failed: the fee is paid, nothing else happened.
    FAILED = "failed"
    #: It can no longer land.
    EXPIRED = "expired"
    #: A preflight refused it, and the chain itself would refuse it after another one landed.
    REFUSED = "refused"
    #: The chain shows that the deed is done.
    DONE = "done"


class JournalBroken(Exception):
    """The journal cannot be read, or no longer be written: nothing may be signed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction of an intent."""

    #: The deed's own name, unique for ever: `publish:<ledger>:17`.
    intent: str
    signature: bytes
    raw: bytes
    last_valid_block_height: int


class Journal(Protocol):
    async def open_attempts(self, intent: str) -> tuple[Attempt, ...]:
        """Attempts of an intent that have not ended, oldest first."""
        ...

    async def open_intents(self) -> tuple[str, ...]:
        """Intents with such attempts: what a restarted process goes on with."""
        ...

    async def landed(self, intent: str) -> bytes | None:
        """The signature that did an intent's deed; None where none did, or it was long ago."""
        ...

    async def write(self, attempt: Attempt) -> None:
        """Before the first send; on the disk when it returns."""
        ...

    async def close(self, attempt: Attempt, end: End) -> None: ...


class MemoryJournal:
    """A journal for tests and for what may be forgotten: it ends with the process."""

    def __init__(self) -> None:
        self._open: dict[bytes, Attempt] = {}
        self._landed: OrderedDict[str, bytes] = OrderedDict()

    async def open_attempts(self, intent: str) -> tuple[Attempt, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(each for each in self._open.values() if each.intent == intent)

    async def open_intents(self) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        return tuple(dict.fromkeys(each.intent for each in self._open.values()))

    async def landed(self, intent: str) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self._landed.get(intent)

    async def write(self, attempt: Attempt) -> None:
        await trio.lowlevel.checkpoint()
        self._note(attempt)

    async def close(self, attempt: Attempt, end: End) -> None:
        await trio.lowlevel.checkpoint()
        self._note_end(attempt.signature, attempt.intent, end)

    def _note(self, attempt: Attempt) -> None:
        self._open[attempt.signature] = attempt

    def _note_end(self, signature: bytes, intent: str, end: End) -> None:
        self._open.pop(signature, None)
        if end is End.LANDED:
            self._landed[intent] = signature
            while len(self._landed) > JOURNAL_ENDED_MAX:
                self._landed.popitem(last=False)


class FileJournal(MemoryJournal):
    """A journal in a file of its own.

    Raises:
        JournalBroken: the file is broken, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lock = trio.Lock()
        self._failed = False
        self._file = _opened(path)
        try:
            good = self._read(self._file)
            os.ftruncate(self._file, good)
            self._shorten()
        except BaseException:
            os.close(self._file)
            raise

    async def write(self, attempt: Attempt) -> None:
        await self._append(_signed_line(attempt))
        self._note(attempt)

    async def close(self, attempt: Attempt, end: End) -> None:
        await self._append(_end_line(attempt.signature, attempt.intent, end))
        self._note_end(attempt.signature, attempt.intent, end)

    def release(self) -> None:
        """Let go of the file; what was written stays. Again, it does nothing."""
        self._failed = True
        file, self._file = self._file, -1
        if file >= 0:  # closed twice, its number may be another file's by then
            os.close(file)

    async def _append(self, line: bytes) -> None:
        async with self._lock:
            if self._failed:
                msg = "the journal could not be written before: start anew"
                raise JournalBroken(msg)
            # Assume the worst until it is on the disk: a cancelled or failed write stays failed.
            self._failed = True
            try:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(_write_through, self._file, line)
            except OSError as error:
                msg = f"the journal {self._path.name} cannot be written: {error.strerror}"
                raise JournalBroken(msg) from error
            self._failed = False

    def _read(self, file: int) -> int:
        """Take in all whole lines; returns where the last of them ends."""
        content = _content(file)
        whole = content.rfind(b"\n") + 1
        lines = content[:whole].splitlines()
        for number, line in enumerate(lines, 1):
            if not self._take(line):
                if number == len(lines) and whole == len(content):
                    # Blocks of one write may reach the disk in any order: its end without its
                    # middle is a torn write too.
                    return whole - len(line) - 1
                msg = f"line {number} of the journal {self._path.name} is broken"
                raise JournalBroken(msg)
        return whole

    def _take(self, line: bytes) -> bool:
        head, _, body = line.partition(b" ")
        if head != b"%08x" % crc32(body):
            return False
        entry = json.loads(body)
        signature = b64decode(entry["signature"])
        if "raw" in entry:
            height = entry["last_valid_block_height"]
            self._note(Attempt(entry["intent"], signature, b64decode(entry["raw"]), height))
        else:
            self._note_end(signature, entry["intent"], End(entry["end"]))
        return True

    def _shorten(self) -> None:
        """Write the file anew without what has ended, when it has grown."""
        kept = [
            _end_line(signature, intent, End.LANDED) for intent, signature in self._landed.items()
        ]
        kept += map(_signed_line, self._open.values())
        size = sum(map(len, kept))
        if os.fstat(self._file).st_size <= 2 * size + _SHORT_BYTES:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        file = _opened(fresh)
        os.ftruncate(file, 0)
        _write_through(file, b"".join(kept))
        fresh.replace(self._path)
        _sync_folder(self._path.parent)
        os.close(self._file)
        self._file = file


#: A file is left as it is up to this size.
_SHORT_BYTES: Final = 1024 * 1024


def _opened(path: Path) -> int:
    """The file, open for appending, locked, and there after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        msg = f"another process holds the journal {path.name}"
        raise JournalBroken(msg) from error
    _sync_folder(path.parent)
    return file


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(file: int, line: bytes) -> None:
    written = 0
    while written < len(line):
        written += os.write(file, line[written:])
    os.fsync(file)


def _line(entry: dict[str, object]) -> bytes:
    body = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(body), body)


def _signed_line(attempt: Attempt) -> bytes:
    return _line(
        {
            "intent": attempt.intent,
            "signature": b64encode(attempt.signature).decode(),
            "raw": b64encode(attempt.raw).decode(),
            "last_valid_block_height": attempt.last_valid_block_height,
        }
    )


def _end_line(signature: bytes, intent: str, end: End) -> bytes:
    told = b64encode(signature).decode()
    return _line({"intent": intent, "signature": told, "end": end.value})
