"""`hypernode agent`: a machine that computes and earns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from hypernode.cli.options import URL_DEFAULT


def agent(  # noqa: PLR0913 (one parameter an option)
    *,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "--coordinator",
            "--endpoint",
            help="The coordinator's address: http(s):// or ws(s)://, host and port. "
            f"[env var: HYPERNODE_URL; default: {URL_DEFAULT}]",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Certificates of authorities to believe, PEM (default: the system's). "
            "[env var: HYPERNODE_CA]",
            show_default=False,
        ),
    ] = None,
    token: Annotated[str | None, typer.Option(hidden=True)] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token.", show_default=False)
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(
            help="Jobs at the same time beside the GPUs: commands, and kernels on the CPU "
            "(default: 1).",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            "--device",
            help="auto (the default), cuda (every GPU), cpu, none (commands only), or a list of "
            "GPUs by index or UUID, as `nvidia-smi -L` shows them: 0,2.",
            show_default=False,
        ),
    ] = None,
    allow_command: Annotated[
        bool | None,
        typer.Option(
            "--allow-command/--no-command",
            help="Run other people's shell commands, in the sandbox only.",
            show_default=False,
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="Form of the log.", show_default=False),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of node key, outbox and receipts.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in TOML; flags win.", show_default=False)
    ] = None,
) -> None:
    """Join this machine to a coordinator, to work and earn; SIGTERM and Ctrl-C let it finish.

    Every setting is also an environment variable, HYPERNODE_<NAME>, and a key of --config;
    `hypernode config show --role agent` tells what holds.

    Example: hypernode agent --url http://127.0.0.1:3001 --token-file token --devices 0,1
    """
    given = dict(locals())  # an option, a setting

    import os
    import signal
    from functools import partial

    import trio

    from agent.config import read_config
    from agent.main import run_agent
    from coordinator.log import configure_log, get_log
    from coordinator.notify import Notifier
    from hypernode.cli.config import agent_remarks
    from hypernode.cli.exit import Exit

    settings, reading = read_config(flags_of(given), os.environ, config)
    reading.raise_problems()
    assert settings is not None
    need_agent_parts()
    configure_log(json_lines=settings.log_json)
    for remark in agent_remarks(settings, reading):
        get_log(__name__).warning("configuration", remark=remark)
    notifier = Notifier.of(os.environ)
    if trio.run(partial(run_agent, settings, notifier)) == signal.SIGINT:
        raise typer.Exit(Exit.INTERRUPTED)


def flags_of(given: Mapping[str, object]) -> dict[str, object]:
    """The options of this command as settings, by their names."""
    return {name: value for name, value in given.items() if name != "config"}


def need_agent_parts() -> None:
    """Refuse where only the coordinator and the client are installed, as in the one file.

    Raises:
        Usage: there is no compiler of kernels.
    """
    from importlib.util import find_spec

    from hypernode.cli.exit import Usage

    if find_spec("numba") is None:
        msg = (
            "this installation has no agent: it needs the extra `agent`, as in "
            "`pip install 'hypernode[agent]'`; the coordinator's one file never has it"
        )
        raise Usage(msg)
