"""What a kind of job takes and gives, in words: drawn from its own definition, never written twice.

In:   a workload.
Out:  its parameters with type, range, default and meaning; its outputs; how it is checked.
From: the annotations of the parameters' structure (types and ranges), the `#:` line above each of
      its fields (meaning), and the workload's module docstring (first sentence, `Inputs`,
      `Output`).
Not here: examples and how this is printed (`hypernode/cli/kinds.py`), the README's table.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from coordinator.protocol.spec import Policy, Sample
from coordinator.workloads.workload import Params, Workload

_FIELD: Final = re.compile(r"    ([a-z_]+): ")
_COMMENT: Final = re.compile(r"    #: (.*)")
_OUTPUT: Final = re.compile(r"^Outputs?: +(.*(?:\n {9}.*)*)", re.MULTILINE)

_INPUTS: Final = re.compile(r"^Inputs: +(.*(?:\n {9}.*)*)", re.MULTILINE)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a kind."""

    name: str
    #: Type and range, such as `integer from 1 to 4096`.
    type: str
    #: "" where the parameter must be given.
    default: str
    meaning: str


class KindInfo(msgspec.Struct, frozen=True):
    """One kind of job."""

    kind: str
    summary: str
    parameters: tuple[Parameter, ...]
    outputs: str
    #: "" where it takes none.
    inputs: str
    #: How a result is checked where the job does not say.
    check: str
    #: Whether it is paid by time.
    is_timed: bool


def describe(workload: Workload[Any]) -> KindInfo:
    """What a kind takes and gives."""
    prose = inspect.getdoc(inspect.getmodule(type(workload))) or ""
    output, inputs = _OUTPUT.search(prose), _INPUTS.search(prose)
    return KindInfo(
        kind=workload.kind,
        summary=prose.partition("\n")[0].removeprefix(f"{workload.kind}: "),
        parameters=parameters_of(workload.params_type),
        outputs=" ".join(output[1].split()) if output else "",
        inputs=" ".join(inputs[1].split()) if inputs else "",
        check=_check_of(workload.default_policy),
        is_timed=workload.is_timed,
    )


def parameters_of(kind: type[Params]) -> tuple[Parameter, ...]:
    """The parameters in order."""
    said = _meanings(kind)
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    return tuple(
        Parameter(
            field.name,
            type_text(field.type),
            "" if field.required else _default_of(field),
            said.get(field.name, ""),
        )
        for field in info.fields
    )


def _default_of(field: types.Field) -> str:
    if field.default is msgspec.NODEFAULT:
        return str(field.default_factory())
    return str(field.default)


def type_text(kind: types.Type) -> str:  # noqa: PLR0911 - a table
    """A type and its range in words."""
    match kind:
        case types.IntType():
            return f"integer {_range(kind)}".rstrip()
        case types.FloatType():
            return f"number {_range(kind)}".rstrip()
        case types.StrType(max_length=int() as most):
            return f"text of at most {most} characters"
        case types.StrType():
            return "text"
        case types.DictType():
            return f"object of names, each with {type_text(kind.value_type)}"
        case types.VarTupleType(max_length=int() as most):
            return f"list of at most {most}, each {type_text(kind.item_type)}"
        case types.UnionType():
            return " or ".join(map(type_text, kind.types))
        case types.LiteralType():
            return "one of " + ", ".join(map(str, kind.values))
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _range(kind: types.IntType | types.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f"from {kind.ge:.16g} to {kind.le:.16g}"
    above = f"above {kind.gt:.16g}" if kind.gt is not None else ""
    upto = f"up to {kind.le:.16g}" if kind.le is not None else ""
    return ", ".join(filter(None, [above, upto]))


def _meanings(kind: type[Params]) -> dict[str, str]:
    """Field → its comment; empty where the sources are not at hand."""
    try:
        lines = inspect.getsource(kind).splitlines()
    except OSError:
        return {}
    meanings: dict[str, str] = {}
    said: list[str] = []
    for line in lines:
        if comment := _COMMENT.match(line):
            said.append(comment[1])
            continue
        if said and (field := _FIELD.match(line)):
            meanings[field[1]] = " ".join(said)
        said = []
    return meanings


def _check_of(policy: Policy) -> str:
    if isinstance(policy, Sample):
        share = f", {policy.rate:.0%} of them if that is more" if policy.rate else ""
        return f"at least {policy.floor} blocks of it, drawn at random, are computed again{share}"
    return "none: it cannot be computed again"
