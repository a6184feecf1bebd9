"""Statements of a kernel: what they may be, and that every name has a value where it is read.

Rules:
  1. A name has a value on every way that leads to its use: what a GPU finds in a register
     otherwise is somebody else's.
  2. Every statement can be reached; every loop can end; loops of constants have fewer steps than
     anybody can run.
  3. An array is made at the top of the body, once, of a constant shape.
Not here: whether all threads reach a barrier (that is known when it runs).
Source: the Java Language Specification, chapter 16, "Definite Assignment".
"""

from __future__ import annotations

import ast
from math import prod
from typing import Final, TypeAlias

from coordinator.workloads import allowed
from coordinator.workloads.kernel_expressions import Expressions
from coordinator.workloads.kernel_limits import LOCAL_BYTES_MAX, LOOP_STEPS_MAX, SHARED_BYTES_MAX
from coordinator.workloads.kernel_numbers import constant_value
from coordinator.workloads.kernel_scope import Array, Scope, check_name, dotted, refuse
from coordinator.workloads.kernel_types import DIMENSIONS_MAX, SCALARS, Scalar

#: Names that have a value after a statement; None where nothing comes after it.
_After: TypeAlias = "set[str] | None"

_NOT_HERE: Final[dict[type[ast.stmt], str]] = {
    ast.AnnAssign: "write `name = f32(…)`: a name has no annotation here",
    ast.FunctionDef: "a function stands at the top of the text",
    ast.Match: "write `if` and `elif`",
}


class Statements:
    """Reader of the body of one function."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.read = Expressions(scope)
        #: Numbers that the function returns; None until a `return` was seen.
        self.results: int | None = None
        #: For each loop around: the names that have a value where a `break` leaves it.
        self.breaks: list[list[set[str]]] = []
        #: Steps of the loops around, those of constant bounds.
        self.steps = 1
        #: Whether this is the top of the function's body.
        self.is_top = True

    def body(self, statements: list[ast.stmt], defined: set[str]) -> _After:
        """Check the body of the function.

        Args:
            statements: All of them; a docstring may come first.
            defined: Parameters.

        Returns:
            The names that have a value at the end; None if it is never reached.
        """
        first = statements[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            if not isinstance(first.value.value, str):
                refuse(first, "a number alone does nothing")
            statements = statements[1:]
        if not statements:
            refuse(first, "the body is empty: write `pass`")
        return self._block(statements, defined)

    def _block(self, statements: list[ast.stmt], defined: set[str]) -> _After:
        after: _After = set(defined)
        for statement in statements:
            if after is None:
                refuse(statement, "this is never reached")
            self.read.defined = after
            after = self._statement(statement, after)
        return after

    def _inner(self, statements: list[ast.stmt], defined: set[str]) -> _After:
        was_top, self.is_top = self.is_top, False
        after = self._block(statements, defined)
        self.is_top = was_top
        return after

    def _statement(self, node: ast.stmt, defined: set[str]) -> _After:
        match node:
            case ast.Assign():
                self._assign(node)
            case ast.AugAssign():
                self._augmented(node)
            case ast.Expr():
                self._alone(node)
            case ast.If():
                return self._if(node, defined)
            case ast.For():
                return self._for(node, defined)
            case ast.While():
                return self._while(node, defined)
            case ast.Return():
                self._return(node)
                return None
            case ast.Break() | ast.Continue():
                self._jump(node, defined)
                return None
            case ast.Pass():
                pass
            case _:
                refuse(node, _NOT_HERE.get(type(node), "this statement is not in the language"))
        return defined

    # ---- assignments --------------------------------------------------------------------------

    def _assign(self, node: ast.Assign) -> None:
        value, targets = node.value, node.targets
        if isinstance(value, ast.Call) and dotted(value.func) in allowed.ARRAYS:
            self._make_array(node, value)
        elif any(isinstance(target, ast.Tuple) for target in targets):
            if len(targets) > 1:
                refuse(node, "several numbers are unpacked once")
            target = targets[0]
            assert isinstance(target, ast.Tuple)
            self._unpack(node, target, value)
        else:
            self.read.number(value)
            for target in targets:
                self._target(target)

    def _unpack(self, node: ast.Assign, target: ast.Tuple, value: ast.expr) -> None:
        number = len(target.elts)
        match value:
            case ast.Tuple(elts=elements):
                for element in elements:
                    self.read.number(element)
                have = len(elements)
            case ast.Call():
                have = self.read.call(value)
            case ast.Attribute(value=owner, attr="shape"):
                array = self.read.array(owner)
                if not array.ndim:
                    self.read.has_dimensions(node, array, number)
                have = array.ndim
            case _:
                refuse(node, "this is one number")
        if have != number:
            refuse(node, f"{number} names for {have} numbers")
        for element in target.elts:
            if not (isinstance(element, ast.Name) and element.id == "_"):
                self._target(element)

    def _target(self, node: ast.expr) -> None:
        match node:
            case ast.Name(id=name):
                self._assignable(node, name)
                self.read.defined.add(name)
            case ast.Subscript():
                array = self.read.written(node.value)
                self.read.place(array, node.slice)
            case _:
                refuse(node, "only names and elements of arrays are assigned")

    def _assignable(self, node: ast.AST, name: str) -> None:
        scope = self.scope
        if name in scope.parameters and scope.role != "device":
            refuse(node, f"the parameter `{name}` keeps its value: take another name")
        if name in scope.arrays:
            refuse(node, f"`{name}` is an array: write `{name}[…] = …`")
        if name in scope.module.constants:
            refuse(node, f"`{name}` is a constant: take another name")
        if name in scope.module.functions:
            refuse(node, f"`{name}` is a function: take another name")
        check_name(node, name)

    def _augmented(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.MatMult):
            refuse(node, "`@=` multiplies no matrices here: write loops")
        self.read.number(node.value)
        if isinstance(node.target, ast.Name | ast.Subscript):
            self.read.number(node.target)
        self._target(node.target)

    def _make_array(self, node: ast.Assign, call: ast.Call) -> None:
        what = dotted(call.func)
        target = node.targets[0]
        if not self.is_top or len(node.targets) > 1 or not isinstance(target, ast.Name):
            refuse(node, f"`{what}` stands alone after `name =`, at the top of a function's body")
        array = self.scope.arrays[target.id]
        if target.id in self.read.defined:
            refuse(node, f"`{target.id}` is made twice")
        if what == "cuda.shared.array" and self.scope.role != "cuda":
            refuse(node, f"`{what}` is made in a kernel of the CUDA form, and handed to others")
        if call.keywords or len(call.args) != len(allowed.ARRAYS[what].arguments):
            refuse(node, f"`{what}` takes a shape and a type")
        array.type = self._element_type(call.args[1])
        shape = self._shape(call.args[0], is_shared=array.kind == "shared")
        array.ndim = len(shape)
        self._count(node, array, prod(shape) * array.type.bytes)
        self.read.defined.add(target.id)

    def _element_type(self, node: ast.expr) -> Scalar:
        name = dotted(node)
        if name not in SCALARS:
            refuse(node, f"the type of an array is one of {', '.join(SCALARS)}")
        return SCALARS[name]

    def _shape(self, node: ast.expr, *, is_shared: bool) -> tuple[int, ...]:
        extents = node.elts if isinstance(node, ast.Tuple) else [node]
        shape: list[int] = []
        for extent in extents:
            value = constant_value(extent, self.scope.module.values)
            if type(value) is not int:
                refuse(extent, "the shape of an array is of constant whole numbers")
            is_as_launched = is_shared and value == 0 and len(extents) == 1
            if not (1 <= value <= SHARED_BYTES_MAX or is_as_launched):
                refuse(extent, f"an array has no extent of {value}")
            shape.append(value)
        if not 1 <= len(shape) <= DIMENSIONS_MAX:
            refuse(node, f"an array has 1 to {DIMENSIONS_MAX} dimensions")
        return tuple(shape)

    def _count(self, node: ast.AST, array: Array, size: int) -> None:
        scope = self.scope
        if array.kind == "local":
            scope.local_bytes += size
            if scope.local_bytes > LOCAL_BYTES_MAX:
                refuse(node, f"local arrays of a thread have at most {LOCAL_BYTES_MAX} bytes")
            return
        if size == 0 and scope.has_dynamic_shared:
            refuse(node, "one shared array has the shape 0: a second one would be the same memory")
        scope.has_dynamic_shared |= size == 0
        scope.shared_bytes += size
        if scope.shared_bytes > SHARED_BYTES_MAX:
            refuse(node, f"shared arrays of a block have at most {SHARED_BYTES_MAX} bytes")

    # ---- control ------------------------------------------------------------------------------

    def _alone(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Call):
            refuse(node, "an expression alone does nothing")
        results = self.read.call(node.value)
        if results and dotted(node.value.func) not in allowed.ATOMICS:
            refuse(node, f"the result of `{dotted(node.value.func)}` is not used")

    def _if(self, node: ast.If, defined: set[str]) -> _After:
        self.read.number(node.test)
        first = self._inner(node.body, defined)
        second = self._inner(node.orelse, defined) if node.orelse else defined
        if first is None or second is None:
            return second if first is None else first
        return first & second

    def _for(self, node: ast.For, defined: set[str]) -> _After:
        match node:
            case ast.For(iter=ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[])):
                steps = self._steps(node, bounds)
            case _:
                refuse(node, "a loop is `for name in range(…)`")
        if not isinstance(node.target, ast.Name):
            refuse(node, "a loop counts in one name")
        inner = set(defined)
        if node.target.id != "_":
            self._assignable(node, node.target.id)
            inner.add(node.target.id)
        self._loop(node, inner, steps)
        return defined

    def _steps(self, node: ast.For, bounds: list[ast.expr]) -> int:
        """Steps of a loop of constant bounds, at least 1; 1 where only the run decides."""
        if not 1 <= len(bounds) <= 3:
            refuse(node, "`range` takes an end, or a start, an end and a step")
        values = [self.read.number(bound) for bound in bounds]
        if any(isinstance(value, bool | float) for value in values):
            refuse(node, "`range` takes whole numbers")
        if len(values) == 3 and values[2] == 0:
            refuse(node, "a step of 0 never ends")
        known = [value for value in values if type(value) is int]
        # Not `len`: it takes no more than 2^63.
        return max(_steps_of(range(*known)), 1) if len(known) == len(values) else 1

    def _while(self, node: ast.While, defined: set[str]) -> _After:
        truth = self.read.number(node.test)
        if truth is not None and not truth:
            refuse(node, "this loop never begins")
        breaks = self._loop(node, set(defined), 1)
        if truth is None:
            return defined
        if not breaks:
            if any(isinstance(each, ast.Return) for each in ast.walk(node)):
                return None
            refuse(node, "this loop never ends")
        return set.intersection(*breaks)

    def _loop(self, node: ast.For | ast.While, inner: set[str], steps: int) -> list[set[str]]:
        if node.orelse:
            refuse(node.orelse[0], "a loop has no `else` here")
        around, self.steps = self.steps, self.steps * steps
        if self.steps > LOOP_STEPS_MAX:
            refuse(
                node, f"this loop and those around take {self.steps:.3g} steps: nobody ends them"
            )
        self.breaks.append([])
        self._inner(node.body, inner)
        self.steps = around
        return self.breaks.pop()

    def _jump(self, node: ast.Break | ast.Continue, defined: set[str]) -> None:
        word = "break" if isinstance(node, ast.Break) else "continue"
        if not self.breaks:
            refuse(node, f"`{word}` stands in a loop")
        if word == "break":
            self.breaks[-1].append(defined)

    def _return(self, node: ast.Return) -> None:
        values: list[ast.expr] = []
        if node.value is not None:
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        if values and self.scope.role != "device":
            refuse(node, "a kernel returns nothing: write into an output")
        for value in values:
            self.read.number(value)
        if self.results not in {None, len(values)}:
            refuse(node, f"{len(values)} numbers are returned here, {self.results} above")
        self.results = len(values)


def _steps_of(steps: range) -> int:
    return max(0, -(-(steps.stop - steps.start) // steps.step))
