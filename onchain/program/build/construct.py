"""The whole build: sources to both files, checked, proved the same; and the comparison with them.

In:   a folder of C sources.
Out:  the bytes of the program, SBPF v0 and v3, and where its functions begin.
Rules:
  1. Nothing is handed out that was not read back, checked and proved (`checks`, `disassemble`).
  2. `check_committed` compares byte for byte: no difference is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from onchain.program.build.checks import check
from onchain.program.build.compile import compile_folder
from onchain.program.build.disassemble import disassemble, prove_same
from onchain.program.build.errors import NotReproduced
from onchain.program.build.image import Version
from onchain.program.build.linker import link
from onchain.program.build.objects import Object
from onchain.program.build.program_file import read_program
from onchain.program.build.writer import write

#: The settlement program: its folder and the name of its files.
FOLDER: Final = Path(__file__).parents[1]
NAME: Final = "hyper_settlement"


@dataclass(frozen=True, slots=True)
class Built:
    #: Version → the bytes of the file.
    files: dict[Version, bytes]
    #: Offset in the code of each function, and its name; the same in both versions.
    functions: dict[int, str]

    def listing(self, version: Version = Version.V3) -> list[str]:
        return disassemble(read_program(self.files[version]), self.functions)


def file_name(version: Version, name: str = NAME) -> str:
    return f"{name}.{version.name.lower()}.so"


def build(sources: Path, compiler: str = "zig", extra: Sequence[str] = ()) -> Built:
    """Build a program from the sources of a folder, in a fresh folder.

    Args:
        sources: The folder with the `.c` files.
        compiler: `zig` or `clang`.
        extra: More flags for the compiler.

    Raises:
        BuildError: any of its kinds, where something is refused.
    """
    with TemporaryDirectory(prefix="hypernode-program-") as work:
        return construct(compile_folder(sources, Path(work), compiler, extra))


def construct(objects: Sequence[Object]) -> Built:
    """Link, write, read back, check and prove."""
    images = {version: link(objects, version) for version in Version}
    files = {version: write(image) for version, image in images.items()}
    programs = {version: read_program(data) for version, data in files.items()}
    functions = images[Version.V3].functions
    for program in programs.values():
        check(program, functions)
    prove_same(programs[Version.V0], programs[Version.V3])
    return Built(files, functions)


def save(built: Built, folder: Path, name: str = NAME) -> None:
    """Put both files into a folder, which must be there."""
    for version, data in built.files.items():
        (folder / file_name(version, name)).write_bytes(data)


def check_committed(built: Built, folder: Path, name: str = NAME) -> None:
    """Compare with the files that are in a folder.

    Raises:
        NotReproduced: one is missing or differs.
    """
    for version, data in built.files.items():
        path = folder / file_name(version, name)
        if not path.is_file() or path.read_bytes() != data:
            msg = f"{path.name} is not what the sources give: build it again and commit it"
            raise NotReproduced(msg)
