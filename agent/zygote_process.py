"""The zygote: imports the compiler once, then forks a confined child for each stranger's kernel.

In, out: frames (`frames.py`) on standard input and output, as of the warm worker; the process ends
         with its input.
Rules:
  1. No line of a stranger's runs here, and none is compiled here. A *compile child* makes the
     object code of a source, a *run child* loads object code and runs it; both put up their walls
     before they see the source (`zygote_child`).
  2. Object code comes from compile children alone, which run nothing of what they compile; it is
     kept by what it was made of, for whoever sends that source next. Nothing is unpickled.
  3. A child's answer is a stranger's: bounded, checked, committed to here.
  4. A child's failure is its task's; the zygote goes on.
Not covered: a source on which the compiler itself breaks and then writes object code of its own
         choice: that code runs in run children, for that source only.
Not here: the jail around it all, its memory (`warm_worker.py`).
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Final, Protocol

import numpy as np

from agent.frames import ReplyHeader, TaskHeader, head, read_task
from agent.sandbox.confinement import become_unreadable
from agent.worker_process import completed, die_with_the_agent
from agent.zygote_child import Bounds, Room, Stopped, run_child
from coordinator.limits import MIB
from coordinator.protocol.arrays import AnyArray, to_wire
from coordinator.protocol.errors import Refusal

_FILE_BYTES_MAX: Final = 64 * MIB
#: Of a compile child: Numba's largest functions take some 300 MiB and some seconds.
_COMPILE: Final = Bounds(memory_bytes=2048 * MIB, execution_s=60.0, shared_bytes=16 * MIB)
#: Object code that is kept; some 10 to 100 KB a source.
_KEPT_BYTES_MAX: Final = 64 * MIB


class UserKernels(Protocol):
    """What compiles and runs strangers' kernels: `agent.kernels.user_jobs`."""

    def warm(self) -> None:
        """Import and compile something of our own, so that children find it done."""
        ...

    def key(self, params: bytes) -> bytes:
        """What object code of these parameters is kept under; looks at no source."""
        ...

    def build(self, params: bytes) -> bytes:
        """Object code; in a compile child."""
        ...

    def run(
        self,
        params: bytes,
        inputs: Mapping[str, AnyArray],
        code: bytes,
        zeros: Callable[[str, Sequence[int]], AnyArray],
        on_progress: Callable[[float], None],
    ) -> None:
        """Run object code, outputs made by `zeros` in their order; in a run child."""
        ...


class ObjectCode:
    """Object code by what it was made of; the least recently used goes first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> bytes | None:
        """The code, young again."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: bytes, code: bytes) -> None:
        """Keep it."""
        self._bytes += len(code) - len(self._kept.pop(key, b""))
        self._kept[key] = code
        while self._bytes > _KEPT_BYTES_MAX:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old)


class Zygote:
    """One task after the other."""

    def __init__(self, kernels: UserKernels, replies: BinaryIO, requests: BinaryIO) -> None:
        self._kernels = kernels
        self._replies = replies
        self._requests = requests
        self._code = ObjectCode()

    def serve(self, task: TaskHeader, params: bytes, inputs: Mapping[str, AnyArray]) -> None:
        """Run one task and reply."""
        started = time.perf_counter_ns()
        try:
            outputs = self._run(task, params, inputs)
        except Stopped:
            self._send(ReplyHeader("cancelled"), ())
            return
        except Refusal as refusal:
            self._send(ReplyHeader("failed", refusal.code, refusal.sentence), ())
            return
        duration_ms = (time.perf_counter_ns() - started) // 1_000_000
        self._send(*completed([to_wire(array) for array in outputs], duration_ms))

    def _run(
        self, task: TaskHeader, params: bytes, inputs: Mapping[str, AnyArray]
    ) -> list[AnyArray]:
        kernels, stop = self._kernels, self._requests.fileno()
        key = kernels.key(params)
        code = self._code.get(key)
        if code is None:

            def build(room: Room, _: Callable[[float], None]) -> None:
                made = kernels.build(params)
                room.zeros("uint8", (len(made),))[:] = np.frombuffer(made, np.uint8)

            (made,) = run_child(build, _COMPILE, stop)
            code = made.tobytes()
            self._code.put(key, code)

        def work(room: Room, tell: Callable[[float], None]) -> None:
            kernels.run(params, inputs, code, room.zeros, tell)

        bounds = Bounds(task.memory_bytes, task.execution_s, task.output_bytes)
        return run_child(work, bounds, stop, self._tell)

    def _tell(self, progress: float) -> None:
        self._send(ReplyHeader("running", progress=progress), ())

    def _send(self, header: ReplyHeader, data: Sequence[bytes]) -> None:
        self._replies.write(head(header))
        self._replies.writelines(data)
        self._replies.flush()


def main(arguments: Sequence[str]) -> None:
    """Serve until the input ends.

    Args:
        arguments: Name of the module that compiles and runs kernels, and the backend (`cpu`).
    """
    name, _ = arguments
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES_MAX, _FILE_BYTES_MAX))
    die_with_the_agent()
    become_unreadable()
    kernels: UserKernels = importlib.import_module(name)
    kernels.warm()
    with os.fdopen(0, "rb", buffering=0) as requests:
        zygote = Zygote(kernels, replies, requests)
        replies.write(head(ReplyHeader("ready")))
        replies.flush()
        while (task := read_task(requests)) is not None:
            zygote.serve(task.header, task.params, task.arrays())


if __name__ == "__main__":
    main(sys.argv[1:])
