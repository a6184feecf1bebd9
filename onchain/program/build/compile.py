"""C sources become BPF objects, by a compiler whose every flag stands here.

In:   a folder of sources, a compiler.
Out:  the objects, in the order of the sources' names.
Rules:
  1. The same sources give the same objects wherever they lie: relative names, a cache and an
     environment of their own, no date and no path in what is compiled.
  2. A warning is an error.
  3. `zig` is the compiler of what is released (one version, pinned with its hash); `clang` is the
     second opinion, whose program must behave the same.
Not covered: sources in folders below, other languages.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from onchain.program.build.errors import BuildError, CompileError, CompilerMissing
from onchain.program.build.objects import Object, read_object

INCLUDE: Final = Path(__file__).parents[1] / "include"
#: Seconds for one source; each takes about a twentieth of one.
TIMEOUT_S: Final = 60

WARNINGS: Final = (
    *("-Wall", "-Wextra", "-Werror", "-Wcast-align", "-Wcast-qual", "-Wconversion", "-Wshadow"),
    *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Wundef", "-Wvla", "-Wwrite-strings"),
    *("-Wdate-time", "-Wpointer-arith", "-Wimplicit-fallthrough", "-Wswitch-enum"),
)
FLAGS: Final = (
    *("-std=c17", "-O2", "-ffreestanding", "-fno-builtin", "-fno-common"),
    # No 32-bit arithmetic and comparisons: SBPF gives them another meaning (see `checks`).
    "-mcpu=v2",
    # SBPF's frame; LLVM would stop at 512 bytes.
    *("-mllvm", "-bpf-stack-size=4096"),
    # An account's bytes have no declared type. Reading them through a struct that forgot LAYOUT
    # must not become a miscompilation; a test says that no source of ours needs it.
    "-fno-strict-aliasing",
    *("-fno-ident", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
)
#: SBPF loads and stores at any address; without it an unaligned word is put together from bytes.
_UNALIGNED: Final = ("-Xclang", "-target-feature", "-Xclang", "+allows-misaligned-mem-access")
#: Debian's clang that knows `-bpf-stack-size`; 14, the default of Debian 12, does not.
CLANGS: Final = ("clang-19", "clang")
COMPILERS: Final = ("zig", "clang")


def compiler_command(compiler: str) -> list[str]:
    """The words before the flags that are the same for each compiler.

    Raises:
        CompilerMissing: it is not installed.
    """
    if compiler == "zig":
        if importlib.util.find_spec("ziglang") is None:
            msg = "the package ziglang is missing: pip install ziglang==0.17.1"
            raise CompilerMissing(msg)
        return [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", *_UNALIGNED]
    for name in CLANGS:
        if path := shutil.which(name):
            return [path, "--target=bpfel"]
    msg = "clang is missing: apt-get install clang-19"
    raise CompilerMissing(msg)


def compile_folder(
    sources: Path, work: Path, compiler: str = "zig", extra: Sequence[str] = ()
) -> list[Object]:
    """Compile every source of a folder.

    Args:
        sources: The folder with the `.c` files.
        work: An empty folder for the objects and the compiler's cache.
        compiler: `zig` or `clang`.
        extra: More flags, after the fixed ones.

    Raises:
        CompilerMissing: it is not installed.
        CompileError: it refuses a source.
    """
    names = sorted(path.name for path in sources.glob("*.c"))
    if not names:
        msg = f"there is no C source in {sources}"
        raise BuildError(msg)
    command = compiler_command(compiler)
    return [_compile(command, sources.resolve(), name, work.resolve(), extra) for name in names]


def _compile(
    command: Sequence[str], sources: Path, name: str, work: Path, extra: Sequence[str]
) -> Object:
    target = work / f"{name}.o"
    paths = [f"-I{INCLUDE}", f"-fmacro-prefix-map={INCLUDE}=include"]
    words = [*command, *FLAGS, *WARNINGS, *paths, *extra, "-c", name, "-o", str(target)]
    try:
        done = subprocess.run(  # noqa: S603  # our own words, no shell
            words,
            cwd=sources,
            env=_environment(work),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{name}: the compiler could not be run: {error}"
        raise CompileError(msg) from error
    if done.returncode or not target.is_file():
        msg = f"{name}: {done.stderr.strip() or 'the compiler wrote no object'}"
        raise CompileError(msg)
    return read_object(name, target.read_bytes())


def _environment(work: Path) -> dict[str, str]:
    """Nothing of the caller's that a compiler would listen to (CPATH, C_INCLUDE_PATH, …)."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work),
        "ZIG_GLOBAL_CACHE_DIR": str(work / "cache"),
        "ZIG_LOCAL_CACHE_DIR": str(work / "cache"),
    }
