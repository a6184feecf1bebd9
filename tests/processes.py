"""Real programs as children of a test: started, killed at any moment, started again.

Rules:
  1. A program that ends by itself is found at the next look at it, with the end of its log.
  2. No program outlives the test: whatever is alive at the end is killed.
  3. A program gets our environment without our settings, plus what the test gives it; a bare one
     gets nothing else.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from tests.tree import ROOT

TAIL_LINES = 15
#: Below the ports from which systems choose for outgoing connections: a client that dials a dead
#: server on such a port may be given that very port, and then talks to itself.
PORTS = range(20_000, 30_000)


class Program:
    """One command line and its current process; its log goes on from start to start."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = (sys.executable, "-m"),
        is_bare: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.starts = 0
        self._command = [*command, *arguments]
        self._settings = settings or {}
        self._is_bare = is_bare
        self._pass_fds = pass_fds
        self._process: trio.Process | None = None
        #: Where the log of the latest start begins.
        self._begins_at = 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            with trio.CancelScope(shield=True):
                await self._process.wait()

    async def start(self) -> None:
        """Run it (again)."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HYPERNODE_")}
        ours = {} if self._is_bare else {**kept, "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self._begins_at = log.tell()
            self._process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**ours, **self._settings},
                pass_fds=self._pass_fds,
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        return self.alive().pid

    def alive(self) -> trio.Process:
        """The running process.

        Raises:
            AssertionError: it has ended by itself.
        """
        assert self._process is not None, f"{self.name} was not started"
        status = self._process.poll()
        assert status is None, f"{self.name} ended by itself with status {status}"
        return self._process

    async def kill(self) -> None:
        """End it as a crash does: nothing of its own runs any more."""
        process = self.alive()
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    async def stop(self, seconds: float) -> int:
        """Ask it to end; its exit status."""
        process = self.alive()
        process.terminate()
        with trio.fail_after(seconds):
            return await process.wait()

    async def until_said(self, words: str, seconds: float) -> None:
        """Wait until it has said this since it was last started."""
        with trio.fail_after(seconds):
            while words.encode() not in self.log.read_bytes()[self._begins_at :]:
                self.alive()
                await trio.sleep(0.02)

    def tail(self) -> str:
        """The end of the log, under the program's name."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()[-TAIL_LINES:]
        return "\n".join([f"--- {self.name}, start {self.starts}", *lines])


def free_port(first: int) -> int:
    """A port that nobody listens on: the first one from `first` on."""
    for port in range(first, PORTS.stop):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def living(marker: bytes) -> list[int]:
    """Processes with `marker` in their command line; what has ended has none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
