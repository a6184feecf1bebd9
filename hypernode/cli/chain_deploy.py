"""`hypernode chain deploy`: the settlement program goes to a cluster, or is replaced there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hypernode.cli.chain_options import ConfigFile, DryRun, Program, Rpc, SignerFile, Yes
from hypernode.cli.chain_release import Run, Version, Wish, cost_lines
from hypernode.cli.options import AsJson


def deploy(  # noqa: PLR0913 (one parameter an option)
    *,
    rpc: Rpc = None,
    keypair: SignerFile = None,
    program_keypair: Annotated[
        Path | None,
        typer.Option(help="Key file of the program's address: a first deployment needs it."),
    ] = None,
    program: Program = None,
    upgrade_authority: Annotated[
        str | None,
        typer.Option(help="Address that may replace it afterwards.", show_default=False),
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Nobody may replace it, ever.")] = False,
    buffer: Annotated[
        str | None,
        typer.Option(help="Another buffer than the usual one, full or not.", show_default=False),
    ] = None,
    close_buffer: Annotated[
        bool, typer.Option("--close-buffer", help="Only take a left buffer's lamports back.")
    ] = False,
    version: Annotated[
        Version | None,
        typer.Option(help="Of SBPF (default: v3; on our own chain, which has no v3: v0)."),
    ] = None,
    program_file: Annotated[
        Path | None, typer.Option(help="Another program than ours.", show_default=False)
    ] = None,
    i_accept_a_single_key: Annotated[
        bool,
        typer.Option("--i-accept-a-single-key", help="On mainnet: one key may replace it."),
    ] = False,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Deploy the settlement program, or upgrade it, and compare what lies there then.

    What it costs is said before. A run that was interrupted goes on from its buffer. Where another
    may replace the program, the full buffer is handed to it, with the transaction for it to sign.

    Example: hypernode chain deploy --rpc devnet --program-keypair program.json --dry-run
    """
    import os

    from coordinator.limits import CHAIN_PATIENCE_S
    from hypernode.cli.chain_deed import opened
    from hypernode.cli.chain_settings import address_in, need_chain_parts, read_chain, signer_in
    from hypernode.cli.exit import Usage
    from hypernode.cli.run import run_command
    from hypernode.wallet_file import read_wallet

    need_chain_parts()
    if final and upgrade_authority is not None:
        msg = "--final and --upgrade-authority: nobody, or whom?"
        raise Usage(msg)
    given = {"rpc": rpc, "keypair": keypair, "program": program}
    settings, _reading = read_chain(given, os.environ, config)
    wish = Wish(
        version,
        program_file,
        None if program_keypair is None else read_wallet(program_keypair),
        None if buffer is None else address_in(buffer, "--buffer"),
        None if upgrade_authority is None else address_in(upgrade_authority, "--upgrade-authority"),
        final,
        i_accept_a_single_key,
        close_buffer,
        dry_run,
        yes,
        as_json,
    )
    payer = signer_in(settings)

    async def ask() -> dict[str, Any]:
        # Dozens of transactions make a public node ask for patience.
        async with opened(settings, patience_s=CHAIN_PATIENCE_S) as chain:
            return await Run(chain, settings, payer, wish).through()

    _show(run_command(ask), as_json=as_json)


_NAMES: Final = {
    "cluster": "Cluster", "program": "Program", "hash": "Hash", "buffer": "Buffer",
    "authority": "Authority", "slot": "Slot", "signature": "Signature",
}  # fmt: skip


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    from hypernode.cli.output import note, print_facts, print_json

    if as_json:
        print_json(told)
        return
    if "closed" in told:
        note("closed" if told["closed"] else "there is no buffer: nothing to close")
        return
    if told.get("dry_run"):
        typer.echo("\n".join(cost_lines(told)))
        return
    if not told["deployed"]:
        note("the program is another's: the buffer is handed to it, which signs this")
        typer.echo(told["transaction"])
        return
    if told["authority"] is None:
        told = told | {"authority": "nobody, ever"}
    facts = {name: str(told[key]) for key, name in _NAMES.items() if told.get(key) is not None}
    facts.pop("Buffer")
    print_facts(facts | {"Read back": "the same, byte by byte"})
