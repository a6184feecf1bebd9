"""A kernel's source: the text that a submitter sends, read against the closed list of the language.

In:   one text. Nothing of it is ever executed here, and no warning is ever shown.
Out:  a `KernelSource`: parameters, constants, device functions, what the kernel needs; or
      `SourceRefused` with the line, what stands there, and what to write instead.
Rules:
  1. Size and nesting are bounded before Python's parser sees the text (`kernel_text`).
  2. The depth of the tree is bounded before anything recursive walks it.
  3. What is not matched is refused: in statements, expressions, calls, attributes, annotations.
  4. The same text gives the same source on every version of Python.
Not covered: types of numbers (Numba finds those errors, on the agent), indices outside of arrays,
time; whether threads agree about a barrier. The sandbox stands behind this list, not instead of it.
Source: docs/kernels.md, which is the language's definition.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from coordinator.workloads.kernel_limits import (
    INLINED_NODES_MAX,
    LOCAL_BYTES_MAX,
    SOURCE_CONSTANTS_MAX,
    SOURCE_DEPTH_MAX,
    SOURCE_FUNCTIONS_MAX,
)
from coordinator.workloads.kernel_numbers import Number, constant_value, typed_value
from coordinator.workloads.kernel_scope import (
    Array,
    ArrayKind,
    Module,
    Scope,
    check_name,
    dotted,
    refuse,
)
from coordinator.workloads.kernel_signatures import (
    arrays_of,
    read_arguments,
    read_decorator,
    read_device_argument,
    read_parameters,
    read_results,
)
from coordinator.workloads.kernel_statements import Statements
from coordinator.workloads.kernel_text import check_text
from coordinator.workloads.kernel_types import (
    SCALARS,
    Argument,
    Constant,
    Device,
    KernelSource,
    Parameter,
    Scalar,
    SourceRefused,
)

__all__ = ["KernelSource", "SourceRefused", "parse_source"]


def parse_source(text: str) -> KernelSource:
    """Read a source.

    Args:
        text: At most `SOURCE_BYTES_MAX` bytes of UTF-8.

    Raises:
        SourceRefused: naming the line, what is there, and what to write instead.
    """
    check_text(text)
    tree = _parsed(text)
    reader = _Reader(tree)
    for statement in tree.body:
        reader.take(statement, _nodes_of(statement))
    return reader.source(text)


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise SourceRefused(error.lineno or 1, f"this is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SourceRefused(1, f"Python cannot read this: {type(error).__name__}") from None


#: Fields that hold no node, or one that says nothing about depth.
_FLAT: Final = frozenset({"ctx", "op", "ops", "type_comment", "kind", "id", "attr", "arg"})


def _nodes_of(top: ast.stmt) -> list[ast.AST]:
    """The nodes of a statement of the module; refuses a tree that is too deep.

    Not recursive: this is what makes it safe that everything else is.
    """
    nodes: list[ast.AST] = []
    stack: list[tuple[ast.AST, int]] = [(top, 1)]
    while stack:
        node, depth = stack.pop()
        nodes.append(node)
        if depth == SOURCE_DEPTH_MAX:
            _refuse_below(node, top)
        depth += 1
        for name in node._fields:
            if name in _FLAT:
                continue
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                stack.append((value, depth))
            elif isinstance(value, list):
                stack += [(each, depth) for each in value if isinstance(each, ast.AST)]
    return nodes


def _refuse_below(node: ast.AST, top: ast.stmt) -> None:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr_context | ast.operator | ast.unaryop | ast.boolop):
            deep = f"this nests deeper than {SOURCE_DEPTH_MAX} levels: split it"
            raise SourceRefused(getattr(node, "lineno", top.lineno), deep)


class _Reader:
    """What was read of a text so far, statement after statement."""

    def __init__(self, tree: ast.Module) -> None:
        names = [each.name for each in tree.body if isinstance(each, ast.FunctionDef)]
        self.module = Module(functions=frozenset(names))
        self.scopes: list[Scope] = []
        self.entry: ast.FunctionDef | None = None
        self.parameters: tuple[Parameter, ...] = ()
        self.fastmath = False

    def take(self, node: ast.stmt, nodes: list[ast.AST]) -> None:
        """Read one statement of the module."""
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]):
                self._constant(node, name)
            case ast.FunctionDef():
                self._function(node, nodes)
            case _:
                refuse(
                    node, "a source holds `NAME = number`, `@device` functions and one `@kernel`"
                )

    def source(self, text: str) -> KernelSource:
        """What the whole text says."""
        if self.entry is None:
            raise SourceRefused(1, "a source holds one `@kernel` function")
        kernel = self.scopes[-1]
        return KernelSource(
            text=text,
            sha256=sha256(text.encode()).hexdigest(),
            entry=self.entry.name,
            form="element" if kernel.role == "element" else "cuda",
            parameters=self.parameters,
            constants=tuple(self.module.constants.values()),
            devices=tuple(self.module.devices.values()),
            random=tuple(sorted(set().union(*(scope.random for scope in self.scopes)))),
            has_barriers=kernel.has_barriers,
            has_atomics=any(scope.has_atomics for scope in self.scopes),
            fastmath=self.fastmath,
            shared_bytes=kernel.shared_bytes,
            has_dynamic_shared=kernel.has_dynamic_shared,
        )

    # ---- constants ----------------------------------------------------------------------------

    def _constant(self, node: ast.Assign, name: str) -> None:
        module = self.module
        check_name(node, name)
        if name in module.constants or name in module.functions:
            refuse(node, f"`{name}` is there twice")
        if module.devices or self.entry is not None:
            refuse(node, "constants stand above the functions")
        if len(module.constants) >= SOURCE_CONSTANTS_MAX:
            refuse(node, f"a source has at most {SOURCE_CONSTANTS_MAX} constants")
        value, scalar = self._value(node)
        module.constants[name] = Constant(name, value, scalar, node.lineno)
        module.values[name] = value

    def _value(self, node: ast.Assign) -> tuple[Number, Scalar | None]:
        expression, scalar = node.value, None
        match expression:
            case ast.Call(func=ast.Name(id=name), args=[inner], keywords=[]) if name in SCALARS:
                expression, scalar = inner, SCALARS[name]
        value = constant_value(expression, self.module.values)
        if value is None:
            refuse(node, "a constant is a number, or computed of numbers and constants above")
        return (value if scalar is None else typed_value(node.value, value, scalar)), scalar

    # ---- functions ----------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef, nodes: list[ast.AST]) -> None:
        check_name(node, node.name, "function")
        if self.entry is not None:
            refuse(node, "the `@kernel` function is the last one, and the only one")
        if node.name in self.module.devices:
            refuse(node, f"`{node.name}` is there twice")
        if len(self.scopes) >= SOURCE_FUNCTIONS_MAX:
            refuse(node, f"a source has at most {SOURCE_FUNCTIONS_MAX} functions")
        if getattr(node, "type_params", None):
            refuse(node, "a function has no type parameters")
        decorator = read_decorator(node)
        arguments = read_arguments(node, self.module)
        if decorator.role == "kernel":
            self.entry, self.fastmath = node, decorator.fastmath
            scope = self._kernel(node, arguments, nodes)
        else:
            scope = self._device(node, arguments, nodes)
        scope.cost += len(nodes)
        self.scopes.append(scope)
        self.module.costs[node.name] = scope.cost
        local = self.module.local_bytes[node.name] = scope.local_bytes + scope.called_local_bytes
        if local > LOCAL_BYTES_MAX:
            most = f"{LOCAL_BYTES_MAX} bytes"
            refuse(node, f"local arrays of `{node.name}` and of what it calls have at most {most}")
        if scope.cost > INLINED_NODES_MAX:
            large = f"more than {INLINED_NODES_MAX} nodes"
            refuse(node, f"`{node.name}` is too large with all that it calls: {large}")

    def _kernel(
        self, node: ast.FunctionDef, arguments: list[ast.arg], nodes: list[ast.AST]
    ) -> Scope:
        self.parameters = parameters = read_parameters(node, arguments)
        index = parameters[0].name if parameters[0].kind == "index" else ""
        scope = Scope(node.name, "element" if index else "cuda", self.module, index=index)
        for each in parameters:
            if each.kind in {"in", "out"}:
                kind: ArrayKind = "in" if each.kind == "in" else "out"
                scope.arrays[each.name] = Array(each.name, kind, each.type, each.ndim)
        self._body(node, scope, nodes)
        return scope

    def _device(
        self, node: ast.FunctionDef, arguments: list[ast.arg], nodes: list[ast.AST]
    ) -> Scope:
        scope = Scope(node.name, "device", self.module)
        used = arrays_of(nodes, self.module)
        read: list[Argument] = []
        for each in arguments:
            kind, argument = read_device_argument(each, is_array=each.arg in used)
            read.append(argument)
            if argument.is_array:
                name = argument.name
                array = Array(
                    name, "in" if kind == "in" else "argument", argument.type, argument.ndim
                )
                scope.arrays[name] = array
        statements, ends = self._body(node, scope, nodes)
        results = statements.results or 0
        if results and ends:
            refuse(node, f"`{node.name}` returns a number on some ways only")
        self.module.needs_blocks[node.name] = scope.needs_blocks
        self.module.devices[node.name] = Device(
            node.name,
            tuple(_as_used(argument, scope) for argument in read),
            results,
            read_results(node, results),
            node.lineno,
        )
        return scope

    def _body(
        self, node: ast.FunctionDef, scope: Scope, nodes: list[ast.AST]
    ) -> tuple[Statements, bool]:
        """Read the body; whether its end is reached without `return`."""
        given = {argument.arg for argument in node.args.args}
        scope.parameters = frozenset(given)
        made = _made_arrays(nodes)
        for name, array in made.items():
            if name in given:
                refuse(node, f"`{name}` is a parameter, and an array is made of that name")
            check_name(node, name)
            scope.arrays[name] = array
        stored = {
            each.id
            for each in nodes
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        scope.numbers = (given | stored) - scope.arrays.keys() - {"_"}
        statements = Statements(scope)
        ends = statements.body(node.body, given) is not None
        return statements, ends


def _made_arrays(nodes: Iterable[ast.AST]) -> dict[str, Array]:
    """Shared and local arrays that a function makes, shapes not yet known."""
    made: dict[str, Array] = {}
    for each in nodes:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=function)):
                if dotted(function) == "cuda.shared.array":
                    made[name] = Array(name, "shared", None, 0)
                elif dotted(function) == "cuda.local.array":
                    made[name] = Array(name, "local", None, 0)
    return made


def _as_used(argument: Argument, scope: Scope) -> Argument:
    if not argument.is_array:
        return argument
    array = scope.arrays[argument.name]
    return Argument(argument.name, True, array.is_written, argument.type, array.ndim)
