"""What a source is made of, looked at before Python's parser sees it: characters, words, nesting.

Rules:
  1. One pass, linear in the text; a word, sign or character that is not listed is refused.
  2. What passes makes a tree of bounded depth: a statement has at most `STATEMENT_TOKENS_MAX`
     words, blocks nest `BLOCKS_DEEP_MAX` deep, and each `elif` adds one level. CPython's parser is
     recursive in C, and takes a thread's whole stack for a text that nests deeply enough.
  3. One form: spaces, LF, no blanks at the end of a line, ASCII outside of comments and
     docstrings, no character there that is invisible or moves its neighbours.
Not here: what the words mean (`source`).
Source: CPython, "Full Grammar specification", `Parser/tokenizer.c`; Boucher and Anderson, "Trojan
Source: Invisible Vulnerabilities", 2023.
"""

from __future__ import annotations

import re
from typing import Final

from coordinator.workloads.kernel_limits import (
    BLOCKS_DEEP_MAX,
    BRACKETS_DEEP_MAX,
    ELIFS_MAX,
    SOURCE_BYTES_MAX,
    SOURCE_LINE_CHARS_MAX,
    SOURCE_NAME_CHARS_MAX,
    SOURCE_NUMBER_CHARS_MAX,
    SOURCE_TOKENS_MAX,
    STATEMENT_TOKENS_MAX,
)
from coordinator.workloads.kernel_types import SourceRefused

#: Controls, surrogates, private characters, and what is not seen or changes the direction.
_UNSEEN: Final = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
_LINE_ENDING_IN_BLANKS: Final = re.compile(r" \n")
#: PEP 263: it would make another text of the file's bytes.
_CODING: Final = re.compile(r"\A(?:[^\n]*\n)?[ ]*#[^\n]*coding[:=]")
_SPACES: Final = re.compile(" *")

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>[ ]+|\\\n)
    |(?P<comment>\#[^\n]*)
    |(?P<newline>\n)
    |(?P<text>\"{3}[^\\]*?\"{3}|'{3}[^\\]*?'{3}|"[^"\\\n]*"|'[^'\\\n]*')
    |(?P<number>
        (?:0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*
        |0[oO][0-7]+(?:_[0-7]+)*
        |0[bB][01]+(?:_[01]+)*
        |(?:[0-9]+(?:_[0-9]+)*(?:\.(?:[0-9]+(?:_[0-9]+)*)?)?|\.[0-9]+(?:_[0-9]+)*)
            (?:[eE][+-]?[0-9]+)?)(?![\w."'])
    )
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*(?![\w"']))
    |(?P<open>[(\[])
    |(?P<close>[)\]])
    |(?P<sign>\*\*=?|//=?|<<=?|>>=?|[=!<>+\-*/%&|^]=|->|[+\-*/%&|^~<>=,.@]|:(?!=))
    """,
    re.VERBOSE,
)

#: Words of Python that this language has not.
_NOT_HERE: Final[dict[str, str]] = {
    "and": "", "or": "", "not": "", "if": "", "elif": "", "else": "", "for": "", "in": "",
    "while": "", "break": "", "continue": "", "pass": "", "return": "", "def": "",
    "True": "", "False": "",
    "None": "a kernel has numbers only",
    "lambda": "write an `@device` function",
    "class": "a source holds functions and constants",
    "import": "`math` and `cuda` are there; give anything else as an argument",
    "from": "`math` and `cuda` are there; give anything else as an argument",
    "try": "nothing is raised in a kernel: test with `if`",
    "except": "nothing is raised in a kernel",
    "finally": "nothing is raised in a kernel",
    "raise": "nothing is raised in a kernel: write a mark into an output",
    "assert": "nothing is raised in a kernel: write a mark into an output",
    "with": "a kernel opens nothing",
    "async": "a kernel waits for nothing but its block",
    "await": "a kernel waits for nothing but its block",
    "yield": "write into an output",
    "global": "functions share arrays only",
    "nonlocal": "functions share arrays only",
    "del": "a name keeps its value",
    "is": "compare numbers with `==`",
}  # fmt: skip
#: Characters that begin something which this language has not.
_STRANGE: Final[dict[str, str]] = {
    "{": "there are no dicts, sets and f-strings",
    "}": "there are no dicts, sets and f-strings",
    ";": "write one statement a line",
    ":": "`:=` is not there: assign in a line of its own",
    '"': "a text is a docstring only, without prefix and backslash",
    "'": "a text is a docstring only, without prefix and backslash",
    "\\": "a backslash stands at the end of a line only",
}


def check_text(text: str) -> None:
    """Refuse a text that is too large, nests too deeply, or holds what no source has.

    Raises:
        SourceRefused: naming the line.
    """
    _check_characters(text)
    _Reader(text).read()


def line_of(text: str, place: int) -> int:
    """Number of the line, from 1, in which a character stands."""
    return text.count("\n", 0, place) + 1


def _check_characters(text: str) -> None:
    # A character has at least one byte: this bounds the work of encoding.
    if len(text) > SOURCE_BYTES_MAX:
        raise SourceRefused(1, f"a source has at most {SOURCE_BYTES_MAX} bytes")
    if found := _UNSEEN.search(text):
        sign = f"U+{ord(found[0]):04X}"
        instead = "indent with spaces" if found[0] == "\t" else "remove it"
        raise SourceRefused(line_of(text, found.start()), f"the character {sign}: {instead}")
    if len(text.encode()) > SOURCE_BYTES_MAX:
        raise SourceRefused(1, f"a source has at most {SOURCE_BYTES_MAX} bytes")
    if not text.endswith("\n"):
        raise SourceRefused(line_of(text, len(text)), "the last line must end: add a line feed")
    if found := _LINE_ENDING_IN_BLANKS.search(text):
        raise SourceRefused(line_of(text, found.start()), "blanks at the end of the line")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > SOURCE_LINE_CHARS_MAX:
            raise SourceRefused(number, f"a line has at most {SOURCE_LINE_CHARS_MAX} characters")
    if _CODING.match(text):
        raise SourceRefused(1, "a comment that names an encoding: a source is UTF-8")


class _Reader:
    """One pass over the words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.line = 1
        self.brackets = 0
        self.tokens = 0
        #: Words of the statement so far.
        self.length = 0
        self.elifs = 0
        self.previous = ""
        #: Indentations of the blocks that are open.
        self.blocks = [0]

    def read(self) -> None:
        place, text, match = 0, self.text, _TOKEN.match
        while place < len(text):
            token = match(text, place)
            if token is None:
                raise SourceRefused(self.line, self._strange(place))
            kind = token.lastgroup
            if kind == "newline":
                self._end_line()
            elif kind not in {"blank", "comment"}:
                self._take(token)
                if kind == "word":
                    self._word(token[0])
                elif kind == "number" and len(token[0]) > SOURCE_NUMBER_CHARS_MAX:
                    long = f"a number has at most {SOURCE_NUMBER_CHARS_MAX} characters"
                    raise SourceRefused(self.line, long)
                self.previous = token[0]
            # What holds several lines: a docstring, a backslash at the end of a line.
            if kind in {"text", "blank"}:
                self.line += token[0].count("\n")
            place = token.end()

    def _take(self, token: re.Match[str]) -> None:
        if self.length == 0:
            self._indent(token.start())
        self.length += 1
        self.tokens += 1
        if self.length > STATEMENT_TOKENS_MAX:
            long = f"a statement has at most {STATEMENT_TOKENS_MAX} words and signs: split it"
            raise SourceRefused(self.line, long)
        if self.tokens > SOURCE_TOKENS_MAX:
            long = f"a source has at most {SOURCE_TOKENS_MAX} words and signs"
            raise SourceRefused(self.line, long)
        if token.lastgroup == "open":
            self.brackets += 1
            if self.brackets > BRACKETS_DEEP_MAX:
                deep = f"brackets are at most {BRACKETS_DEEP_MAX} deep: split the expression"
                raise SourceRefused(self.line, deep)
        elif token.lastgroup == "close":
            self.brackets = max(self.brackets - 1, 0)

    def _end_line(self) -> None:
        self.line += 1
        if self.brackets == 0:
            self.length = 0

    def _indent(self, place: int) -> None:
        start = self.text.rfind("\n", 0, place) + 1
        found = _SPACES.match(self.text, start)
        width = found.end() - start if found else 0
        while width < self.blocks[-1]:
            self.blocks.pop()
        if width > self.blocks[-1]:
            self.blocks.append(width)
        if len(self.blocks) > BLOCKS_DEEP_MAX + 1:
            deep = f"blocks are at most {BLOCKS_DEEP_MAX} deep: make an `@device` function"
            raise SourceRefused(self.line, deep)

    def _word(self, word: str) -> None:
        if len(word) > SOURCE_NAME_CHARS_MAX:
            long = f"a name has at most {SOURCE_NAME_CHARS_MAX} characters"
            raise SourceRefused(self.line, long)
        # `-> None` says what every kernel returns.
        if instead := _NOT_HERE.get(word, ""):
            if word == "None" and self.previous == "->":
                return
            raise SourceRefused(self.line, f"`{word}` is not in this language: {instead}")
        if word == "elif":
            self.elifs += 1
            if self.elifs > ELIFS_MAX:
                raise SourceRefused(self.line, f"a source has at most {ELIFS_MAX} `elif`")

    def _strange(self, place: int) -> str:
        sign = self.text[place]
        # A word or a number with something that may not follow it.
        if re.match(r"\w", sign) and (found := re.compile(r"\w*(['\"])").match(self.text, place)):
            return _STRANGE[found[1]]
        if re.match(r"[\w.]", sign):
            found = re.compile(r"[\w.]+").match(self.text, place)
            word = found[0][:40] if found else sign
            return f"`{word}` is no name and no number of this language"
        return f"`{sign}` is not in this language: {_STRANGE.get(sign, 'remove it')}"
