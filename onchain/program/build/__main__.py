"""`python -m onchain.program.build`: build the settlement program, or check what is committed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onchain.program.build.compile import COMPILERS
from onchain.program.build.construct import (
    FOLDER,
    Built,
    build,
    check_committed,
    file_name,
    save,
)
from onchain.program.build.errors import BuildError
from onchain.program.build.program_file import verifiers_hash


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m onchain.program.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    parser.add_argument("--compiler", choices=COMPILERS, default=COMPILERS[0])
    parser.add_argument("--output", type=Path, help="folder for the files (a second compiler's)")
    parser.add_argument("--listing", action="store_true", help="print the instructions (v3)")
    chosen = parser.parse_args(arguments)
    if chosen.compiler != COMPILERS[0] and chosen.output is None:
        parser.error("what another compiler builds is not committed: name a folder by --output")
    if chosen.check and (chosen.output or chosen.compiler != COMPILERS[0]):
        parser.error("--check compares what zig builds with the committed files")
    try:
        built = build(FOLDER / "src", chosen.compiler)
        if chosen.check:
            check_committed(built, FOLDER)
    except BuildError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if not chosen.check:
        folder = chosen.output or FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        save(built, folder)
    report(built, listing=chosen.listing)
    return 0


def report(built: Built, *, listing: bool) -> None:
    """Print name, bytes and hash of each file (the hash as verifiers compute it)."""
    for version, data in built.files.items():
        print(f"{file_name(version)}  {len(data):,} bytes  sha256 {verifiers_hash(data)}")
    if listing:
        print("\n".join(built.listing()))


if __name__ == "__main__":
    sys.exit(main())
