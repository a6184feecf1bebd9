"""Constant expressions of a source, computed here, within 64 bits.

Rules:
  1. An operation is looked at before it is done: no intermediate has more than 128 bits, whatever
     `**` and `<<` are asked for.
  2. A whole number fits into an i64 or a u64, a floating-point number is finite: anything else is
     refused where it stands, also in the middle of a function.
Not here: constants whose value a device decides (conversions inside functions wrap).
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, cast

import numpy as np

from coordinator.workloads.kernel_types import Scalar, SourceRefused

Number: TypeAlias = bool | int | float

WHOLE_MIN: Final = -(2**63)
WHOLE_MAX: Final = 2**64 - 1

#: Names of `math` that have a finite value.
MATH_VALUES: Final = {"math.pi": math.pi, "math.e": math.e, "math.tau": math.tau}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, float) or isinstance(base, float):
        # A whole number is at most 2^64 here, so it becomes a float without overflow.
        return cast("Number", float(base) ** float(exponent))
    if exponent < 0:
        return float(base) ** exponent
    if abs(base) > 1 and exponent > 64:
        raise OverflowError
    return cast("Number", base**exponent)


def _shift_left(value: Number, places: Number) -> Number:
    if not 0 <= _whole(places) < 64:
        raise OverflowError
    return _whole(value) << _whole(places)


def _shift_right(value: Number, places: Number) -> Number:
    if not 0 <= _whole(places) < 64:
        raise OverflowError
    return _whole(value) >> _whole(places)


def _whole(value: Number) -> int:
    if isinstance(value, float):
        raise TypeError
    return int(value)


_BINARY: Final[dict[type[ast.operator], Callable[[Number, Number], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift_left,
    ast.RShift: _shift_right,
    ast.BitOr: lambda a, b: _whole(a) | _whole(b),
    ast.BitAnd: lambda a, b: _whole(a) & _whole(b),
    ast.BitXor: lambda a, b: _whole(a) ^ _whole(b),
}
_UNARY: Final[dict[type[ast.unaryop], Callable[[Number], Number]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: lambda value: ~_whole(value),
    ast.Not: operator.not_,
}


def constant_value(node: ast.expr, known: Mapping[str, Number]) -> Number | None:
    """The value of an expression of numbers and constants; None where it depends on anything else.

    Args:
        node: The expression; its depth is bounded by whoever made it.
        known: Values of constants by name.

    Raises:
        SourceRefused: it has no value, or none of 64 bits.
    """
    value = _value(node, known)
    return None if value is None else fitting(node, value)


def _value(node: ast.expr, known: Mapping[str, Number]) -> Number | None:
    match node:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id=name):
            return known.get(name)
        case ast.Attribute(value=ast.Name(id="math"), attr=name):
            return MATH_VALUES.get(f"math.{name}")
        case ast.UnaryOp(operand=operand):
            return unary_value(node, constant_value(operand, known))
        case ast.BinOp(left=left, right=right):
            return binary_value(node, constant_value(left, known), constant_value(right, known))
    return None


def unary_value(node: ast.UnaryOp, operand: Number | None) -> Number | None:
    """The value of an operation whose operand's value is known; None where that is not."""
    if operand is None:
        return None
    return fitting(node, _computed(node, _UNARY[type(node.op)], operand))


def binary_value(node: ast.BinOp, left: Number | None, right: Number | None) -> Number | None:
    """The value of an operation whose operands' values are known; None where one is not."""
    operation = _BINARY.get(type(node.op))
    if left is None or right is None or operation is None:
        return None
    return fitting(node, _computed(node, operation, left, right))


def _computed(node: ast.expr, operation: Callable[..., Number], *values: Number) -> Number:
    try:
        return operation(*values)
    except ZeroDivisionError:
        raise SourceRefused(node.lineno, "a constant is divided by zero") from None
    except OverflowError:
        large = "a constant does not fit into 64 bits, or is shifted by 64 places or more"
        raise SourceRefused(node.lineno, large) from None
    except TypeError:
        raise SourceRefused(node.lineno, "this takes whole numbers") from None


def fitting(node: ast.expr, value: Number) -> Number:
    """The value, if 64 bits hold it.

    Raises:
        SourceRefused: they do not.
    """
    # A negative number to a fractional power is a complex one for Python.
    if isinstance(value, complex):
        raise SourceRefused(node.lineno, "a root of a negative constant")
    if isinstance(value, float):
        if not math.isfinite(value):
            endless = "a constant is no finite number: write `math.inf` or `math.nan`"
            raise SourceRefused(node.lineno, endless)
        return value
    if not WHOLE_MIN <= value <= WHOLE_MAX:
        raise SourceRefused(node.lineno, "a constant does not fit into 64 bits")
    return value


def typed_value(node: ast.expr, value: Number, scalar: Scalar) -> Number:
    """The value that a constant of a type has.

    Raises:
        SourceRefused: the type does not hold it.
    """
    if scalar.is_float:
        with np.errstate(over="ignore"):
            converted = float(scalar(value))
        if not math.isfinite(converted):
            raise SourceRefused(node.lineno, f"{value} is too large for {scalar.name}")
        return converted
    least, most = scalar.range
    if isinstance(value, float) or not least <= value <= most:
        raise SourceRefused(node.lineno, f"{value} is no {scalar.name}")
    return int(value)
