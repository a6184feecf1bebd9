"""Mutants of C sources: one small mistake each, made from the text.

In:   sources by name.
Out:  every mutant of them: where, which mistake, the whole text with it.
Mistakes: a `REQUIRE` that requires nothing, a `TRY` that goes on, a condition turned round, `<` for
`<=` and so on, `+` for `-`, the least for the most, a difference that may wrap, `&&` for `||`,
an assignment or a call that is forgotten.
Rules:
  1. Comments, strings, the preprocessor's lines, declarations, static assertions are left alone.
  2. A mistake that changes nothing is said to be so where it would be made, with the reason:
     a comment `equal [<mistake>, …]: <why>` on the same line, or on lines of their own above it.
Not covered: constants, tables, initializers, the order of statements, `*`, `/`, `%` and shifts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_HIDDEN: Final = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|^[ \t]*#(?:\\\n|[^\n])*"
    r"|^(?:_Static_assert|AT|SIZED|NAMED|ENTRY\w*)\b[^\n]*",
    re.DOTALL | re.MULTILINE,
)
_EQUAL: Final = re.compile(r"equal \[([^\]]*)\]:")
_SWAPS: Final = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "+": "-",
    "-": "+",
    "+=": "-=",
    "-=": "+=",
    "&&": "||",
    "||": "&&",
}
_OPERATOR: Final = re.compile(r"(?<=\s)(<=|>=|==|!=|<|>|\+=|-=|\+|-|&&|\|\|)(?=\s)")
_WORDS: Final = {
    "least": "most",
    "most": "least",
    "sooner": "later",
    "later": "sooner",
    "__builtin_add_overflow": "__builtin_sub_overflow",
}
_WORD: Final = re.compile(rf"\b({'|'.join(_WORDS)})(?=\()")
#: An assignment to a field, an element or through a pointer; a call whose result nobody takes.
_STATEMENT: Final = re.compile(
    r"^[ ]+(?:(?:\*?\w+(?:->|\.|\[)[^\s;]*|\*\w+) [|+-]?= [^;]*"
    r"|(?!(?:REQUIRE|TRY|if|while|for|switch|return)\b)\w+\([^;]*\));",
    re.MULTILINE,
)
_CALL: Final = re.compile(r"\b(REQUIRE|TRY|above|if|while)(?=\s?\()")


class Mutant(NamedTuple):
    file: str
    line: int
    #: Such as `< to <=`, `REQUIRE off`.
    mistake: str
    #: The source's whole text with it.
    text: str
    #: The line it is on, as it was.
    shown: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line}: {self.mistake}: {self.shown}"


def hidden(text: str) -> str:
    """The same text with everything that is no code blanked, at the same places."""
    return _HIDDEN.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def _end(code: str, start: int) -> int:
    """Place of the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(code)):
        depth += {"(": 1, ")": -1}.get(code[at], 0)
        if depth == 0:
            return at
    message = f"no end of {code[start : start + 40]!r}"
    raise ValueError(message)


def _comma(code: str, start: int, end: int) -> int:
    """Place of the first comma between two parentheses that stands in no others."""
    depth = 0
    for at in range(start + 1, end):
        depth += {"(": 1, ")": -1, "{": 1, "}": -1}.get(code[at], 0)
        if depth == 0 and code[at] == ",":
            return at
    message = f"no comma in {code[start:end]!r}"
    raise ValueError(message)


def _call(code: str, text: str, found: re.Match[str]) -> tuple[str, int, int, str]:
    """The mistake made at REQUIRE, TRY, above, if or while: its name, the span, the new text."""
    name, start = found[1], found.end()
    start = code.index("(", start)
    end = _end(code, start)
    if name == "REQUIRE":
        comma = _comma(code, start, end)
        return "REQUIRE off", start + 1, comma, f"true || ({text[start + 1 : comma]})"
    if name == "TRY":
        return "TRY off", found.start(), end + 1, f"(void)({text[start + 1 : end]})"
    if name == "above":
        comma = _comma(code, start, end)
        wrapped = f"(({text[start + 1 : comma]}) - ({text[comma + 1 : end]}))"
        return "above to -", found.start(), end + 1, wrapped
    return f"{name} not", start, end + 1, f"(!({text[start + 1 : end]}))"


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """All mutants of one source, from its top."""
    code = hidden(text)
    made: list[tuple[str, int, int, str]] = []
    for found in _OPERATOR.finditer(code):
        new = _SWAPS[found[1]]
        made.append((f"{found[1]} to {new}", found.start(), found.end(), new))
    made += [
        (f"{found[1]} to {_WORDS[found[1]]}", *found.span(1), _WORDS[found[1]])
        for found in _WORD.finditer(code)
        if not _declares(code, found.start())
    ]
    made += [
        _call(code, text, found)
        for found in _CALL.finditer(code)
        if not _declares(code, found.start())
    ]
    made += [
        ("statement off", found.end() - len(found[0].lstrip()), found.end(), ";")
        for found in _STATEMENT.finditer(code)
        if code[: found.start()].rstrip()[-1:] in {";", "{", "}", ":"}
    ]
    lines = text.splitlines()
    for mistake, start, end, new in sorted(made, key=lambda each: each[1:3]):
        line = text.count("\n", 0, start) + 1
        yield Mutant(file, line, mistake, text[:start] + new + text[end:], lines[line - 1].strip())


def _declares(code: str, at: int) -> bool:
    """Whether the name there is a function's that is being defined."""
    return code[code.rfind("\n", 0, at) + 1 : at].startswith("INLINE")


def all_mutants(sources: Mapping[str, str]) -> list[Mutant]:
    return [mutant for file, text in sources.items() for mutant in mutants_of(file, text)]


def excuses(file: str, text: str) -> set[tuple[str, int, str]]:
    """(file, line, mistake) of every mistake that the source says changes nothing."""
    code = hidden(text)
    lines = code.splitlines()
    said: set[tuple[str, int, str]] = set()
    for comment in _COMMENT.finditer(text):
        if found := _EQUAL.search(comment[0]):
            line = text.count("\n", 0, comment.end()) + 1
            while line < len(lines) and not lines[line - 1].strip():
                line += 1
            said |= {(file, line, mistake.strip()) for mistake in found[1].split(",")}
    return said
