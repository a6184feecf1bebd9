"""Expressions of a kernel: numbers, elements of arrays, calls of what is listed.

Rules:
  1. Every expression is one number. Arrays appear where they are indexed, measured, or handed to
     a device function; several numbers appear where they are unpacked.
  2. What is not matched here is refused: the list is closed.
  3. What can be computed now is, within 64 bits: no compiler meets a larger number.
Not here: types of numbers (Numba infers them), statements.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Final, NoReturn

from coordinator.workloads import allowed
from coordinator.workloads.kernel_numbers import (
    MATH_VALUES,
    Number,
    binary_value,
    constant_value,
    fitting,
    unary_value,
)
from coordinator.workloads.kernel_scope import Array, Scope, dotted, refuse, unknown_call
from coordinator.workloads.kernel_types import DIMENSIONS_MAX, SCALARS, Argument, Device, Scalar
from coordinator.workloads.prelude import PRELUDE

_OPERATORS: Final = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.LShift, ast.RShift, ast.BitOr, ast.BitAnd, ast.BitXor),
)
_COMPARISONS: Final = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
#: Nodes that another language has here, by what to say of them.
_NOT_HERE: Final[dict[type[ast.expr], str]] = {
    ast.ListComp: "a list is not there: write a loop",
    ast.GeneratorExp: "a generator is not there: write a loop",
    ast.List: "a list is not there: write `cuda.local.array(shape, type)`",
    ast.Tuple: "several numbers are unpacked where they are made: `a, b = …`",
    ast.Starred: "`*` takes nothing apart here: write every argument",
    ast.Slice: "a slice is not there: write a loop",
    ast.JoinedStr: "a text is a docstring only",
}
#: Cost of one call of a random function: more than its nodes.
_RANDOM_COST: Final = 400
#: What `philox` returns; the other random functions return one number.
_WORDS: Final = 4


class Expressions:
    """Reader of the expressions of one function."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        #: Names that have a value here, on every way.
        self.defined: set[str] = set()
        #: Kind of expression → how it is read; the list is closed.
        self._readers: Final[dict[type[ast.expr], Callable[[Any], Number | None]]] = {
            ast.Constant: self._literal,
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Subscript: self._element,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._either,
            ast.IfExp: self._choice,
            ast.Compare: self._comparison,
            ast.Call: self._result,
        }

    # ---- one number ---------------------------------------------------------------------------

    def number(self, node: ast.expr) -> Number | None:
        """Refuse an expression that is not one number.

        Returns:
            Its value where that is known now, so that each operation is computed once.
        """
        read = self._readers.get(type(node))
        if read is None:
            refuse(node, _NOT_HERE.get(type(node), "this expression is not in the language"))
        return read(node)

    def _numbers(self, *nodes: ast.expr) -> None:
        for node in nodes:
            self.number(node)

    def _binary(self, node: ast.BinOp) -> Number | None:
        if not isinstance(node.op, _OPERATORS):
            refuse(node, "`@` multiplies no matrices here: write loops")
        return binary_value(node, self.number(node.left), self.number(node.right))

    def _unary(self, node: ast.UnaryOp) -> Number | None:
        return unary_value(node, self.number(node.operand))

    def _either(self, node: ast.BoolOp) -> None:
        self._numbers(*node.values)

    def _choice(self, node: ast.IfExp) -> None:
        self._numbers(node.test, node.body, node.orelse)

    def _comparison(self, node: ast.Compare) -> None:
        if not all(isinstance(op, _COMPARISONS) for op in node.ops):
            refuse(node, "numbers are compared with `== != < <= > >=`")
        self._numbers(node.left, *node.comparators)

    def _result(self, node: ast.Call) -> None:
        if (results := self.call(node)) != 1:
            many = f"returns {results} numbers: unpack them" if results else "returns nothing"
            refuse(node, f"`{dotted(node.func)}` {many}")

    def _literal(self, node: ast.Constant) -> Number:
        if not isinstance(node.value, bool | int | float):
            refuse(node, "a kernel has numbers only")
        return fitting(node, node.value)

    def _name(self, node: ast.Name) -> Number | None:
        name, scope = node.id, self.scope
        if name in scope.numbers:
            if name not in self.defined:
                refuse(node, f"`{name}` may have no value here: give it one before, on every way")
            return None
        if name not in scope.module.constants:
            self._no_number(node, name)
        return scope.module.values[name]

    def _no_number(self, node: ast.Name, name: str) -> NoReturn:
        if name in self.scope.arrays:
            refuse(node, f"`{name}` is an array: write `{name}[…]`")
        if name == "_":
            refuse(node, "`_` is what is not used: give it a name")
        if name in self.scope.module.functions or name in allowed.RESERVED:
            refuse(node, f"`{name}` is no number")
        refuse(node, f"`{name}` is not known: make it a constant, a parameter, or assign it")

    def _attribute(self, node: ast.Attribute) -> Number | None:
        name = dotted(node)
        if name in allowed.MATH_CONSTANTS:
            return MATH_VALUES.get(name)
        owner, _, last = name.rpartition(".")
        if owner in allowed.CORNERS and last in allowed.AXES:
            self._only_in_blocks(node, owner)
        elif owner in self.scope.arrays and last in allowed.ARRAY_ATTRIBUTES:
            self.array(node.value)
            if last == "shape":
                refuse(node, f"`{name}` is several numbers: write `{name}[0]`, or unpack it")
        else:
            shown = name or f"….{node.attr}"
            refuse(node, f"`{shown}` is not in this language")
        return None

    # ---- arrays -------------------------------------------------------------------------------

    def array(self, node: ast.expr) -> Array:
        """The array that a name stands for."""
        if not isinstance(node, ast.Name):
            refuse(node, "an array is written as its name here")
        array = self.scope.arrays.get(node.id)
        if array is None:
            refuse(node, f"`{node.id}` is no array")
        if array.name not in self.defined:
            refuse(node, f"`{node.id}` is made below")
        return array

    def written(self, node: ast.expr) -> Array:
        """The same, and something is written into it."""
        array = self.array(node)
        if array.kind == "in":
            refuse(node, f"`{array.name}` is read only: declare it `Out`")
        array.is_written = True
        return array

    def place(self, array: Array, node: ast.expr) -> None:
        """Refuse an index that does not name one element."""
        indices = node.elts if isinstance(node, ast.Tuple) else [node]
        self.has_dimensions(node, array, len(indices))
        for index in indices:
            if isinstance(self.number(index), bool | float):
                refuse(index, "an index is a whole number")

    def has_dimensions(self, node: ast.AST, array: Array, number: int) -> None:
        """Refuse another number of dimensions than the array has or had before."""
        if array.ndim and array.ndim != number:
            refuse(node, f"`{array.name}` has {array.ndim} dimensions, not {number}")
        array.ndim = number

    def _element(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            array = self.array(node.value.value)
            axis = self.number(node.slice)
            most = array.ndim or DIMENSIONS_MAX
            if type(axis) is not int or not -most <= axis < most:
                refuse(node, f"`{array.name}.shape[…]` takes a constant from 0 to {most - 1}")
            return
        self.place(self.array(node.value), node.slice)

    # ---- calls --------------------------------------------------------------------------------

    def call(self, node: ast.Call) -> int:
        """Refuse a call that is not listed.

        Returns:
            How many numbers it returns.
        """
        name, module = dotted(node.func), self.scope.module
        if node.keywords:
            refuse(node, f"`{name or 'a call'}` takes its arguments by position, without names")
        if name in module.devices:
            return self._device(node, module.devices[name])
        if name in SCALARS:
            self._takes(node, name, 1)
            self._numbers(*node.args)
            return 1
        function = allowed.FUNCTIONS.get(name)
        if function is None or name in allowed.ARRAYS:
            self._not_callable(node, name)
        more = len(node.args) > len(function.arguments) and function.takes_more
        self._takes(node, name, len(node.args) if more else len(function.arguments))
        if name in allowed.CUDA_FORM_ONLY:
            self._only_in_blocks(node, name)
        if name in allowed.ATOMICS:
            self._atomic(node, name)
        elif name == "len":
            self.array(node.args[0])
        elif name in allowed.PLACES:
            return self._dimensions(node)
        else:
            self._numbers(*node.args)
        return self._results(name)

    def _not_callable(self, node: ast.Call, name: str) -> NoReturn:
        if name == "range":
            refuse(node, "`range` stands in `for … in range(…)` only")
        if name in allowed.ARRAYS:
            refuse(node, f"`{name}` stands alone after `name =`, at the top of a function's body")
        unknown_call(node, name, self.scope)

    def _results(self, name: str) -> int:
        if name in allowed.BARRIERS:
            self.scope.has_barriers = True
            return 0
        if name in PRELUDE:
            self.scope.random.add(name)
            self.scope.cost += _RANDOM_COST
            return _WORDS if name == "philox" else 1
        return 1

    def _takes(self, node: ast.Call, name: str, number: int) -> None:
        if len(node.args) != number:
            refuse(node, f"`{name}` takes {number} arguments, not {len(node.args)}")

    def _only_in_blocks(self, node: ast.AST, name: str) -> None:
        if self.scope.role == "element":
            form = f"the first parameter `{self.scope.index}` makes this the element form"
            refuse(node, f"`{name}` belongs to the CUDA form: {form}")
        if self.scope.role == "device" and name in allowed.BARRIERS:
            refuse(node, f"`{name}` stands in the kernel, not in a device function")
        self.scope.needs_blocks = name

    def _dimensions(self, node: ast.Call) -> int:
        number = node.args[0]
        axes = constant_value(number, {})
        # `True` and `1.0` are equal to 1, and are not it.
        if type(axes) is not int or not 1 <= axes <= DIMENSIONS_MAX:
            refuse(node, f"`{dotted(node.func)}` takes 1, 2 or 3")
        return axes

    def _atomic(self, node: ast.Call, name: str) -> None:
        target, place, *values = node.args
        array = self.written(target)
        if array.kind == "local":
            refuse(node, f"`{array.name}` is one thread's own: assign to its element")
        if array.type is not None and array.type.name not in allowed.ATOMIC_TYPES[name]:
            taken = ", ".join(allowed.ATOMIC_TYPES[name])
            refuse(node, f"`{name}` takes arrays of {taken}; `{array.name}` is of {array.type}")
        self.place(array, place)
        self._numbers(*values)
        self.scope.has_atomics = True

    def _device(self, node: ast.Call, device: Device) -> int:
        self._takes(node, device.name, len(device.arguments))
        for argument, given in zip(device.arguments, node.args, strict=True):
            if argument.is_array:
                self._handed(given, argument, device)
            else:
                self.number(given)
        if needs := self.scope.module.needs_blocks[device.name]:
            self._only_in_blocks(node, needs)
        self.scope.cost += self.scope.module.costs[device.name]
        below = self.scope.module.local_bytes[device.name]
        self.scope.called_local_bytes = max(self.scope.called_local_bytes, below)
        return device.results

    def _handed(self, node: ast.expr, argument: Argument, device: Device) -> None:
        array = self.written(node) if argument.is_written else self.array(node)
        if argument.ndim:
            self.has_dimensions(node, array, argument.ndim)
        if argument.type is not None and not _same(array.type, argument.type):
            refuse(node, f"`{device.name}` takes an array of {argument.type} for `{argument.name}`")


def _same(known: Scalar | None, wanted: Scalar) -> bool:
    return known is None or known == wanted
