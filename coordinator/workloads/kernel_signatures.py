"""Heads of functions: decorators, parameters and their annotations.

Rules:
  1. `@kernel`, `@kernel(fastmath=True)` and `@device` are the decorators; each function has one.
  2. A kernel's first parameters without a type (or of `Index`) are indices; every other one is a
     scalar, an `In` or an `Out`.
  3. A parameter has no default, and is given by position.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from coordinator.workloads import allowed
from coordinator.workloads.kernel_limits import SOURCE_PARAMETERS_MAX
from coordinator.workloads.kernel_scope import Module, check_name, dotted, refuse
from coordinator.workloads.kernel_types import (
    DIMENSIONS_MAX,
    SCALARS,
    Argument,
    Parameter,
    ParameterKind,
    Scalar,
    SourceRefused,
)

_INDEX: Final = SCALARS["i64"]
_KINDS: Final[dict[str, ParameterKind]] = {"In": "in", "Out": "out"}


class Decorator(NamedTuple):
    """What the line above a function says."""

    role: Literal["kernel", "device"]
    fastmath: bool = False


def read_decorator(node: ast.FunctionDef) -> Decorator:
    """The one decorator of a function.

    Raises:
        SourceRefused: there is none, another one, or more than one.
    """
    if len(node.decorator_list) != 1:
        refuse(node, f"`{node.name}` has one decorator: `@kernel` or `@device`")
    match node.decorator_list[0]:
        case ast.Name(id="kernel"):
            return Decorator("kernel")
        case ast.Name(id="device"):
            return Decorator("device")
        case ast.Call(
            func=ast.Name(id="kernel"),
            args=[],
            keywords=[ast.keyword(arg="fastmath", value=ast.Constant(value=True))],
        ):
            return Decorator("kernel", fastmath=True)
        case other:
            wanted = "a decorator is `@kernel`, `@kernel(fastmath=True)` or `@device`"
            raise SourceRefused(other.lineno, wanted)


def read_arguments(node: ast.FunctionDef, module: Module) -> list[ast.arg]:
    """The parameters of any function, by name and number; their annotations are not read."""
    given = node.args
    if given.vararg or given.kwarg:
        refuse(node, "`*` and `**` parameters are not in this language")
    if given.kwonlyargs or given.posonlyargs:
        refuse(node, "`*` and `/` between parameters are not in this language")
    if given.defaults or given.kw_defaults:
        refuse(node, "a parameter has no default: give it where the function is called")
    if len(given.args) > SOURCE_PARAMETERS_MAX:
        refuse(node, f"a function has at most {SOURCE_PARAMETERS_MAX} parameters")
    seen: set[str] = set()
    for argument in given.args:
        check_name(argument, argument.arg, "parameter")
        taken = argument.arg in seen or argument.arg in module.constants
        if taken or argument.arg in module.functions:
            refuse(argument, f"`{argument.arg}` stands for something else already")
        seen.add(argument.arg)
    return given.args


def read_parameters(node: ast.FunctionDef, arguments: list[ast.arg]) -> tuple[Parameter, ...]:
    """The parameters of a kernel."""
    if node.returns is not None and not _is_none(node.returns):
        refuse(node.returns, "a kernel returns nothing: write `-> None`, or nothing")
    parameters: list[Parameter] = []
    for argument in arguments:
        parameter = _parameter(argument)
        if parameter.kind == "index" and any(each.kind != "index" for each in parameters):
            refuse(argument, f"the parameter `{argument.arg}` has no type; indices stand in front")
        parameters.append(parameter)
    indices = sum(parameter.kind == "index" for parameter in parameters)
    if indices > DIMENSIONS_MAX:
        refuse(node, f"a kernel has at most {DIMENSIONS_MAX} indices: the others need a type")
    if not any(parameter.kind == "out" for parameter in parameters):
        refuse(node, "a kernel writes at least one `Out` array")
    return tuple(parameters)


def _parameter(argument: ast.arg) -> Parameter:
    name, said = argument.arg, argument.annotation
    if said is None or (isinstance(said, ast.Name) and said.id == "Index"):
        return Parameter(name, "index", _INDEX)
    if isinstance(said, ast.Name) and said.id in SCALARS:
        return Parameter(name, "scalar", SCALARS[said.id])
    kind, element, ndim = _array(said)
    return Parameter(name, kind, element, ndim)


def _array(node: ast.expr) -> tuple[ParameterKind, Scalar, int]:
    match node:
        case ast.Subscript(value=ast.Name(id="In" | "Out" as kind), slice=ast.Name(id=element)):
            ndim = 1
        case ast.Subscript(
            value=ast.Name(id="In" | "Out" as kind),
            slice=ast.Tuple(elts=[ast.Name(id=element), ast.Constant(value=int() as ndim)]),
        ) if not isinstance(ndim, bool):
            pass
        case _:
            refuse(node, f"a type is one of {', '.join(SCALARS)}, `In[f32]`, `Out[f32, 2]`")
    if element not in SCALARS:
        refuse(node, f"the type of an array is one of {', '.join(SCALARS)}")
    if not 1 <= ndim <= DIMENSIONS_MAX:
        refuse(node, f"an array has 1 to {DIMENSIONS_MAX} dimensions")
    return _KINDS[kind], SCALARS[element], ndim


def read_device_argument(argument: ast.arg, *, is_array: bool) -> tuple[ParameterKind, Argument]:
    """One parameter of a device function, as annotated or as used.

    Returns:
        Its kind ("scalar", "in" or "out"), and what is known of it before its body is read.
    """
    said = argument.annotation
    if said is None:
        kind: ParameterKind = "out" if is_array else "scalar"
        return kind, Argument(argument.arg, is_array, is_written=False, type=None)
    if isinstance(said, ast.Name) and said.id in SCALARS:
        if is_array:
            refuse(argument, f"`{argument.arg}` is used as an array: write `In[{said.id}]`")
        return "scalar", Argument(
            argument.arg, is_array=False, is_written=False, type=SCALARS[said.id]
        )
    kind, element, ndim = _array(said)
    return kind, Argument(argument.arg, is_array=True, is_written=False, type=element, ndim=ndim)


def read_results(node: ast.FunctionDef, results: int) -> tuple[Scalar, ...]:
    """What a device function's numbers are converted to, as annotated."""
    said = node.returns
    if said is None:
        return ()
    if _is_none(said):
        names: list[ast.expr] = []
    elif isinstance(said, ast.Subscript) and dotted(said.value) == "tuple":
        names = said.slice.elts if isinstance(said.slice, ast.Tuple) else [said.slice]
    else:
        names = [said]
    types = tuple(SCALARS[dotted(name)] for name in names if dotted(name) in SCALARS)
    if len(types) != len(names):
        refuse(said, "a result is annotated `-> f32`, `-> tuple[f32, f32]` or `-> None`")
    if len(types) != results:
        refuse(said, f"`{node.name}` returns {results} numbers, not {len(types)}")
    return types


def arrays_of(nodes: Iterable[ast.AST], module: Module) -> set[str]:
    """Names that a device function uses as arrays: indexed, measured, or handed on as such."""
    found: set[str] = set()
    for each in nodes:
        match each:
            case ast.Subscript(value=ast.Name(id=name)):
                found.add(name)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                if attribute in allowed.ARRAY_ATTRIBUTES:
                    found.add(name)
            case ast.Call(func=function, args=arguments):
                found |= _arrays_given(dotted(function), arguments, module)
    return found


def _arrays_given(name: str, arguments: list[ast.expr], module: Module) -> set[str]:
    if name == "len" or name in allowed.ATOMICS:
        taken = arguments[:1]
    elif name in module.devices:
        pairs = zip(arguments, module.devices[name].arguments, strict=False)
        taken = [given for given, wanted in pairs if wanted.is_array]
    else:
        return set()
    return {given.id for given in taken if isinstance(given, ast.Name)}


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
