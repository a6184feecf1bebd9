"""What strangers write, made fit to be shown: nothing in it moves a terminal or reorders a line.

Character by character, so that a text cut anywhere and shown in pieces is the whole one shown.
"""

from __future__ import annotations

from typing import Final

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
#: C0 and C1 but line ends and tabs; what turns the direction of writing; separators that are lines
#: for some and not for others; the byte order mark.
_HARMFUL: Final = (
    *range(0x20), *range(0x7F, 0xA0), 0x061C, *range(0x200E, 0x2010), *range(0x2028, 0x202F),
    *range(0x2066, 0x206A), 0xFEFF,
)  # fmt: skip
_SHOWN: Final = {
    **dict.fromkeys(_HARMFUL, _REPLACEMENT),
    ord("\n"): "\n",
    ord("\t"): "\t",
    # A bar that redraws itself becomes lines.
    ord("\r"): "\n",
}


def shown(text: str) -> str:
    """The text as it may be printed; as many characters as before."""
    return text.translate(_SHOWN)
