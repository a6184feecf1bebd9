"""Numba's complaints about a source, as one sentence about one of its lines.

In:   an error of Numba's, which names lines of the tree that it was given: the source's own.
Out:  a refusal as the language's own are.
Not here: what the language refuses by itself, before any types are known (`source`).
"""

from __future__ import annotations

import re
from typing import Final

from numba.core.errors import NumbaError

from coordinator.workloads.kernel_types import SCALARS, KernelSource, SourceRefused

#: Numba's colours.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINE: Final = re.compile(r'File "<kernel>", line (\d+)')
_SHORT: Final = {scalar.dtype: name for name, scalar in SCALARS.items()}
_TYPE: Final = re.compile(r"\b(?:" + "|".join(_SHORT) + r")\b")
#: How Numba writes a number of the text, and an array.
_LITERAL: Final = re.compile(r"Literal\[(\w+)\]\([^()]*\)|(?:readonly )?array\([^()]*\)")
_SIGNS: Final = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "lshift": "<<", "rshift": ">>", "and_": "&", "or_": "|", "xor": "^", "invert": "~",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "getitem": "[]",
    "setitem": "[] =",
}  # fmt: skip
#: What Numba says, and what it means here.
_MEANINGS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), meaning)
    for pattern, meaning in (
        (r"Cannot modify readonly array", "an `In` array is read only"),
        (
            r"Cannot unify (\S+) and (\S+) for '(\w+)[.\d]*'",
            "`{2}` is {0} here and {1} there: give it one type",
        ),
        (r">>> ([\w.]+)\((.*)\)", "`{0}` does not take {1}"),
    )
)
_SENTENCE_CHARS_MAX: Final = 160


def refusal_of(error: NumbaError, source: KernelSource) -> SourceRefused:
    """The refusal that an error of Numba's amounts to."""
    text = _COLOUR.sub("", str(error))
    text = _LITERAL.sub(lambda found: {"int": "i64", "bool": "bool"}.get(found[1], "array"), text)
    text = _TYPE.sub(lambda found: _SHORT[found[0]], text)
    # The innermost place comes first; what lies beyond the text is not the user's.
    last = source.text.count("\n")
    lines = [int(line) for line in _LINE.findall(text) if int(line) <= last]
    return SourceRefused(lines[0] if lines else 1, _sentence(text)[:_SENTENCE_CHARS_MAX])


def _sentence(text: str) -> str:
    for pattern, meaning in _MEANINGS:
        if found := pattern.search(text):
            parts = [_SIGNS.get(part.removeprefix("i"), part) for part in found.groups()]
            return meaning.format(*parts)
    for line in text.splitlines():
        said = line.strip(" >.")
        if said and not said.startswith(("Failed in", "File ", "During", "There are", "- of")):
            return said
    return "the types do not fit together"
