"""`hypernode demo`: the whole market on this machine, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypernode.cli.options import AsJson


def demo(
    *,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Keep database, keys and logs here; by default a folder that goes if all is well.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the rendered picture.")
    ] = Path("demo-output"),
    cpu_only: Annotated[
        bool, typer.Option("--cpu", help="Leave the GPU alone, even if there is one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole market on this machine, in under a minute.

    A coordinator, two agents (one on the GPU, if there is one) and a submitter's real jobs; then
    the results, what they cost, and whether the books balance.

    Example: hypernode demo --json
    """
    from hypernode.cli.agent import need_agent_parts
    from hypernode.cli.demo_screen import show_demo

    need_agent_parts()
    raise typer.Exit(show_demo(directory, output.absolute(), cpu_only=cpu_only, as_json=as_json))
