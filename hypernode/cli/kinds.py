"""`hypernode kinds`: what kinds of jobs there are, what each one takes and gives.

Also here: what a refused specification meant, in the words of the kind's own definition.
Not covered: a kind that only a newer coordinator knows; its refusals are shown as they come.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from coordinator.workloads.describe import KindInfo, Parameter

#: For each kind: parameters, budget and further words of a line that works.
EXAMPLES: Final[dict[str, tuple[dict[str, Any], str, str]]] = {
    "command": ({"command": "uname -a"}, "0.05", "--wait"),
    "hashsearch": (
        {"prefix": "68690a", "start": 0, "count": 1_000_000, "target_bits": 16}, "0.01", "--wait",
    ),
    "matmul": ({"m": 512, "k": 512, "n": 512}, "0.01", "-i a=a.npy -i b=b.npy -o c.npy"),
    "kernel": (
        {
            "source": "@kernel\ndef squares(i, out: Out[i64]):\n    out[i] = i * i\n",
            "outputs": {"out": [10]}, "extent": [10],
        },
        "0.02", "--wait",
    ),
    "montecarlo": (
        {
            "spot": 100, "strike": 105, "rate": 0.03, "volatility": 0.2, "maturity_years": 1,
            "option": "call", "paths": 1_000_000,
        },
        "0.02", "--wait",
    ),
    "render": ({"width": 640, "height": 360}, "0.02", "-o picture.png"),
}  # fmt: skip
#: msgspec's sentences about a field, and about one that is missing or unknown.
_AT_FIELD: Final = re.compile(r"- at `\$\.(\w+)")
_MISSING: Final = re.compile(r"missing required field `(\w+)`")
_UNKNOWN: Final = re.compile(r"unknown field `(\w+)`")


def kinds(
    kind: Annotated[str, typer.Argument(help="One kind, in full.", show_default=False)] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List the kinds of jobs, or show what one kind takes and gives.

    Example: hypernode kinds render
    """
    from coordinator.protocol.errors import Refusal
    from coordinator.workloads.catalogue import KINDS, get
    from coordinator.workloads.describe import describe
    from hypernode.cli.exit import Usage
    from hypernode.cli.output import note, print_json, print_table

    try:
        infos = [describe(get(name)) for name in ([kind] if kind else KINDS)]
    except Refusal as refusal:
        raise Usage(refusal.sentence) from refusal
    if as_json:
        import msgspec

        documents = [
            {**msgspec.to_builtins(info), "example": example_of(info.kind)} for info in infos
        ]
        print_json(documents[0] if kind else documents)
    elif kind:
        _print_kind(infos[0])
    else:
        print_table(("Kind", "What"), [(info.kind, info.summary) for info in infos])
        note("What one takes: hypernode kinds KIND")


def example_of(kind: str) -> str:
    """A command line that submits a job of this kind."""
    params, budget, more = EXAMPLES[kind]
    words = [f"-p {quote(f'{name}={_shown(value)}')}" for name, value in params.items()]
    return f"hypernode submit {kind} {' '.join(words)} --budget {budget} {more}"


def _shown(value: Any) -> str:
    """A parameter's value as a command line has it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _print_kind(info: KindInfo) -> None:
    from hypernode.cli.output import print_facts, print_table

    typer.echo(f"{info.kind}: {info.summary}")
    rows = [
        (parameter.name, parameter.type, parameter.default or "(needed)", parameter.meaning)
        for parameter in info.parameters
    ]
    print_table(("Parameter", "Type", "Default", "Meaning"), rows)
    paid = "its time, up to the budget" if info.is_timed else "the quoted price"
    given = {"Inputs": info.inputs} if info.inputs else {}
    print_facts(
        {
            **given,
            "Output": info.outputs,
            "Check": info.check,
            "Paid": paid,
            "Try": example_of(info.kind),
        }
    )


@contextmanager
def explaining(kind: str) -> Iterator[None]:
    """Turn the refusal of a specification into a sentence about its parameters.

    Raises:
        BadSpec, UnknownKind: the same refusal, in clearer words.
    """
    from hypernode.errors import BadSpec, UnknownKind

    try:
        yield
    except (BadSpec, UnknownKind) as error:
        sentence = error.sentence
        if error.code == "bad_spec":
            sentence = _explained(kind, sentence)
        elif error.code != "unknown_kind":
            raise
        see = f"hypernode kinds {kind}" if error.code == "bad_spec" else "hypernode kinds"
        raise type(error)(error.code, f"{sentence}; see: {see}") from error


def _explained(kind: str, sentence: str) -> str:
    parameters = {parameter.name: parameter for parameter in _parameters_of(kind)}
    if missing := _MISSING.search(sentence):
        needed = [name for name, parameter in parameters.items() if not parameter.default]
        return f"{kind} needs {missing[1]} (it takes {', '.join(needed or parameters)})"
    if unknown := _UNKNOWN.search(sentence):
        return f"{kind} has no parameter {unknown[1]} (it has {', '.join(parameters)})"
    if (found := _AT_FIELD.search(sentence)) and found[1] in parameters:
        return f"{found[1]}: {parameters[found[1]].type} expected"
    return sentence.replace("`$.", "`")


def _parameters_of(kind: str) -> tuple[Parameter, ...]:
    from coordinator.workloads.catalogue import KINDS, get
    from coordinator.workloads.describe import parameters_of

    return parameters_of(get(kind).params_type) if kind in KINDS else ()
