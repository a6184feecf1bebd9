"""Processes of a scheduler as children of its driver: they end with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from hypernode.children import die_with

_END_S: Final = 10.0


@contextmanager
def started(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the time of a block; what it prints goes to standard error."""
    process = subprocess.Popen(  # noqa: S603 - our own words
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=2,
        env=environment,
        preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
