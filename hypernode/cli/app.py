"""The tree of commands, and the one place where their errors become a line and an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main

from hypernode.cli import agent, coordinator, demo, jobs, money, version_text, wallet
from hypernode.cli.exit import Exit, Interrupted, Usage, status_of

app = typer.Typer(
    name="hypernode",
    help="A market for GPU computing: jobs of milliseconds, results verified, earnings provable.",
    epilog="Start with `hypernode demo`: everything on this machine, in under a minute.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,  # plain help: it is also read by scripts, and costs no import of rich
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version_text())
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", "-V", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """A market for GPU computing: jobs of milliseconds, results verified, earnings provable."""


app.command("demo")(demo.demo)
app.command("submit")(jobs.submit)
app.command("quote")(jobs.quote)
app.add_typer(jobs.app, name="jobs")
app.command("earnings")(money.earnings)
app.command("faucet")(money.faucet)
app.add_typer(wallet.app, name="wallet")
app.command("token")(wallet.token)
app.command("agent")(agent.agent)
app.command("coordinator")(coordinator.coordinator)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="hypernode", standalone_mode=False)
    except Interrupted as end:
        return end.status
    except (KeyboardInterrupt, typer.Abort):
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.FAILED  # the reader of a pipe went away: it has seen enough
    except Exception as error:  # noqa: BLE001 (what is not known is raised again)
        return _report(error)
    return status if isinstance(status, int) else Exit.OK


def _report(error: Exception) -> int:
    """One clear line on standard error; our own mistakes keep their traceback.

    Raises:
        Exception: the error itself, if it is none that people may cause.
    """
    shown = getattr(error, "show", None)
    if callable(shown):  # an error of usage, from typer's parser
        shown()
        return int(getattr(error, "exit_code", Exit.USAGE))
    described = status_of(error)
    if described is None:
        raise error
    status, sentence = described
    typer.echo(f"error: {sentence}", err=True)
    if isinstance(error, Usage):
        typer.echo("see: hypernode --help", err=True)
    return status
