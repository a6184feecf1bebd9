"""Parameters and results of jobs as a command line writes them: JSON in, files and text out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hypernode.cli.exit import Usage

if TYPE_CHECKING:
    from hypernode.result import Result

#: File types that a result can be written as.
OUTPUT_TYPES: Final = (".npy", ".npz", ".png", ".txt")


def read_params(pairs: Sequence[str], document: str) -> dict[str, Any]:
    """Parameters from `--param NAME=VALUE` and `--params JSON` (pairs win).

    Raises:
        Usage: not `NAME=VALUE`, or not a JSON object.
    """
    params = _read_document(document) if document else {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            msg = f"--param takes NAME=VALUE, not {pair!r}"
            raise Usage(msg)
        params[name] = _value_of(value)
    return params


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


def check_output_path(path: Path) -> None:
    """Refuse, before anything is paid, a file that could not be written.

    Raises:
        Usage: an unknown type, or no such folder.
    """
    if path.suffix.lower() not in OUTPUT_TYPES:
        msg = f"--output takes a file ending in {', '.join(OUTPUT_TYPES)}, not {path.name!r}"
        raise Usage(msg)
    if not path.absolute().parent.is_dir():
        msg = f"--output: there is no folder {path.absolute().parent}"
        raise Usage(msg)


def save_output(path: Path, result: Result) -> None:
    """Write a result in the form that the file's name asks for.

    Raises:
        Usage: the result is not a picture, but a `.png` is asked for.
    """
    import numpy as np

    match path.suffix.lower():
        case ".npz":
            arrays = {f"output_{index}": array for index, array in enumerate(result.outputs)}
            np.savez(path, **arrays)  # type: ignore[arg-type]
        case ".png":
            image = result.output
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                msg = f"this result is no picture ({image.dtype.name}{image.shape}): use .npy"
                raise Usage(msg)
            from hypernode.png import png_bytes

            path.write_bytes(png_bytes(image))
        case ".txt":
            path.write_text(result.text, encoding="utf-8")
        case _:
            np.save(path, result.output, allow_pickle=False)


def describe(kind: str, result: Result) -> str:
    """A result in a few lines of text: a command's log, small arrays whole, large ones in brief."""
    if kind == "command":
        return result.text.removesuffix("\n")
    import numpy as np

    lines = []
    for index, array in enumerate(result.outputs):
        lines.append(f"output {index}: {array.dtype.name}{array.shape}")
        lines.append(np.array2string(array, threshold=16, edgeitems=2))
    return "\n".join(lines)
