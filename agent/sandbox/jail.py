"""One running jail: its streams, its end, and what became of it.

Covered:     nothing of the job survives `end`, whatever it did with sessions and signals.
Not covered: a process stuck in a driver; without a cgroup the end of every process rests on the
             PID namespace alone.
Why `Popen` and not Trio's: that one spawns in a worker thread, and the kernel's "die with parent"
means the thread: the jail would end when Trio lets an idle thread go, after 10 s.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from agent.sandbox.cgroup import Cgroup
from agent.sandbox.limits import END_S
from agent.sandbox.pipes import PIPE_BYTES_MAX, Pipes

#: Time for bubblewrap to make the namespace, and for the namespace to end.
_INNER_S: Final = 1.0


class Ending(msgspec.Struct, frozen=True):
    """What became of a jail."""

    #: Exit status of the command (128 + n for signal n); None if it never ran or was killed.
    exit_status: int | None
    out_of_memory: bool


class _Status(msgspec.Struct, rename="kebab"):
    """A line of what bubblewrap says."""

    child_pid: int | None = None
    exit_code: int | None = None


class Jail:
    """One running jail, or a plain process on a host without sandbox."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        output: int,
        input_: int | None,
        status: int | None = None,
        cgroup: Cgroup | None = None,
    ) -> None:
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._status = status
        self._said = b""
        self._has_said_all = False
        self._ending: Ending | None = None
        self.cgroup = cgroup
        self.output = trio.lowlevel.FdStream(output)
        self.input = None if input_ is None else trio.lowlevel.FdStream(input_)

    @property
    def pid(self) -> int:
        """The outer process, on the host."""
        return self._process.pid

    async def wait(self) -> None:
        """Wait for the outer process to end."""
        while self._process.poll() is None:
            await trio.lowlevel.wait_readable(self._pidfd)

    async def wait_briefly(self, seconds: float = END_S) -> None:
        """Give a process that is about to end the time for it."""
        with trio.move_on_after(seconds):
            await self.wait()

    async def end(self) -> Ending:
        """End every process, wait for that, give everything back; cannot be cancelled."""
        if self._ending is not None:
            return self._ending
        with trio.CancelScope(shield=True):
            await self._kill()
            for stream in (self.output, self.input):
                if stream is not None:
                    await stream.aclose()
            out_of_memory = self.cgroup is not None and self.cgroup.oom_kills() > 0
            if self.cgroup is not None:
                await self.cgroup.remove()
        os.close(self._pidfd)
        code = self._process.returncode if self._status is None else self._heard().exit_code
        if self._status is not None:
            os.close(self._status)
        self._ending = Ending(code, out_of_memory)
        return self._ending

    async def _kill(self) -> None:
        """End the namespace by its first process, so that the outer one reaps it and ends too.

        Were the outer one killed, the first one would be left to init, as a zombie (see `host.py`).
        """
        if self._process.poll() is None and self._status is not None:
            with trio.move_on_after(_INNER_S):
                while self._heard().child_pid is None and not self._has_said_all:
                    await trio.lowlevel.wait_readable(self._status)
            inner = self._heard().child_pid
            if inner is not None and self._process.poll() is None:
                with suppress(ProcessLookupError):  # It ended by itself just now.
                    os.kill(inner, signal.SIGKILL)
                await self.wait_briefly(_INNER_S)
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self.wait_briefly()

    def _heard(self) -> _Status:
        """What bubblewrap has said so far: the inner process, and the command's exit status.

        Its own exit status would not tell the command's failure from its own.
        """
        assert self._status is not None
        with suppress(BlockingIOError):  # It has nothing to say now.
            piece = os.read(self._status, PIPE_BYTES_MAX)
            self._said += piece
            self._has_said_all = not piece
        # What has no end yet is half a line: it is written in pieces.
        whole = self._said[: self._said.rfind(b"\n") + 1]
        lines = [msgspec.json.decode(line, type=_Status) for line in whole.splitlines()]
        return _Status(
            child_pid=next((line.child_pid for line in lines if line.child_pid), None),
            exit_code=next((line.exit_code for line in lines if line.exit_code is not None), None),
        )


def spawn(
    words: Sequence[str],
    *,
    passed: Sequence[int] = (),
    stdin: bool,
    stderr: int,
    uid: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], int, int | None]:
    """Start a process with pipes, an empty environment by default, and no other descriptor.

    Args:
        words: Program and arguments.
        passed: Descriptors that it inherits under their numbers.
        stdin: Whether it gets a pipe to read from, otherwise nothing.
        stderr: A descriptor, or `subprocess.STDOUT`.
        uid: User, and sole group, that it runs as; our own by default.
        environment: What it finds in its environment.

    Returns:
        The process, where to read its output, and where to write its input.
    """
    with Pipes() as pipes:
        output, output_end = pipes.open()
        input_end, input_ = pipes.open() if stdin else (subprocess.DEVNULL, None)
        process = subprocess.Popen(  # noqa: S603  (a list of ours, no shell)
            list(words),
            stdin=input_end,
            stdout=output_end,
            stderr=stderr,
            env=dict(environment or {}),
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else (),
        )
        return process, pipes.keep(output), None if input_ is None else pipes.keep(input_)


def start_plain(words: Sequence[str], *, environment: Mapping[str, str], stderr: int) -> Jail:
    """Start our own worker where no sandbox can be had; nothing else may use this."""
    process, output, input_ = spawn(words, stdin=True, stderr=stderr, environment=environment)
    return Jail(process, output=output, input_=input_)
