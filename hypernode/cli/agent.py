"""`hypernode agent`: a machine that computes and earns; and its operator's hand on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson

if TYPE_CHECKING:
    from agent.config import AgentConfig
    from agent.status import Status

#: The variables that say which agent is meant.
_WHERE: Final = frozenset({"HYPERNODE_URL", "HYPERNODE_STATE_DIR", "HN_ENDPOINT"})
app = typer.Typer(
    rich_markup_mode=None,
)
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--coordinator",
        "--endpoint",
        help="The coordinator's address: http(s):// or ws(s)://, host and port. "
        f"[env var: HYPERNODE_URL; default: {URL_DEFAULT}]",
        show_default=False,
    ),
]
StateDir = Annotated[
    Path | None, typer.Option(help="Node key, outbox and receipts.", show_default=False)
]


@app.callback(invoke_without_command=True)
def agent(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
    *,
    url: Url = None,
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
    allow_kernels: Annotated[
        bool | None,
        typer.Option(
            "--allow-kernels/--no-kernels",
            help="Run other people's kernels on the CPU, in the sandbox only (the default).",
            show_default=False,
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="Form of the log.", show_default=False),
    ] = None,
    dashboard: Annotated[
        bool | None,
        typer.Option(
            "--dashboard/--no-dashboard",
            help="On a terminal: a screen that tells how it goes (the default), or the log.",
            show_default=False,
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of /metrics for Prometheus, on 127.0.0.1 only (default: none).",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            help="The ledger that pays your earnings: proofs and vouchers of another one are "
            "refused (default: the first one's).",
            show_default=False,
        ),
    ] = None,
    guardians: Annotated[
        list[str] | None,
        typer.Option(
            "--guardian",
            help="A guardian that gets this node's receipts, https://host:port; repeat for more.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDir = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings in TOML; flags win.", show_default=False)
    ] = None,
) -> None:
    """Join this machine to a coordinator, to work and earn.

    SIGTERM and Ctrl-C let it finish (what does not end within 20 s is given back); the second one
    ends it now.

    Every setting is also an environment variable, HYPERNODE_<NAME>, and a key of --config;
    `hypernode config show --role agent` tells what holds.

    Example: hypernode agent --url http://127.0.0.1:3001 --token-file token --devices 0,1
    """
    if context.invoked_subcommand is not None:
        return
    given = dict(locals())  # an option, a setting

    import os
    import signal

    from agent.config import read_config
    from coordinator.log import configure_log, get_log
    from hypernode.cli.exit import Exit
    from hypernode.cli.remarks import agent_remarks

    settings, reading = read_config(flags_of(given), os.environ, config)
    reading.raise_problems()
    assert settings is not None
    need_agent_parts()
    configure_log(json_lines=settings.log_json)
    for remark in agent_remarks(settings, reading):
        get_log(__name__).warning("configuration", remark=remark)
    if _run(settings) == signal.SIGINT:
        raise typer.Exit(Exit.INTERRUPTED)


def flags_of(given: Mapping[str, object]) -> dict[str, object]:
    """The options of this command as settings, by their names."""
    return {name: value for name, value in given.items() if name not in {"config", "context"}}


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


def _run(settings: AgentConfig) -> int:
    """Run the agent, with its dashboard where there is a terminal for one."""
    import os
    import sys

    import trio

    from agent.main import run_agent
    from coordinator.notify import Notifier

    notifier = Notifier.of(os.environ)
    # Its bars and rules need more than ASCII; who chooses a form of the log wants the log.
    can_draw = os.environ.get("TERM", "dumb") != "dumb" and sys.stdout.encoding.startswith("utf")
    wants = settings.dashboard and settings.log_json is None
    if not (wants and can_draw and sys.stdout.isatty()):
        return trio.run(run_agent, settings, notifier)
    from hypernode.cli.agent_terminal import Dashboard

    screen = Dashboard(sys.stdout)
    with screen.captured():
        return trio.run(run_agent, settings, notifier, screen.run)


@app.command("status")
def status(*, url: Url = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """How the agent on this machine is doing: link, devices, jobs, earnings.

    Example: hypernode agent status --json
    """
    _show(_asked("status", url, state_dir), as_json=as_json)


@app.command("drain")
def drain(
    *,
    url: Url = None,
    state_dir: StateDir = None,
    now: Annotated[bool, typer.Option("--now", help="End at once: what runs is lost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the agent on this machine finish what runs, however long that takes, and end.

    Example: hypernode agent drain
    """
    _show(_asked("stop" if now else "drain", url, state_dir), as_json=as_json)


@app.command("pause")
def pause(*, url: Url = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Take no further jobs until `resume`: what runs ends, what waits is given back.

    Example: hypernode agent pause
    """
    _show(_asked("pause", url, state_dir), as_json=as_json)


@app.command("resume")
def resume(*, url: Url = None, state_dir: StateDir = None, as_json: AsJson = False) -> None:
    """Take jobs again after a pause.

    Example: hypernode agent resume
    """
    _show(_asked("resume", url, state_dir), as_json=as_json)


def _asked(do: str, url: str | None, state_dir: Path | None) -> Status:
    """What the agent answers that runs with this state directory.

    Raises:
        NotRunning: there is none; the text names those that do run.
    """
    import os

    import trio

    from agent.config import load
    from agent.control import NotRunning, ask, running_below

    # Where it is, and nothing else: a token that is gone since concerns nobody here.
    environ = {name: value for name, value in os.environ.items() if name in _WHERE}
    settings = load({"url": url, "state_dir": state_dir}, environ)
    try:
        return trio.run(ask, settings.state_dir, do)
    except NotRunning as error:
        here = settings.state_dir
        # An agent that was killed leaves its socket: nobody answers there.
        others = [str(each) for each in running_below(here.parent) if each != here]
        more = f"; others run here: {', '.join(others)} (--state-dir)" if others else ""
        msg = f"no agent runs with {settings.state_dir}{more}"
        raise NotRunning(msg) from error


def _show(status: Status, *, as_json: bool) -> None:
    """The answer: facts for people, one document for programs."""
    from hypernode.cli.agent_facts import facts_of
    from hypernode.cli.output import print_facts, print_json

    if as_json:
        print_json(status)
    else:
        print_facts(facts_of(status))
