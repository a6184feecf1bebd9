"""Results of jobs as a command line gives them: files of the asked type, or a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hypernode.cli.exit import Usage

if TYPE_CHECKING:
    from coordinator.workloads.workload import OutputSchema
    from hypernode.result import Result

#: File types that a result can be written as.
OUTPUT_TYPES: Final = (".npy", ".npz", ".png", ".txt")
#: Axes of a picture, and its channels.
_AXES: Final = 3

OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the result to FILE.npy, .npz (all outputs), .png or .txt.",
        show_default=False,
    ),
]


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


def check_output_kind(path: Path, kind: str, params: Mapping[str, Any]) -> None:
    """Refuse, before anything is paid, a picture of a kind that makes none.

    Raises:
        Usage: it makes none. A kind or parameters that are wrong are the coordinator's to refuse.
    """
    import msgspec

    from coordinator.protocol.errors import Refusal
    from coordinator.workloads.catalogue import get

    if path.suffix.lower() != ".png":
        return
    try:
        workload = get(kind)
        schema = workload.schema(workload.decode(msgspec.json.encode(params)))
    except Refusal:
        return
    if not _is_picture_schema(schema[0]):
        msg = f"the result of {kind} is no picture: use {path.stem}.npy"
        raise Usage(msg)


def _is_picture_schema(schema: OutputSchema) -> bool:
    return schema.dtype == "uint8" and len(schema.shape) == _AXES and schema.shape[2] == _AXES


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
            if image.dtype != np.uint8 or image.ndim != _AXES or image.shape[2] != _AXES:
                msg = f"this result is no picture ({image.dtype.name}{image.shape}): use .npy"
                raise Usage(msg)
            from hypernode.png import png_bytes

            path.write_bytes(png_bytes(image))
        case ".txt":
            path.write_text(result.text, encoding="utf-8")
        case _:
            np.save(path, result.output, allow_pickle=False)


def describe(kind: str, result: Result, params: Mapping[str, Any] | None = None) -> str:
    """A result in a few lines of text: a command's log, small arrays whole, large ones in brief.

    Args:
        kind: The job's kind.
        result: What came of it.
        params: Its parameters, where they are known: a price needs them.
    """
    if kind == "command":
        return result.text.removesuffix("\n")
    import numpy as np

    lines = [] if params is None else _in_its_own_words(kind, result, params)
    for index, array in enumerate(result.outputs):
        lines.append(f"output {index}: {array.dtype.name}{array.shape}")
        lines.append(np.array2string(array, threshold=16, edgeitems=2))
    return "\n".join(lines)


def _in_its_own_words(kind: str, result: Result, params: Mapping[str, Any]) -> list[str]:
    """What the arrays of some kinds mean."""
    if kind != "montecarlo":
        return []
    from msgspec import json

    from coordinator.workloads.montecarlo import MonteCarlo, estimate

    price, error = estimate(MonteCarlo().decode(json.encode(params)), result.outputs)
    return [f"price {price:.6g} ± {error:.2g} (one standard error)"]


def print_result(
    kind: str,
    result: Result,
    output: Path | None,
    *,
    as_json: bool,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Write a result to its file, if one is asked for, and print it, or where it is."""
    from hypernode.cli.output import harmless, is_terminal, note, print_json

    if output is not None:
        save_output(output, result)
    if as_json:
        print_json(_document(kind, result, output))
        return
    shown = str(output) if output is not None else describe(kind, result, params)
    # A stranger's bytes: a pipe gets them as they are, a terminal nothing that moves it.
    typer.echo(harmless(shown) if is_terminal() else shown)
    if is_terminal() and result.receipt is not None:
        note(f"{result.job}: {result.receipt.verdict}, paid {result.paid} HYPER")


def _document(kind: str, result: Result, output: Path | None) -> dict[str, Any]:
    from hypernode.result import receipt_document

    return {
        "id": result.job,
        "status": "completed",
        "paid": result.paid,
        "outputs": [{"dtype": array.dtype.name, "shape": array.shape} for array in result.outputs],
        "file": str(output) if output else None,
        "text": result.text if kind == "command" else None,
        "receipt": receipt_document(result.receipt) if result.receipt else None,
    }
