"""A source as trees that every device takes: what annotations say stands in the bodies.

In:   a source that the language has accepted.
Out:  its functions by name, those of the language that it calls first; its constants as values.
Rules:
  1. A device function's annotated scalars are converted where they come in and go out.
  2. `min` and `max` are two-argument functions of ours: Numba's differ between its targets.
  3. Extents of arrays are numbers: Numba takes no sum of constants there.
"""

from __future__ import annotations

import ast
from typing import Any, Final

from agent.kernels.quoting import called, dotted, expression, quote
from coordinator.workloads.kernel_types import SCALARS, KernelSource
from coordinator.workloads.prelude import prelude_of

_LEAST_AND_GREATEST: Final = """
def _min(x, y):
    return y if y < x else x

def _max(x, y):
    return y if y > x else x
"""


def functions_of(source: KernelSource) -> dict[str, ast.FunctionDef]:
    """A source's functions by name, the language's random ones that it calls first.

    Annotations and decorators are gone: what a device function's scalars are converted to stands
    in its body.
    """
    found: dict[str, ast.FunctionDef] = {}
    # What is not the user's stands on lines that the user's text has not.
    ours = ast.parse(_LEAST_AND_GREATEST + prelude_of(source.random))
    ast.increment_lineno(ours, source.text.count("\n") + 1)
    for module in (ours, ast.parse(source.text)):
        for node in module.body:
            if isinstance(node, ast.FunctionDef):
                _convert(node, is_entry=node.name == source.entry)
                found[node.name] = _Pairs().visit(node)
    used = {called(node) for function in found.values() for node in ast.walk(function)}
    return {
        name: function for name, function in found.items()
        if not name.startswith("_") or name in used
    }  # fmt: skip


class _Pairs(ast.NodeTransformer):
    """`min(a, b, c)` as `_min(_min(a, b), c)`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if called(node) not in {"min", "max"}:
            return node
        first, *others = node.args
        for other in others:
            name = ast.copy_location(ast.Name(f"_{called(node)}", ast.Load()), node)
            first = ast.copy_location(ast.Call(name, [first, other], []), node)
        return first


def constants_of(source: KernelSource) -> dict[str, Any]:
    """A source's constants as values: a NumPy scalar where its type was written."""
    return {
        constant.name: constant.value if constant.type is None else constant.type(constant.value)
        for constant in source.constants
    }


def _convert(function: ast.FunctionDef, is_entry: bool) -> None:
    """Write what annotations of scalars say as conversions, and take all annotations away."""
    conversions: list[ast.stmt] = []
    for argument in function.args.args:
        name = dotted(argument.annotation) if argument.annotation else ""
        if name in SCALARS and not is_entry:
            line = function.lineno
            conversions += quote("_a = _type(_a)", line, _a=argument.arg, _type=name)
        argument.annotation = None
    if function.returns is not None and not is_entry:
        _convert_results(function, function.returns)
    function.returns = None
    function.decorator_list = []
    function.body[:0] = conversions


def _convert_results(function: ast.FunctionDef, annotation: ast.expr) -> None:
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.slice
    names = [dotted(each) for each in _elements(annotation)]
    if not all(name in SCALARS for name in names):
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            values = [
                expression("_type(_value)", node.lineno, _type=name, _value=value)
                for name, value in zip(names, _elements(node.value), strict=True)
            ]
            node.value = values[0] if len(values) == 1 else _tuple(values)


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _tuple(values: list[ast.expr]) -> ast.expr:
    return ast.copy_location(ast.Tuple(values, ast.Load()), values[0])
