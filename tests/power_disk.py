"""A disk that loses power, lies or fails, under the very SQLite that the store uses.

An SQLite VFS, registered by cffi in the driver's own library (pysqlite3 carries SQLite inside its
extension and exports its interface). Files below one folder live in memory here; whatever else a
process opens goes to the system's VFS. So the store is opened as ever: `open_sqlite`, WAL with its
shared index and its locks between connections, its own settings.
The model: what was written or cut off since a file's last fsync may, at a power cut, be kept, lost,
kept up to some point, kept in part (in any order), or torn within one write at a sector of 512
bytes. A file that was made is there after its own fsync, one that was deleted may come back until
its folder is synced. After an fsync that failed what it should have written is lost, and the next
one does not bring it.
Not covered: sectors that decay, disks that keep their promises for some writes only, the order
between files beyond what fsync says; and a cut while two processes write.
Source: SQLite's own crash tests and test_vfs; "Can applications recover from fsync failures?"
(Rebello et al., 2020).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from random import Random  # noqa: TID251 - given by the caller, seeded
from typing import Any, ClassVar, Final

import cffi  # type: ignore[import-untyped]

from coordinator.store.sqlite_connection import driver

OK, BUSY, IOERR, NOTFOUND, FULL, CANTOPEN = 0, 5, 10, 12, 13, 14
READ, SHORT_READ, WRITE, FSYNC, TRUNCATE = (IOERR | code << 8 for code in (1, 2, 3, 4, 6))
DELETE: Final = IOERR | 10 << 8
SECTOR: Final = 512
#: Lock levels of a file, and kinds of locks of the shared index.
NONE, SHARED, RESERVED, PENDING, EXCLUSIVE = range(5)
SHM_UNLOCK, SHM_SHARED = 1, 4
#: What Linux's own VFS says of itself: a torn write harms no byte beside it.
POWERSAFE_OVERWRITE: Final = 0x1000

ffi = cffi.FFI()
ffi.cdef("""
typedef long long sqlite3_int64;
typedef struct sqlite3_file { const struct sqlite3_io_methods *pMethods; } sqlite3_file;
typedef struct sqlite3_io_methods {
  int iVersion;
  int (*xClose)(sqlite3_file*);
  int (*xRead)(sqlite3_file*, void*, int, sqlite3_int64);
  int (*xWrite)(sqlite3_file*, const void*, int, sqlite3_int64);
  int (*xTruncate)(sqlite3_file*, sqlite3_int64);
  int (*xSync)(sqlite3_file*, int);
  int (*xFileSize)(sqlite3_file*, sqlite3_int64*);
  int (*xLock)(sqlite3_file*, int);
  int (*xUnlock)(sqlite3_file*, int);
  int (*xCheckReservedLock)(sqlite3_file*, int*);
  int (*xFileControl)(sqlite3_file*, int, void*);
  int (*xSectorSize)(sqlite3_file*);
  int (*xDeviceCharacteristics)(sqlite3_file*);
  int (*xShmMap)(sqlite3_file*, int, int, int, void**);
  int (*xShmLock)(sqlite3_file*, int, int, int);
  void (*xShmBarrier)(sqlite3_file*);
  int (*xShmUnmap)(sqlite3_file*, int);
} sqlite3_io_methods;
typedef struct { sqlite3_file base; int number; } our_file;
typedef struct sqlite3_vfs {
  int iVersion; int szOsFile; int mxPathname;
  struct sqlite3_vfs *pNext; const char *zName; void *pAppData;
  int (*xOpen)(struct sqlite3_vfs*, const char*, sqlite3_file*, int, int*);
  int (*xDelete)(struct sqlite3_vfs*, const char*, int);
  int (*xAccess)(struct sqlite3_vfs*, const char*, int, int*);
  void *xFullPathname; void *xDlOpen; void *xDlError; void *xDlSym; void *xDlClose;
  void *xRandomness; void *xSleep; void *xCurrentTime; void *xGetLastError;
  void *xCurrentTimeInt64; void *xSetSystemCall; void *xGetSystemCall; void *xNextSystemCall;
} sqlite3_vfs;
sqlite3_vfs *sqlite3_vfs_find(const char*);
int sqlite3_vfs_register(sqlite3_vfs*, int);
int sqlite3_vfs_unregister(sqlite3_vfs*);
const char *sqlite3_libversion(void);
""")
#: The library inside the driver's extension: not any other SQLite of this machine.
lib: Final[Any] = ffi.dlopen(import_module(f"{driver.__name__}._sqlite3").__file__)
assert ffi.string(lib.sqlite3_libversion()).decode() == driver.sqlite_version


class Failed(Exception):
    """An operation of the disk failed, with SQLite's code for it."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"code {code}")


class File:
    """One file: as a running program sees it, and as it is after a power cut."""

    def __init__(self, data: bytes = b"", *, is_named: bool = True) -> None:
        self.data = bytearray(data)
        self.durable = bytearray(data)
        #: Writes (offset, bytes) and cuts (size, None) since the last fsync.
        self.pending: list[tuple[int, bytes | None]] = []
        #: Whether its name would be there after a power cut.
        self.is_named = is_named
        self.locks: dict[int, int] = {}
        self.regions: list[Any] = []
        #: Slot of the shared index → who holds it, and whether alone.
        self.slots: dict[int, dict[int, bool]] = {}


def _apply(data: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, written = change
    if written is None:
        del data[offset:]
        return
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(written)] = written


class Disk:
    """The files below one folder.

    Args:
        lies: Whether fsync does nothing and says that it did.
    """

    def __init__(self, *, lies: bool = False) -> None:
        self.files: dict[str, File] = {}
        #: Deleted files that may come back.
        self.deleted: dict[str, File] = {}
        self.lies = lies
        self.is_dead = False
        #: Operations so far, and the one before which the power goes.
        self.operations = 0
        self.dies_at = 0
        #: Told of each operation; may raise `Failed`.
        self.on_operation: Callable[[str, str], None] = lambda _what, _name: None

    def step(self, what: str, name: str) -> None:
        """One operation begins.

        Raises:
            Failed: the power is gone, or whoever is told lets it fail.
        """
        if not self.is_dead:
            self.operations += 1
            self.is_dead = self.operations == self.dies_at
        if self.is_dead:
            raise Failed(IOERR)
        self.on_operation(what, name)

    def sync(self, file: File) -> None:
        if self.lies:
            return
        for change in file.pending:
            _apply(file.durable, change)
        file.pending.clear()
        if not file.is_named:
            # SQLite syncs the folder with the first fsync of a file that it made there.
            file.is_named = True
            self.deleted.clear()

    def after_cut(self, rng: Random) -> Disk:
        """What stands on the disk when the power is back."""
        disk = Disk(lies=self.lies)
        survivors = {name: file for name, file in self.deleted.items() if rng.random() < 0.5}
        survivors |= self.files
        for name, file in survivors.items():
            if file.is_named or rng.random() < 0.5:
                disk.files[name] = File(_what_is_left(file, rng))
        return disk


def _what_is_left(file: File, rng: Random) -> bytes:
    left, pending = bytearray(file.durable), file.pending
    match rng.choice(("nothing", "everything", "beginning", "some", "torn")):
        case "nothing":
            pending = []
        case "beginning":
            pending = pending[: rng.randrange(len(pending) + 1)]
        case "some":
            pending = [change for change in pending if rng.random() < 0.5]
        case "torn" if pending:
            pending = pending[: rng.randrange(len(pending)) + 1]
            offset, written = pending[-1]
            if written is not None:
                sectors = rng.randrange(len(written) // SECTOR + 1)
                pending = [*pending[:-1], (offset, written[: SECTOR * sectors])]
    for change in pending:
        _apply(left, change)
    return bytes(left)


# ---- the VFS ----------------------------------------------------------------------------------
_system: Final = lib.sqlite3_vfs_find(ffi.NULL)
_keep: Final[list[Any]] = []


class _Mount:
    """Where the disk stands: one at a time in a process."""

    folder = ""
    disk = Disk()
    handles: ClassVar[dict[int, tuple[Disk, str, File]]] = {}
    numbers = 0


def _ours(path: bytes) -> str | None:
    """The name of a file of ours; the store's own lock is the system's."""
    text = path.decode()
    if not _Mount.folder or not text.startswith(_Mount.folder) or ".lock" in text:
        return None
    return text.removeprefix(_Mount.folder)


def _callback(signature: str, otherwise: int = IOERR) -> Callable[[Callable[..., int]], Any]:
    def wrap(function: Callable[..., int]) -> Any:
        def guarded(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except Failed as failure:
                return failure.code
            except Exception:  # noqa: BLE001 - an exception cannot pass through C
                traceback.print_exc()
                return otherwise

        made = ffi.callback(signature, guarded, error=otherwise)
        _keep.append(made)
        return made

    return wrap


def _number(handle: Any) -> int:
    return int(ffi.cast("our_file*", handle).number)


def _at(handle: Any) -> tuple[Disk, str, File]:
    return _Mount.handles[_number(handle)]


@_callback("int(sqlite3_file*)")
def _close(handle: Any) -> int:
    _disk, _name, file = _Mount.handles.pop(_number(handle))
    _forget(file, _number(handle))
    return OK


def _forget(file: File, number: int) -> None:
    file.locks.pop(number, None)
    for holders in file.slots.values():
        holders.pop(number, None)


@_callback("int(sqlite3_file*, void*, int, sqlite3_int64)")
def _read(handle: Any, buffer: Any, size: int, offset: int) -> int:
    disk, name, file = _at(handle)
    disk.step("read", name)
    data = bytes(file.data[offset : offset + size])
    ffi.memmove(buffer, data + bytes(size - len(data)), size)
    return OK if len(data) == size else SHORT_READ


@_callback("int(sqlite3_file*, const void*, int, sqlite3_int64)")
def _write(handle: Any, buffer: Any, size: int, offset: int) -> int:
    disk, name, file = _at(handle)
    disk.step("write", name)
    change = (offset, bytes(ffi.buffer(buffer, size)))
    _apply(file.data, change)
    file.pending.append(change)
    return OK


@_callback("int(sqlite3_file*, sqlite3_int64)")
def _truncate(handle: Any, size: int) -> int:
    disk, name, file = _at(handle)
    disk.step("truncate", name)
    _apply(file.data, (size, None))
    file.pending.append((size, None))
    return OK


@_callback("int(sqlite3_file*, int)")
def _sync(handle: Any, _flags: int) -> int:
    disk, name, file = _at(handle)
    try:
        disk.step("sync", name)
    except Failed:
        # The system has forgotten what was to be written, and says so once.
        if not disk.is_dead:
            file.pending.clear()
        raise
    disk.sync(file)
    return OK


@_callback("int(sqlite3_file*, sqlite3_int64*)")
def _file_size(handle: Any, size: Any) -> int:
    disk, _name, file = _at(handle)
    if disk.is_dead:
        return IOERR
    size[0] = len(file.data)
    return OK


@_callback("int(sqlite3_file*, int)")
def _lock(handle: Any, level: int) -> int:
    _disk, _name, file = _at(handle)
    number = _number(handle)
    others = max((has for who, has in file.locks.items() if who != number), default=NONE)
    now = file.locks.get(number, NONE)
    if now >= level:
        return OK
    is_free = {
        SHARED: others < PENDING,
        RESERVED: others < RESERVED,
        EXCLUSIVE: others == NONE,
    }[level]
    if not is_free:
        return BUSY
    file.locks[number] = level
    return OK


@_callback("int(sqlite3_file*, int)")
def _unlock(handle: Any, level: int) -> int:
    file, number = _at(handle)[2], _number(handle)
    if level == NONE:
        file.locks.pop(number, None)
    else:
        file.locks[number] = min(level, file.locks.get(number, NONE))
    return OK


@_callback("int(sqlite3_file*, int*)")
def _check_reserved(handle: Any, answer: Any) -> int:
    answer[0] = int(any(level >= RESERVED for level in _at(handle)[2].locks.values()))
    return OK


@_callback("int(sqlite3_file*, int, void*)", NOTFOUND)
def _file_control(_handle: Any, _operation: int, _argument: Any) -> int:
    return NOTFOUND


@_callback("int(sqlite3_file*)", 4096)
def _sector_size(_handle: Any) -> int:
    return 4096


@_callback("int(sqlite3_file*)", 0)
def _device(_handle: Any) -> int:
    return POWERSAFE_OVERWRITE


@_callback("int(sqlite3_file*, int, int, int, void**)")
def _shm_map(handle: Any, region: int, size: int, extend: int, pointer: Any) -> int:
    disk, _name, file = _at(handle)
    if disk.is_dead:
        return IOERR
    while len(file.regions) <= region:
        if not extend:
            pointer[0] = ffi.NULL
            return OK
        file.regions.append(ffi.new("char[]", size))
    pointer[0] = file.regions[region]
    return OK


@_callback("int(sqlite3_file*, int, int, int)")
def _shm_lock(handle: Any, first: int, count: int, flags: int) -> int:
    file, number = _at(handle)[2], _number(handle)
    slots = [file.slots.setdefault(slot, {}) for slot in range(first, first + count)]
    if flags & SHM_UNLOCK:
        for holders in slots:
            holders.pop(number, None)
        return OK
    is_alone = not flags & SHM_SHARED
    for holders in slots:
        others = [alone for who, alone in holders.items() if who != number]
        if any(others) or (is_alone and others):
            return BUSY
    for holders in slots:
        holders[number] = is_alone
    return OK


@ffi.callback("void(sqlite3_file*)")
def _shm_barrier(_handle: Any) -> None:
    """One process, one thread at a time: nothing to wait for."""


@_callback("int(sqlite3_file*, int)")
def _shm_unmap(handle: Any, delete: int) -> int:
    file = _at(handle)[2]
    for holders in file.slots.values():
        holders.pop(_number(handle), None)
    if delete:
        file.regions = []
    return OK


@_callback("int(sqlite3_vfs*, const char*, sqlite3_file*, int, int*)", CANTOPEN)
def _open(_vfs: Any, path: Any, handle: Any, flags: int, flags_out: Any) -> int:
    name = None if path == ffi.NULL else _ours(ffi.string(path))
    if name is None:
        return int(_system.xOpen(_system, path, handle, flags, flags_out))
    handle.pMethods = ffi.NULL
    disk = _Mount.disk
    disk.step("open", name)
    file = disk.files.get(name)
    if file is None:
        if not flags & 0x4:  # SQLITE_OPEN_CREATE
            return CANTOPEN
        # The database itself was made, and its name synced, before SQLite opened it.
        file = disk.files[name] = File(is_named=bool(flags & 0x100))
    _Mount.numbers += 1
    _Mount.handles[_Mount.numbers] = (disk, name, file)
    ffi.cast("our_file*", handle).number = _Mount.numbers
    handle.pMethods = _methods
    if flags_out != ffi.NULL:
        flags_out[0] = flags
    return OK


@_callback("int(sqlite3_vfs*, const char*, int)")
def _delete(_vfs: Any, path: Any, is_synced: int) -> int:
    name = _ours(ffi.string(path))
    if name is None:
        return int(_system.xDelete(_system, path, is_synced))
    disk = _Mount.disk
    disk.step("delete", name)
    file = disk.files.pop(name, None)
    if file is not None:
        disk.deleted[name] = file
    if is_synced:
        disk.deleted.clear()
    return OK


@_callback("int(sqlite3_vfs*, const char*, int, int*)")
def _access(_vfs: Any, path: Any, flags: int, answer: Any) -> int:
    name = _ours(ffi.string(path))
    if name is None:
        return int(_system.xAccess(_system, path, flags, answer))
    if _Mount.disk.is_dead:
        return IOERR
    file = _Mount.disk.files.get(name)
    # Whether it exists (0): SQLite takes an empty file for none.
    answer[0] = int(file is not None and (flags != 0 or bool(file.data)))
    return OK


_methods: Final = ffi.new("sqlite3_io_methods*", {
    "iVersion": 2, "xClose": _close, "xRead": _read, "xWrite": _write, "xTruncate": _truncate,
    "xSync": _sync, "xFileSize": _file_size, "xLock": _lock, "xUnlock": _unlock,
    "xCheckReservedLock": _check_reserved, "xFileControl": _file_control,
    "xSectorSize": _sector_size, "xDeviceCharacteristics": _device, "xShmMap": _shm_map,
    "xShmLock": _shm_lock, "xShmBarrier": _shm_barrier, "xShmUnmap": _shm_unmap,
})  # fmt: skip
_vfs: Final = ffi.new("sqlite3_vfs*")
_vfs_name: Final = ffi.new("char[]", b"power")
ffi.memmove(_vfs, _system, ffi.sizeof("sqlite3_vfs"))
_vfs.pNext, _vfs.zName = ffi.NULL, _vfs_name
_vfs.szOsFile = max(int(_system.szOsFile), ffi.sizeof("our_file"))
_vfs.xOpen, _vfs.xDelete, _vfs.xAccess = _open, _delete, _access


@contextmanager
def mounted(folder: Path, disk: Disk) -> Iterator[None]:
    """Let the driver find `disk` below `folder` while the body runs. Not nested, one thread."""
    assert not _Mount.folder, "one disk at a time"
    _Mount.folder, _Mount.disk = f"{folder.resolve()}/", disk
    assert lib.sqlite3_vfs_register(_vfs, 1) == OK
    try:
        yield
    finally:
        lib.sqlite3_vfs_unregister(_vfs)
        assert lib.sqlite3_vfs_register(_system, 1) == OK
        _Mount.folder, _Mount.disk = "", Disk()


def swap(disk: Disk) -> None:
    """Put another disk in the place of the mounted one: the power is back."""
    _Mount.disk = disk
