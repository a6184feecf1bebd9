"""`hypernode doctor`: what is wrong on this machine, in plain words, with what to do."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hypernode.cli.options import AsJson, KeypairFile

if TYPE_CHECKING:
    from hypernode.doctor.examination import Examination
    from hypernode.doctor.finding import Finding

_MARKS: Final = {"ok": "ok", "warning": "warn", "failure": "FAIL", "skipped": "-"}
_COLOURS: Final = {"ok": "green", "warning": "yellow", "failure": "red", "skipped": None}
_NAME: Final = 20


class Role(StrEnum):
    """Who asks."""

    ALL = "all"
    AGENT = "agent"
    SUBMITTER = "submitter"
    COORDINATOR = "coordinator"


def doctor(  # noqa: PLR0913 (one parameter an option)
    *,
    role: Annotated[Role, typer.Option(help="Whose checks.", show_default=True)] = Role.ALL,
    url: Annotated[
        str | None,
        typer.Option("--url", help="The coordinator's address. [env var: HYPERNODE_URL]"),
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="Certificates of authorities to believe, PEM.")
    ] = None,
    keypair: KeypairFile = None,
    token_file: Annotated[Path | None, typer.Option(help="An agent's token.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="An agent's state directory.")] = None,
    db: Annotated[Path | None, typer.Option(help="A coordinator's database.")] = None,
    port: Annotated[int | None, typer.Option(help="A coordinator's port.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings in TOML of the role.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at this machine and say, line by line, what works, what will hurt and what to do.

    It ends with 0, also after warnings, or with 1 if anything fails. It changes nothing, and shows
    no secret.

    Example: hypernode doctor --role agent --url https://hyper.example --token-file token
    """
    import os

    import trio

    from hypernode.cli.exit import Exit
    from hypernode.doctor.examination import ROLES, Examination

    flags = {
        "url": url,
        "ca": None if ca is None else str(ca),
        "keypair": keypair,
        "token_file": None if token_file is None else str(token_file),
        "state_dir": None if state_dir is None else str(state_dir),
        "db": None if db is None else str(db),
        "port": port,
    }
    roles = ROLES if role is Role.ALL else (str(role),)
    found = trio.run(_examine, Examination(roles, flags, os.environ, config), as_json)
    if any(finding.state == "failure" for finding in found):
        raise typer.Exit(Exit.FAILED)


async def _examine(examination: Examination, as_json: bool) -> list[Finding]:
    """Run the checks; each is shown as soon as it is there."""
    from hypernode.cli.output import print_json

    found: list[Finding] = []
    async for finding in examination.findings():
        found.append(finding)
        if not as_json:
            _show(finding)
    counts = {state: sum(one.state == state for one in found) for state in _MARKS}
    if as_json:
        print_json({"findings": found, "counts": counts})
    else:
        typer.echo(
            f"\n{counts['ok']} ok, {counts['warning']} warnings, {counts['failure']} failures"
        )
    return found


def _show(finding: Finding) -> None:
    from hypernode.cli.output import harmless

    mark = typer.style(f"{_MARKS[finding.state]:<5}", fg=_COLOURS[finding.state])
    typer.echo(f"{mark} {finding.check:<{_NAME}} {harmless(finding.said)}")
    if finding.fix:
        typer.echo(f"{'':5} {'':{_NAME}} fix: {harmless(finding.fix)}")
