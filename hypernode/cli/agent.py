"""`hypernode agent`: a machine that computes and earns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    pass


def agent(
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", "--endpoint", help="The coordinator's address.", show_default=False),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="The token itself (others can see it: prefer --token-file)."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token.", show_default=False)
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Jobs at the same time on the CPU.", show_default=False)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda, or a GPU's number or UUID.", show_default=False),
    ] = None,
    allow_command: Annotated[
        bool | None,
        typer.Option(
            "--allow-command/--no-command",
            help="Run other people's shell commands, in the sandbox only.",
            show_default=False,
        ),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Node key, outbox and receipts.", show_default=False),
    ] = None,
) -> None:
    """Join this machine to a coordinator, to work and earn.

    Example: hypernode agent --url http://127.0.0.1:3001 --token-file token --device cuda
    """
