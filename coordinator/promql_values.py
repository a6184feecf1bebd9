"""What expressions of alert rules work on: samples over time, vectors, operators and functions.

Rules:
  1. Vectors match on equal label sets; a comparison keeps what it is true of.
  2. `rate` and `increase` count what was seen: they do not extrapolate to the ends of their range.
     A counter that falls has begun anew at 0.
Not here: the grammar (`promql`).
Source: prometheus.io/docs/prometheus/latest/querying.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

Labels: TypeAlias = frozenset[tuple[str, str]]
Vector: TypeAlias = dict[Labels, float]
#: Name → label set → value, at one moment.
Samples: TypeAlias = Mapping[str, Mapping[Labels, float]]

COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, ">": lambda a, b: a > b,
    "<": lambda a, b: a < b, ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b,
}  # fmt: skip
COMPUTE: Final[dict[str, Callable[[float, float], float]]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else float("nan") if not a else a * float("inf"),
}  # fmt: skip
AGGREGATE: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "sum": sum, "max": max, "min": min, "count": len,
}  # fmt: skip
_EMPTY: Final[Labels] = frozenset()


class Range(NamedTuple):
    """What a selector with a range gives: values over time."""

    points: Sequence[tuple[float, Vector]]


Value: TypeAlias = "float | Vector | Range"
Node: TypeAlias = "Callable[[Moment], Value]"


class History:
    """Samples of the last while, oldest first."""

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times: list[float] = []
        self._samples: list[Samples] = []

    def add(self, time_s: float, samples: Samples) -> None:
        """Remember what was so at that time, and forget what is too old."""
        old = bisect_left(self._times, time_s - self._keep_s)
        del self._times[:old], self._samples[:old]
        self._times.append(time_s)
        self._samples.append(samples)

    @property
    def latest(self) -> Samples:
        return self._samples[-1] if self._samples else {}

    def range(self, name: str, seconds: float, now_s: float) -> Iterator[tuple[float, Vector]]:
        """(time, values) of one metric within the last seconds."""
        for index in range(bisect_left(self._times, now_s - seconds), len(self._times)):
            yield self._times[index], dict(self._samples[index].get(name, {}))


class Moment(NamedTuple):
    """What an expression is evaluated on."""

    history: History
    now_s: float


# ---- what the operators do --------------------------------------------------------------------


def vector_of(value: Value) -> Vector:
    assert not isinstance(value, Range), "a range stands inside a function only"
    return value if isinstance(value, dict) else {_EMPTY: value}


def binary(operator: str, left: Node, right: Node) -> Node:
    """Two expressions and what stands between them."""

    def evaluate(moment: Moment) -> Value:
        a, b = left(moment), right(moment)
        assert not isinstance(a, Range)
        assert not isinstance(b, Range)
        if operator in {"and", "or", "unless"}:
            return _set(operator, vector_of(a), vector_of(b))
        if isinstance(a, dict):
            if isinstance(b, dict):
                return _paired(operator, {key: (a[key], b[key]) for key in a if key in b})
            return _paired(operator, {key: (value, b) for key, value in a.items()})
        if isinstance(b, dict):
            return _paired(operator, {key: (a, value) for key, value in b.items()}, keep=1)
        compare = COMPARE.get(operator)
        return float(compare(a, b)) if compare else COMPUTE[operator](a, b)

    return evaluate


def _set(operator: str, a: Vector, b: Vector) -> Vector:
    if operator == "or":
        return {**b, **a}
    return {key: value for key, value in a.items() if (key in b) == (operator == "and")}


def _paired(operator: str, pairs: Mapping[Labels, tuple[float, float]], keep: int = 0) -> Vector:
    compare = COMPARE.get(operator)
    if compare is not None:
        return {key: pair[keep] for key, pair in pairs.items() if compare(*pair)}
    return {key: COMPUTE[operator](*pair) for key, pair in pairs.items()}


def aggregated(name: str, by: frozenset[str], vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    for labels, value in vector.items():
        groups.setdefault(frozenset(pair for pair in labels if pair[0] in by), []).append(value)
    return {labels: AGGREGATE[name](values) for labels, values in groups.items()}


# ---- functions --------------------------------------------------------------------------------


def _over_time(
    function: Callable[[Sequence[tuple[float, float]]], float | None], values: Value
) -> Vector:
    """A function of each series' points."""
    assert isinstance(values, Range), "a range, such as name[5m]"
    points: dict[Labels, list[tuple[float, float]]] = {}
    for at, vector in values.points:
        for labels, value in vector.items():
            points.setdefault(labels, []).append((at, value))
    found = {labels: function(series) for labels, series in points.items()}
    return {labels: value for labels, value in found.items() if value is not None}


def _increase(points: Sequence[tuple[float, float]]) -> float | None:
    """What a counter rose by; a fall is a restart from 0."""
    if len(points) < 2:
        return None
    return sum(new if new < old else new - old for (_, old), (_, new) in pairwise(points))


def _rate(points: Sequence[tuple[float, float]]) -> float | None:
    rise = _increase(points)
    return None if rise is None else rise / (points[-1][0] - points[0][0])


def quantile_of(buckets: Sequence[tuple[float, float]], q: float) -> float:
    """A quantile of a histogram, by straight lines within its buckets.

    Args:
        buckets: (upper bound, count up to it), the last bound infinite, in order.
        q: From 0 to 1.

    Returns:
        The value; the last finite bound if it lies beyond; NaN if there is nothing.
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return float("nan")
    rank, below, lower = q * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        below, lower = count, bound if bound != float("inf") else lower
    return lower


def _histogram_quantile(_moment: Moment, q: Value, vector: Value) -> Vector:
    assert isinstance(q, float)
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for labels, count in vector_of(vector).items():
        told = dict(labels)
        bound = float(told.pop("le", "nan"))
        groups.setdefault(frozenset(told.items()), []).append((bound, count))
    return {labels: quantile_of(sorted(buckets), q) for labels, buckets in groups.items()}


FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Value]]]] = {
    "rate": (1, lambda _, values: _over_time(_rate, values)),
    "increase": (1, lambda _, values: _over_time(_increase, values)),
    "max_over_time": (
        1, lambda _, values: _over_time(lambda points: max(v for _, v in points), values)
    ),
    "histogram_quantile": (2, _histogram_quantile),
    "absent": (1, lambda _, vector: {} if vector else {_EMPTY: 1.0}),
    "time": (0, lambda moment: moment.now_s),
}  # fmt: skip
