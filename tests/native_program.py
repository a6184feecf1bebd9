"""A program's C sources as a program of this machine, under the sanitizers of clang.

In:   the folder of the sources; inputs as the VM would lay them out.
Out:  what each call returned, set as return data, and left in its accounts (`batch.c`); of the
      settlement program, what became of short inputs (`fuzzed.c`), whose calls to the system
      program and to SPL Token do what those do.
Not covered: calls to other programs under `batch.c`, which succeed and do nothing.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from onchain.program.build.compile import CLANGS, INCLUDE
from tests.tree import ROOT

HOST: Final = ROOT / "tests" / "program_native"
#: Hosts: files of inputs for any program, and short inputs for the settlement program.
BATCH: Final = ("batch.c", "calls.c")
SHORT: Final = ("fuzzed.c", "calls.c", "other_programs.c")
CLANG: Final = shutil.which(CLANGS[0])
#: Bytes that the runtime keeps free behind an account's data.
GROWTH: Final = 10_240

FLAGS: Final = (
    *("-std=c17", "-g", "-O1", "-fno-omit-frame-pointer"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    *("-Wall", "-Wextra", "-Werror", "-Wcast-align"),
)
#: What is never freed at the end is no finding.
QUIET: Final = {"ASAN_OPTIONS": "detect_leaks=0"}


@dataclass(frozen=True, slots=True)
class GivenAccount:
    key: bytes
    owner: bytes = bytes(32)
    lamports: int = 0
    data: bytes = b""
    is_signer: bool = False
    is_writable: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    result: int
    returned: bytes
    #: The whole input after the call.
    left: bytes


def serialise(accounts: Sequence[GivenAccount | int], data: bytes, program: bytes) -> bytes:
    """An input as Agave's loader lays it out; a number stands for an account named before."""
    parts = [struct.pack("<Q", len(accounts))]
    for account in accounts:
        if isinstance(account, int):
            parts.append(bytes([account]) + bytes(7))
            continue
        flags = bytes([0xFF, account.is_signer, account.is_writable, 0]) + bytes(4)
        numbers = struct.pack("<QQ", account.lamports, len(account.data))
        room = bytes(GROWTH + -len(account.data) % 8)
        parts += [flags, account.key, account.owner, numbers, account.data, room, bytes(8)]
    return b"".join([*parts, struct.pack("<Q", len(data)), data, program])


def build_native(
    sources: Path,
    folder: Path,
    host: Sequence[str] = BATCH,
    *,
    compiler: str | None = CLANG,
    flags: Sequence[str] = FLAGS,
    settings: Mapping[str, str] | None = None,
) -> Path:
    """Compile and link a host with the sources; returns the file to run.

    Args:
        sources: The program's folder.
        folder: Where the file is put.
        host: Sources of `program_native`.
        compiler: Command of a clang.
        flags: Its flags.
        settings: More of the compiler's environment.

    Raises:
        subprocess.CalledProcessError: it does not compile (words: `stderr`).
    """
    assert compiler is not None
    target = folder / "native"
    files = [*(HOST / name for name in host), *sorted(sources.glob("*.c"))]
    subprocess.run(
        [compiler, *flags, f"-I{INCLUDE}", f"-I{sources}", *map(str, files), "-o", str(target)],
        check=True,
        capture_output=True,
        timeout=120,
        env={**os.environ, **(settings or {})},
    )
    return target


def run_native(
    program: Path, inputs: Sequence[bytes], folder: Path, *, brief: bool = False
) -> list[Outcome]:
    """Call the program once for each input; brief: the results alone are handed back.

    Raises:
        subprocess.CalledProcessError: a sanitizer or a panic stopped it (words: `stderr`).
    """
    file = folder / "inputs"
    file.write_bytes(b"".join(struct.pack("<Q", len(each)) + each for each in inputs))
    done = subprocess.run(
        [str(program), str(file), *["brief"][:brief]],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=QUIET,
    )
    return [
        Outcome(int(result), bytes.fromhex(returned), bytes.fromhex(left))
        for result, returned, left in (line.split(" ") for line in done.stdout.splitlines())
    ]


def run_short(program: Path, inputs: Sequence[bytes]) -> list[str]:
    """What became of short inputs: a number, or `refused`; built with `SHORT`.

    Raises:
        subprocess.CalledProcessError: a sanitizer, a panic or the oracle stopped it.
    """
    done = subprocess.run(
        [str(program)],
        input=b"".join(struct.pack("<Q", len(each)) + each for each in inputs),
        check=True,
        capture_output=True,
        timeout=60,
        env=QUIET,
    )
    return done.stdout.decode().split()
