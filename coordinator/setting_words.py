"""What is wrong with a setting, in the words of whoever wrote it: slips of names, types, ranges.

In:   the name that was said; what msgspec says of a value.
Out:  the name that was meant; a sentence without a type's name or a pattern.
"""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import takewhile
from typing import Final

#: Shorter names are near to too many.
_SLIP_CHARS_MIN: Final = 4
_SAID: Final = re.compile(
    r"Expected `(?P<wanted>[a-z]+)(?: \| null)?`"
    r"(?: (?P<of_length>of length )?(?P<sign>[<>]=?) (?P<bound>[\d.]+))?"
    r"(?:, got `(?P<got>\w+)`)?"
    r"(?: - at `\$\[(?P<index>\d+)\]`)?"
)
_KINDS: Final = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "text",
    "array": "a list", "object": "a table", "null": "nothing",
    "date": "a date", "datetime": "a date", "time": "a time",
}  # fmt: skip
#: Where text was given, mostly by a variable or a flag.
_NOT_IN_TEXT: Final = {
    "int": "this is no whole number", "float": "this is no number",
    "bool": "this is neither true nor false",
}  # fmt: skip
_BOUNDS: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def is_slip(said: str, meant: str) -> bool:
    """Whether one letter is wrong, missing or too much, or two neighbours changed places."""
    if min(len(said), len(meant)) < _SLIP_CHARS_MIN:
        return False
    pairs = zip(said, meant, strict=False)
    start = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    one, other = said[start:], meant[start:]
    are_swapped = one[:2] == other[:2][::-1] and one[2:] == other[2:]
    return are_swapped or one[1:] == other[1:] or one[1:] == other or one == other[1:]


def in_words(sentence: str, value: object) -> str:
    """What msgspec says of a value, for people; anything else stays as it is."""
    found = _SAID.fullmatch(sentence)
    if found is None:
        return sentence
    where = f"item {int(found['index']) + 1}: " if found["index"] else ""
    if found["index"] and isinstance(value, list | tuple):
        value = value[int(found["index"])]
    return where + _sentence(found, value)


def _sentence(found: re.Match[str], value: object) -> str:
    wanted, got = found["wanted"], found["got"]
    if found["of_length"]:
        is_empty = found["sign"] == ">=" and found["bound"] == "1"
        least = f"{_BOUNDS[found['sign']]} {found['bound']}"
        return "this must not be empty" if is_empty else f"its length must be {least}"
    if found["sign"]:
        return f"this must be {_BOUNDS[found['sign']]} {found['bound']}"
    if got == "str" and wanted in _NOT_IN_TEXT:
        return _NOT_IN_TEXT[wanted]
    if wanted == "str" and got in {"int", "float"}:
        # Never 1e-05: that is no amount.
        return f'this must be text: write it in quotes, "{Decimal(str(value)):f}"'
    instead = str(value) if got == "float" else _KINDS.get(got, got)
    return f"this must be {_KINDS.get(wanted, wanted)}, not {instead}"
