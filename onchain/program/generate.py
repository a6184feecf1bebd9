"""Writes what is made from the program's declarations: `python -m onchain.program.generate`.

The C header and both IDLs; `--check` compares and writes nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from onchain.program import DEVELOPMENT_ID
from onchain.program.header import header
from onchain.program.idl import NAME, new_idl, old_idl

HERE: Final = Path(__file__).parent


def generated() -> dict[Path, str]:
    """Path → the text it must have."""
    return {
        HERE / "src" / "interface.h": header(),
        HERE / f"{NAME}.json": json.dumps(old_idl(), indent=1) + "\n",
        HERE / f"{NAME}.idl.json": json.dumps(new_idl(DEVELOPMENT_ID), indent=1) + "\n",
    }


def stale() -> list[Path]:
    """Files that differ from what the declarations say."""
    return [
        path
        for path, text in generated().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python -m onchain.program.generate [--check]", file=sys.stderr)  # noqa: T201
        return 2
    for path in stale():
        print(path.relative_to(HERE))  # noqa: T201
        if not arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(generated()[path], encoding="utf-8")
    return int(bool(stale()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
