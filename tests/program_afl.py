"""The settlement program under AFL++, with mocked system calls and the sanitizers.

`python -m tests.program_afl --seconds N [--keep FOLDER] [--seed N]` builds the sources with
`afl-clang-fast` (address and undefined-behaviour sanitizer) and the host `program_native/fuzzed.c`,
gives AFL every case of the tables as a seed, and lets it search so long. It ends with an error if
anything was found: a crash, a hang, a panic, or what the host's oracle sees (money that is missing,
counters that fell). What was found is kept in FOLDER.
Needs Debian's `afl++`. Not covered: what `fuzzed.c` does not; SBPF (these are the machine's own
instructions); two calls in a row (`tests.program_fuzz` plays whole lives).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from onchain.program.build.construct import FOLDER
from onchain.program.instructions import INSTRUCTIONS
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER
from tests.native_program import SHORT, build_native
from tests.program_inputs import short_input
from tests.program_suite import CASES

COMPILER, FUZZER = (shutil.which(name) for name in ("afl-clang-fast", "afl-fuzz"))
#: The sanitizers are AFL's to ask for; warnings are the other compiler's to give.
_FLAGS: Final = ("-std=c17", "-g", "-O1", "-w")
_SANITIZERS: Final = {"AFL_USE_ASAN": "1", "AFL_USE_UBSAN": "1", "AFL_QUIET": "1"}
_SETTINGS: Final = {
    "AFL_NO_UI": "1",
    "AFL_NO_AFFINITY": "1",
    "AFL_SKIP_CPUFREQ": "1",
    # The kernel may hand crashes to a program of its own: they are seen all the same, later.
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
    "ASAN_OPTIONS": "abort_on_error=1:symbolize=0:detect_leaks=0",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:symbolize=0",
}
#: A call takes under a millisecond; a machine that is busy makes it some.
_HANG_MS: Final = 2_000


class Found(NamedTuple):
    """What AFL says of its run."""

    #: Its own figures, by their names in `fuzzer_stats`.
    stats: Mapping[str, str]
    crashes: Sequence[Path]
    hangs: Sequence[Path]


def seeds() -> Iterator[bytes]:
    """Every case as an input, each once."""
    yield from {each for each in map(short_input, CASES) if each is not None}


def words() -> Iterator[tuple[str, bytes]]:
    """AFL's dictionary: tags of instructions and accounts, numbers at the borders."""
    for each in INSTRUCTIONS:
        yield each.name, each.discriminator
    for layout in (LEDGER, CLAIM_RECORD, DEPOSIT_RECORD):
        yield layout.name, layout.discriminator
    for power in (8, 16, 31, 32, 63, 64):
        yield f"below_{power}", (2**power - 1).to_bytes(8, "little")


def build(folder: Path, sources: Path = FOLDER / "src") -> Path:
    """The program for AFL."""
    return build_native(
        sources, folder, SHORT, compiler=COMPILER, flags=_FLAGS, settings=_SANITIZERS
    )


def search(program: Path, folder: Path, seconds: int, seed: int) -> Found:
    """Let AFL search; its files are in the folder.

    Raises:
        subprocess.CalledProcessError: AFL could not begin.
    """
    assert FUZZER is not None
    begin, out, dictionary = folder / "seeds", folder / "out", folder / "words"
    begin.mkdir()
    for each in seeds():
        (begin / hashlib.sha256(each).hexdigest()[:16]).write_bytes(each)
    dictionary.write_text("".join(f'{name}="{_escaped(word)}"\n' for name, word in words()))
    options = ["-V", str(seconds), "-s", str(seed), "-t", str(_HANG_MS), "-m", "none"]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [FUZZER, *options, "-i", str(begin), "-o", str(out), "-x", str(dictionary),
             "--", str(program)],
            check=True, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **_SETTINGS},
        )  # fmt: skip
    return found_in(out / "default")


def _escaped(word: bytes) -> str:
    return "".join(rf"\x{byte:02x}" for byte in word)


def found_in(folder: Path) -> Found:
    """What a run left."""
    lines = (folder / "fuzzer_stats").read_text().splitlines()
    pairs = (line.partition(":") for line in lines)
    stats = {name.strip(): value.strip() for name, _, value in pairs}
    kept = [sorted((folder / name).glob("id*")) for name in ("crashes", "hangs")]
    return Found(stats, *kept)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.program_afl", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--seconds", type=int, default=60, help="of the search (60)")
    parser.add_argument("--seed", type=int, default=1, help="of AFL's chance (1)")
    parser.add_argument("--keep", type=Path, help="an empty folder for AFL's files")
    options = parser.parse_args(arguments)
    if COMPILER is None or FUZZER is None:
        print("AFL++ is not installed: apt-get install afl++", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = search(build(folder), folder, options.seconds, options.seed)
        for path in (*found.crashes, *found.hangs):
            print("found:", path.parent.name, path.read_bytes().hex())
    told = ("run_time", "execs_done", "execs_per_sec", "corpus_count", "edges_found", "total_edges")
    print(*(f"{name} {found.stats.get(name, '?')}" for name in told), sep=", ")
    print(f"{len(found.crashes)} crashes, {len(found.hangs)} hangs")
    return int(bool(found.crashes or found.hangs))


if __name__ == "__main__":
    sys.exit(main())
