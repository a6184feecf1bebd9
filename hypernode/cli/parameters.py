"""Parameters of jobs as a command line writes them: JSON, or else text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypernode.cli.exit import Usage

if TYPE_CHECKING:
    from coordinator.protocol.arrays import AnyArray


def read_inputs(pairs: Sequence[str]) -> dict[str, AnyArray]:
    """Arrays from `--input NAME=FILE.npy`; they are mapped, not read.

    Raises:
        Usage: not `NAME=FILE`, or a name twice.
        BadSpec: a file that holds no plain array.
    """
    from hypernode.npy import open_npy

    arrays: dict[str, AnyArray] = {}
    for pair in pairs:
        name, sign, path = pair.partition("=")
        if not (sign and name and path):
            msg = f"--input takes NAME=FILE.npy, not {pair!r}"
            raise Usage(msg)
        if name in arrays:
            msg = f"--input {name} is given twice"
            raise Usage(msg)
        try:
            arrays[name] = open_npy(Path(path).expanduser())
        except OSError as error:
            msg = f"--input {name}: {path}: {error.strerror or error}"
            raise Usage(msg) from error
    return arrays


def read_params(pairs: Sequence[str], document: str, kind: str = "") -> dict[str, Any]:
    """Parameters from `--param NAME=VALUE` and `--params JSON` (pairs win).

    Args:
        pairs: What stood behind each `--param`.
        document: What stood behind `--params`.
        kind: The job's kind: its text parameters are taken as they stand, digits too.

    Raises:
        Usage: not `NAME=VALUE`, a name twice, or not a JSON object.
    """
    params = _read_document(document) if document else {}
    texts = _text_parameters(kind)
    seen: set[str] = set()
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            msg = f"--param takes NAME=VALUE, not {pair!r}"
            raise Usage(msg)
        if name in seen:
            msg = f"--param {name} is given twice"
            raise Usage(msg)
        seen.add(name)
        is_plain = name in texts and not value.startswith('"')
        params[name] = value if is_plain else _value_of(value)
    return params


def _text_parameters(kind: str) -> frozenset[str]:
    """Names of the parameters of a kind that are text."""
    from msgspec import inspect

    from coordinator.workloads.catalogue import KINDS, get

    if kind not in KINDS:
        return frozenset()
    info = inspect.type_info(get(kind).params_type)
    assert isinstance(info, inspect.StructType)
    return frozenset(
        field.encode_name for field in info.fields if isinstance(field.type, inspect.StrType)
    )


def _read_document(document: str) -> dict[str, Any]:
    import json

    text = Path(document[1:]).read_text(encoding="utf-8") if document.startswith("@") else document
    try:
        params = json.loads(text)
    except ValueError as error:
        msg = f"--params is not JSON: {error}"
        raise Usage(msg) from error
    if not isinstance(params, dict):
        msg = '--params takes a JSON object, such as {"paths": 1000}'
        raise Usage(msg)
    return params


def _value_of(text: str) -> Any:
    """A JSON value where the text is one (`1e6` is the whole number), else the text itself."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, float) and value.is_integer() and "." not in text:
        return int(value)
    return value
