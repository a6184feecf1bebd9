"""Kernels of the tests for the zygote: Python code of theirs instead of a stranger's object code.

Params: JSON `{"name": …, "value": …}`; `name` is a function of `zygote_attacks` or one below,
called in the run child (`in_build` in front: in the compile child).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import zygote_attacks  # type: ignore[import-not-found]  # found by the zygote's path

from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal

Zeros = Callable[[str, Sequence[int]], AnyArray]
Tell = Callable[[float], None]

#: What a job leaves behind in the process, for the next one to find.
LEFT: dict[str, int] = {}


def warm() -> None:
    """Nothing to compile."""


def key(params: bytes) -> bytes:
    return params if b'"keep"' in params else os.urandom(16)


def build(params: bytes) -> bytes:
    given = json.loads(params)
    if given["name"] == "build_fails":
        raise Refusal("bad_spec", "line 3: there is no such thing")
    if given.get("where") == "build":
        return attack(given["name"]).encode()
    return str(os.getpid()).encode()


def run(
    params: bytes, inputs: Mapping[str, AnyArray], code: bytes, zeros: Zeros, on_progress: Tell
) -> None:
    given = json.loads(params)
    name, value = given["name"], given.get("value")
    if given.get("where") == "build":
        say(zeros, code.decode())
    elif name in JOBS:
        JOBS[name](value, code, zeros, on_progress)
    else:
        say(zeros, attack(name))


def attack(name: str) -> str:
    """What an attack got; empty where it was held."""
    try:
        return str(zygote_attacks.ATTACKS[name]())
    except (OSError, MemoryError, ValueError):
        return ""


def say(zeros: Zeros, text: str) -> None:
    raw = np.frombuffer(text.encode(), np.uint8)
    zeros("uint8", raw.shape)[:] = raw


def _double(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    zeros("float64", (len(value),))[:] = 2 * np.array(value)


def _two(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    zeros("int32", (3,))[:] = 7
    zeros("float32", (2, 2))[:] = 0.5


def _built_by(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    say(zeros, code.decode())


def _leave(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    say(zeros, str(LEFT.get("count", 0)))
    LEFT["count"] = LEFT.get("count", 0) + 1


def _steps(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    for step in range(value):
        tell(step / value)
        time.sleep(0.02)
    zeros("int64", (1,))


def _sleep(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    time.sleep(value)


def _spin(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    while True:
        pass


def _raise(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    raise RuntimeError(value)


def _refuse(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    raise Refusal("forbidden", "the kernel says so")


def _take(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    np.ones(value, np.uint8).sum()


def _large(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    zeros("uint8", (value,))


def _signal(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    signal.signal(value, signal.SIG_DFL)
    signal.raise_signal(value)


def _crash(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    ctypes.string_at(16)


def _exit(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    os._exit(value)


def _write(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    """Write bytes where the answer goes, then end: descriptor 3 is all there is."""
    os.write(3, value.encode())
    os._exit(0)


def _flood(value: Any, code: bytes, zeros: Zeros, tell: Tell) -> None:
    while True:
        os.write(3, b"x" * 60_000)


JOBS = {
    "double": _double, "two": _two, "built_by": _built_by, "leave": _leave, "steps": _steps,
    "sleep": _sleep, "spin": _spin, "raise": _raise, "refuse": _refuse, "take": _take,
    "large": _large, "signal": _signal, "crash": _crash, "exit": _exit, "write": _write,
    "flood": _flood,
}  # fmt: skip
