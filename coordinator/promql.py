"""Expressions of alert rules, evaluated here: the part of PromQL that our rules are written in.

In:   the text of an expression.
Out:  what it gives at a moment: a number, or a vector of label sets with their values.
Why: a house without Prometheus hears of trouble too (`alarms`), by the rules that Prometheus gets.
Covered: selectors (`=`, `!=`, `=~`, `!~`) and ranges, numbers, `+ - * /`, comparisons as filters,
`and or unless`, `sum max min count` with `by`, `rate increase max_over_time histogram_quantile
absent time`.
Not covered: everything else (`on`, `offset`, subqueries, …); it is refused.
Not here: what operators and functions do (`promql_values`).
Source: prometheus.io/docs/prometheus/latest/querying; a test compares with `promtool`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from coordinator.promql_values import (
    AGGREGATE,
    COMPARE,
    FUNCTIONS,
    Labels,
    Moment,
    Node,
    Range,
    Value,
    aggregated,
    binary,
    vector_of,
)

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])"
    r"|(?P<duration>\d+[smhd])\b"
    r"|(?P<name>[a-zA-Z_:][\w:]*)"
    r'|(?P<text>"[^"\\]*")'
    r"|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/(){}\[\],=<>]))"
)
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
#: From the loosest to the tightest.
_OPERATORS: Final = (("or",), ("and", "unless"), tuple(COMPARE), ("+", "-"), ("*", "/"))


class BadExpression(ValueError):
    """This is not in the part of PromQL that is covered; the text says where."""


class Expression(NamedTuple):
    """A parsed expression."""

    text: str
    names: frozenset[str]
    evaluate: Callable[[Moment], Value]


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        BadExpression: it is not covered.
    """
    parser = _Parser(text)
    node = parser.binary(0)
    parser.end()
    return Expression(text, frozenset(parser.names), node)


class _Parser:
    """Recursive descent over tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0
        self.names: set[str] = set()

    def _split(self) -> Iterator[tuple[str, str]]:
        at = 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None or found.lastgroup is None:
                raise self._bad(self._text[at:])
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()

    def _bad(self, near: str) -> BadExpression:
        return BadExpression(f"not understood near {near.strip()[:40]!r}: {self._text}")

    @property
    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _take(self, *wanted: str, kind: str = "") -> str:
        if self._next >= len(self._tokens):
            raise self._bad("its end")
        found, text = self._tokens[self._next]
        if (wanted and text not in wanted) or (kind and found != kind):
            raise self._bad(text)
        self._next += 1
        return text

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise self._bad(self._peek)

    # ---- the grammar ----------------------------------------------------------------------------

    def binary(self, level: int) -> Node:
        if level == len(_OPERATORS):
            return self._unary()
        left = self.binary(level + 1)
        while self._peek in _OPERATORS[level]:
            operator = self._take()
            left = binary(operator, left, self.binary(level + 1))
        return left

    def _unary(self) -> Node:
        if self._peek == "(":
            self._take("(")
            inner = self.binary(0)
            self._take(")")
            return inner
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "number":
            number = float(self._take(kind="number"))
            return lambda _: number
        name = self._take(kind="name")
        if name in AGGREGATE:
            return self._aggregate(name)
        if name in FUNCTIONS and self._peek == "(":
            return self._function(name)
        if self._peek == "(" or name in {"on", "ignoring", "bool", "offset", "by"}:
            raise self._bad(name)
        return self._selector(name)

    def _aggregate(self, name: str) -> Node:
        by: list[str] = []
        if self._peek == "by":
            self._take("by")
            self._take("(")
            by = self._names(")")
        self._take("(")
        inner = self.binary(0)
        self._take(")")
        return lambda moment: aggregated(name, frozenset(by), vector_of(inner(moment)))

    def _names(self, closing: str) -> list[str]:
        found = []
        while self._peek != closing:
            found.append(self._take(kind="name"))
            if self._peek == ",":
                self._take(",")
        self._take(closing)
        return found

    def _function(self, name: str) -> Node:
        self._take("(")
        arguments: list[Node] = []
        while self._peek != ")":
            arguments.append(self.binary(0))
            if self._peek == ",":
                self._take(",")
        self._take(")")
        count, function = FUNCTIONS[name]
        if len(arguments) != count:
            raise self._bad(name)
        return lambda moment: function(moment, *(argument(moment) for argument in arguments))

    def _selector(self, name: str) -> Node:
        self.names.add(name)
        matchers: list[Callable[[Mapping[str, str]], bool]] = []
        if self._peek == "{":
            self._take("{")
            while self._peek != "}":
                matchers.append(self._matcher())
                if self._peek == ",":
                    self._take(",")
            self._take("}")

        def fits(labels: Labels) -> bool:
            told = dict(labels)
            return all(matcher(told) for matcher in matchers)

        if self._peek != "[":
            return lambda moment: {
                labels: value
                for labels, value in moment.history.latest.get(name, {}).items()
                if fits(labels)
            }
        self._take("[")
        duration = self._take(kind="duration")
        self._take("]")
        seconds = float(duration[:-1]) * _SECONDS[duration[-1]]
        return lambda moment: Range(
            [
                (at, {labels: value for labels, value in values.items() if fits(labels)})
                for at, values in moment.history.range(name, seconds, moment.now_s)
            ]
        )

    def _matcher(self) -> Callable[[Mapping[str, str]], bool]:
        label = self._take(kind="name")
        sign = self._take("=", "!=", "=~", "!~")
        wanted = self._take(kind="text")[1:-1]
        if sign in {"=", "!="}:
            return lambda labels: (labels.get(label, "") == wanted) == (sign == "=")
        pattern = re.compile(wanted)
        return lambda labels: bool(pattern.fullmatch(labels.get(label, ""))) == (sign == "=~")
