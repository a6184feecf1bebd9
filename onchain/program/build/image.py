"""A linked program before it is a file: code, constants, and where the VM sees them.

Rules:
  1. SBPF v0: an address is 2^32 plus the offset in the file; code first, then constants.
  2. SBPF v3: constants at 0, code at 2^32.
Source: anza-xyz/sbpf `elf.rs` (`load_with_lenient_parser`, `load_with_strict_parser`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from onchain.program.build.elf import FILE_HEADER, SEGMENT

#: The VM's memory comes in regions of this many bytes; what a program holds lies in the first two.
REGION: Final = 1 << 32
#: Constants begin at a multiple of it in v0, so that no alignment that an object asks for is lost.
ALIGNMENT_MAX: Final = 16


class Version(IntEnum):
    """A version of SBPF; its number stands in the file header's flags."""

    #: What LiteSVM of the pinned packages runs, in tests.
    V0 = 0
    #: What is released: clusters are about to refuse new programs of earlier versions.
    V3 = 3


#: Segments that a file of each version has.
SEGMENT_COUNT: Final = {Version.V0: 4, Version.V3: 2}


class Part(StrEnum):
    TEXT = "text"
    RODATA = "rodata"


@dataclass(frozen=True, slots=True)
class Image:
    version: Version
    text: bytes
    rodata: bytes
    #: Offset in `text` where the program begins.
    entry: int
    #: Offset in `text` of each call of a system call, and its name.
    syscalls: tuple[tuple[int, str], ...]
    #: Offset in `text` of each function, and its name.
    functions: dict[int, str]


def head_size(version: Version) -> int:
    """Bytes of the file before code or constants."""
    return FILE_HEADER.size + SEGMENT_COUNT[version] * SEGMENT.size


def rodata_offset(text_size: int) -> int:
    """Offset in a v0 file of the constants."""
    end = head_size(Version.V0) + text_size
    return end + -end % ALIGNMENT_MAX


def base_of(version: Version, part: Part, text_size: int) -> int:
    """Address at which the VM sees the first byte of a part."""
    if version is Version.V3:
        return REGION if part is Part.TEXT else 0
    return REGION + (head_size(version) if part is Part.TEXT else rodata_offset(text_size))
