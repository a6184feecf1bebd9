"""security.txt in a program's bytes: where to report a flaw. Pure.

In:   the bytes of a program. Out:  its fields, in order.
Not covered: whether what it says is true; whoever deploys a program writes it.
Source: solana-security-txt: strings ended by zeros, between two markers.
"""

from __future__ import annotations

from typing import Final

_BEGIN: Final = b"=======BEGIN SECURITY.TXT V1=======\0"
_END: Final = b"=======END SECURITY.TXT V1======="
#: More is no text for people.
_BYTES_MAX: Final = 8192


def read_security_txt(program: bytes) -> dict[str, str]:
    """Its fields; none where there is no such text, or a broken one."""
    begin = program.find(_BEGIN)
    if begin < 0:
        return {}
    begin += len(_BEGIN)
    end = program.find(_END, begin, begin + _BYTES_MAX)
    if end < 0:
        return {}
    words = program[begin:end].decode("utf-8", "replace").split("\0")[:-1]
    return dict(zip(words[::2], words[1::2], strict=False))
