"""The tree of commands, and the one place where their errors become a line and an exit status.

Rules:
  1. An error that people may cause is one line on standard error, and what to do about it; with
     `--json` it is one document on standard output instead.
  2. An error of ours keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
import typer.main

from hypernode.cli import (
    agent,
    auditing,
    backup,
    chain,
    claims,
    config,
    coordinator,
    demo,
    doctor,
    guardian,
    jobs,
    kinds,
    money,
    nodes,
    revoking,
    settle,
    status,
    submit,
    taking,
    version_text,
    wallet,
)
from hypernode.cli.exit import Ending, Exit, Interrupted, leaf_of, status_of
from hypernode.cli.output import harmless, print_json

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
app.command("doctor")(doctor.doctor)
app.command("kinds")(kinds.kinds)
app.command("submit")(submit.submit)
app.command("quote")(submit.quote)
app.add_typer(jobs.app, name="jobs")
nodes.app.command("revoke")(revoking.revoke_nodes)
nodes.app.command("new-key")(revoking.new_key)
app.add_typer(nodes.app, name="nodes")
app.command("status")(status.status)
app.command("earnings")(money.earnings)
app.command("withdraw")(money.withdraw)
app.command("audit")(auditing.audit)
app.command("claim")(claims.claim)
app.command("voucher")(claims.voucher)
app.command("deposit")(claims.deposit)
app.command("exit")(claims.leave)
app.add_typer(settle.app, name="settle")
app.command("guardian")(guardian.guardian)
app.command("faucet")(money.faucet)
app.add_typer(wallet.app, name="wallet")
app.add_typer(wallet.token_app, name="token")
app.add_typer(revoking.sessions, name="sessions")
app.add_typer(agent.app, name="agent")
owner = typer.Typer(callback=coordinator.coordinator, invoke_without_command=True)
backup.add_commands(owner)
owner.command("take-over")(taking.take_over)
app.add_typer(owner, name="coordinator")
app.add_typer(chain.app, name="chain")
app.add_typer(config.app, name="config")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=list(arguments), prog_name="hypernode", standalone_mode=False)
    except BaseException as error:  # noqa: BLE001 (what is not known is raised again)
        return _end(leaf_of(error), arguments)
    return status if isinstance(status, int) else Exit.OK


def _end(error: BaseException, arguments: Sequence[str]) -> int:
    """Say how a command ended that did not do what it was asked to; its exit status.

    Raises:
        BaseException: the error itself, if it is none that people may cause.
    """
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        error = Interrupted(Exit.INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        return Exit.FAILED  # the reader of a pipe went away: it has seen enough
    is_json = "--json" in arguments
    if callable(show := getattr(error, "show", None)):  # an error of usage, from typer's parser
        show() if not is_json else _print(Ending(Exit.USAGE, str(error), "usage"))
        return int(getattr(error, "exit_code", Exit.USAGE))
    ending = status_of(error)
    if ending is None:
        raise error
    if is_json:
        _print(ending)
    elif not isinstance(error, Interrupted):
        _say(ending, arguments)
    return ending.status


def _print(ending: Ending) -> None:
    """For programs."""
    document = {"error": ending.sentence, "code": ending.code}
    more = {"id": ending.job, "log": ending.log, "hint": ending.hint}
    print_json({**document, **{name: value for name, value in more.items() if value}})


def _say(ending: Ending, arguments: Sequence[str]) -> None:
    """For people."""
    is_ours = ending.code in {"usage", "store", "system", "key_file", "child_failed", "not_running"}
    code = "" if is_ours else f" ({ending.code})"
    for line in ending.sentence.split("\n") if ending.code == "usage" else [ending.sentence]:
        typer.echo(f"error: {harmless(line)}{code}", err=True)  # it may quote a stranger
    if ending.log:
        typer.echo(harmless(ending.log), err=True)
    if ending.hint:
        typer.echo(ending.hint, err=True)
    if ending.code == "usage":
        typer.echo(f"see: {_help_for(arguments)}", err=True)


def _help_for(arguments: Sequence[str]) -> str:
    """The command line that explains the command that was meant."""
    command, words = typer.main.get_command(app), ["hypernode"]
    for word in arguments:
        found = getattr(command, "commands", {}).get(word)
        if found is None:
            break
        command = found
        words.append(word)
    return " ".join([*words, "--help"])
