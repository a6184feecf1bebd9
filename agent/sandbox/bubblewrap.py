"""The command line of bubblewrap: what a jail sees of the host.

Covered:     own user, mount, process, network, IPC, UTS and cgroup namespaces; no capability; a
             read-only root of system programs and libraries; scratch in memory, bounded; no further
             user namespaces; an empty environment, so that the first process has none to show.
Not covered: what /usr and the interpreter's folders hold can be read; /proc tells facts of the
             host (processor, kernel, memory in all): accepted, they are no secret of the operator.
Rules:
  1. Options travel through a pipe (`--args`), not in argv: /proc/1/cmdline is readable inside.
  2. Nothing but the scratch folders is writable, /dev included.
Source: bubblewrap's `demos/bubblewrap-shell.sh`; containers/bubblewrap issue 725 (environment).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.sandbox.limits import SHARED_BYTES_MAX, JailLimits

#: Folders that are symbolic links into /usr on merged systems, real folders on others.
_SYSTEM_FOLDERS: Final = ("bin", "sbin", "lib", "lib32", "lib64")
#: Needed by the dynamic linker and by distributions that link libraries through alternatives.
_SYSTEM_FILES: Final = ("/etc/ld.so.cache", "/etc/alternatives")
#: The uid that a job sees; outside it is the slot's.
_INSIDE_ID: Final = "65534"
#: Packages of this house that the worker imports.
_PACKAGES: Final = ("agent", "coordinator", "onchain")
_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")
_HOUSE: Final = Path(__file__).resolve().parents[2]


class View(msgspec.Struct, frozen=True):
    """What a jail sees besides the system, at the same paths, read-only."""

    readable: tuple[str, ...] = ()
    #: Device nodes, for a GPU.
    devices: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}


def options(
    view: View, limits: JailLimits, *, filter_fd: int, status_fd: int, files: Mapping[str, int]
) -> list[str]:
    """The options that `--args` reads.

    Args:
        view: What is visible.
        limits: Sizes of the scratch folders.
        filter_fd: Where bubblewrap reads the seccomp program.
        status_fd: Where it writes the command's exit status.
        files: Path inside → descriptor to read its content from.
    """
    words = [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--as-pid-1", "--cap-drop", "ALL", "--hostname", "job"),
        *("--uid", _INSIDE_ID, "--gid", _INSIDE_ID, "--ro-bind", "/usr", "/usr"),
        *_system_folders(),
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(limits.scratch_bytes), "--tmpfs", "/tmp"),  # noqa: S108  (inside the jail)
        *("--size", str(SHARED_BYTES_MAX), "--tmpfs", "/dev/shm"),  # noqa: S108
    ]
    for path in _SYSTEM_FILES:
        words += ["--ro-bind-try", path, path]
    for path in view.readable:
        words += ["--ro-bind", path, path]
    for path in view.devices:
        words += ["--dev-bind", path, path]
    for path, descriptor in files.items():
        words += ["--ro-bind-data", str(descriptor), path]
    words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]  # noqa: S108
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108
    for name, value in {**environment, **view.environment}.items():
        words += ["--setenv", name, value]
    return [*words, "--seccomp", str(filter_fd), "--json-status-fd", str(status_fd)]


def _system_folders() -> Iterable[str]:
    for name in _SYSTEM_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            yield from ("--symlink", str(folder.readlink()), str(folder))
        elif folder.is_dir():
            yield from ("--ro-bind", str(folder), str(folder))


def package_paths() -> tuple[str, ...]:
    """Folders from which a worker imports: this house, and every folder of packages in use.

    Of `sys.path` only folders of packages: its first entry may be the operator's home
    (`python -m`), or a source tree with keys beside the packages.
    """
    return (str(_HOUSE), *(entry for entry in sys.path if Path(entry).name in _PACKAGE_FOLDERS))


def interpreter_paths(extra: Iterable[str] = ()) -> tuple[str, ...]:
    """Folders that this Python and this house's packages are read from."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    folders |= {Path(entry) for entry in (*package_paths()[1:], *extra)}
    folders |= {_HOUSE / name for name in _PACKAGES}
    found = sorted({str(folder) for folder in folders if folder.exists() and folder != Path("/")})
    kept: list[str] = []
    for path in found:
        # Sorted, so that a folder comes before what it contains; /usr is there already.
        if not any(Path(path).is_relative_to(above) for above in ("/usr", *kept)):
            kept.append(path)
    return tuple(kept)
