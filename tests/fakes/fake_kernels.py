"""A kernels module for the worker's tests: as `agent.kernels`, and with every way to err."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from coordinator.protocol.arrays import AnyArray
from coordinator.protocol.errors import Refusal

#: When this process imported us: in a jail each worker has the same pid.
BORN = time.monotonic_ns()
KINDS = (
    "echo",
    "size",
    "spin",
    "crash",
    "hog",
    "chatter",
    "raise",
    "refuse",
    "environment",
    "steps",
    "launches",
    "reach",
)


def warm(backend: str) -> None:
    """Nothing to compile; two backends that fail, one of them only in a jail."""
    is_inside = os.getuid() == 65534
    if backend == "broken" or (backend == "broken inside" and is_inside):
        detail = "no device here"
        raise RuntimeError(detail)


def run(
    kind: str, params: bytes, backend: str, on_progress: Callable[[float], None]
) -> list[AnyArray]:
    given = json.loads(params)
    # A job of a kind that the house knows may ask for another deed.
    kind = given.get("do", kind)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "") in given.get("broken", []):
        detail = "an illegal memory access"
        raise RuntimeError(detail)
    if kind == "echo":
        return [np.frombuffer(params, np.uint8)]
    if kind == "size":
        return [np.arange(given["bytes"], dtype=np.uint8)]
    if kind in {"hog", "steps", "launches"}:
        return _work(kind, given, on_progress)
    if kind in {"environment", "reach"}:
        facts = {
            "uid": os.getuid(),
            "environment": dict(os.environ),
            "pid": os.getpid(),
            "born": BORN,
        }
        shown = _reach() if kind == "reach" else facts
        return [np.frombuffer(json.dumps(shown).encode(), np.uint8)]
    if kind == "chatter":
        print("a library that greets", flush=True)
        os.write(1, b"even by the descriptor\n")
        return [np.zeros(1, np.float32)]
    _err(kind)
    return []


def _work(kind: str, given: dict[str, Any], on_progress: Callable[[float], None]) -> list[AnyArray]:
    if kind == "hog":
        return [np.ones(given["bytes"], np.uint8)[:1]]
    if kind == "launches":
        # As a real kernel: short launches, and a call after each of them, for as long as it takes.
        for number in range(given["count"]):
            time.sleep(0.01)
            on_progress(number / given["count"])
        return [np.zeros(given.get("bytes", 1), np.uint8)]
    for step in range(1, 5):
        time.sleep(given["seconds"] / 4)
        on_progress(step / 4)
    return [np.zeros(1, np.float32)]


def _reach() -> dict[str, Any]:
    """What a worker whose kernel was turned could get at."""
    readable = [
        p for p in ("/root", "/home", "/etc/shadow", "/etc/passwd") if os.access(p, os.R_OK)
    ]
    places = ("/", "/usr", "/etc", "/dev", "/dev/shm", "/tmp", "/run", "/proc/sys/kernel")
    families = []
    for family in (2, 10, 16, 17, 40):
        try:
            socket.socket(family, socket.SOCK_DGRAM).close()
            families.append(family)
        except OSError:
            continue
    writable = [place for place in places if os.access(place, os.W_OK)]
    return {"readable": readable, "writable": writable, "families": families}


def _err(kind: str) -> None:
    if kind == "spin":
        while True:
            pass
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
        sys.exit(1)
    if kind == "refuse":
        raise Refusal("bad_spec", "these parameters are not mine")
    detail = "the kernel is wrong"
    raise ValueError(detail)
