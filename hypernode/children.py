"""Other `hypernode` commands as children: started, watched, and ended whatever happens.

Rules:
  1. A child is asked to end (SIGTERM), given time, then killed; it never outlives its parent.
  2. Its output goes to a file of its own; when it dies early, the end of that file says why.
  3. It gets none of our `HYPERNODE_*` variables: what it needs stands in its arguments.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

#: Time to end in good order, and after a Ctrl-C of an impatient person.
GRACE_S: Final = 15.0
GRACE_INTERRUPTED_S: Final = 2.0
_TAIL_LINES: Final = 15
_POLL_S: Final = 0.02
_PR_SET_PDEATHSIG: Final = 1
_libc: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(Exception):
    """A child ended before its time; the text has the end of its log."""


class Child:
    """One running command."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raise if the child has ended.

        Raises:
            ChildFailed: it has.
        """
        status = self._process.poll()
        if status is not None:
            tail = "\n".join(self.text().splitlines()[-_TAIL_LINES:])
            msg = f"{self.name} ended with status {status}; the end of {self.log}:\n{tail}"
            raise ChildFailed(msg)

    def text(self) -> str:
        """What it has printed until now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, and see to it."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        with trio.move_on_after(grace_s):
            await self._end()
            return
        self._process.kill()
        await self._end()

    async def _end(self) -> None:
        while self._process.poll() is None:  # noqa: ASYNC110 (a process tells no event)
            await trio.sleep(_POLL_S)


@asynccontextmanager
async def running(name: str, arguments: Sequence[str], folder: Path) -> AsyncIterator[Child]:
    """A `hypernode` command that runs while the body does."""
    log = folder / f"{name}.log"
    # Not by Trio, which forks in a passing thread: Linux would end the child with that thread.
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 (our own program; a fork takes a moment)
            [sys.executable, "-m", "hypernode", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_environment(),
            start_new_session=True,  # Ctrl-C reaches us alone: we end the children in order
            preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509
        )
    child = Child(name, process, log)
    grace_s = GRACE_INTERRUPTED_S
    try:
        yield child
        grace_s = GRACE_S
    finally:
        with trio.CancelScope(shield=True):
            await child.stop(grace_s)


def _environment() -> dict[str, str]:
    """Ours without our settings; our own package can be found from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYPERNODE_")}
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def die_with(parent: int) -> None:
    """In the child, before it runs: be ended if the parent is killed."""
    if _libc is None:
        return
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
