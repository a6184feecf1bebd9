"""`hypernode chain status`: one market on the chain, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Program, Rpc
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.ledger_health import Finding
    from onchain.places import Market
    from onchain.reads import LedgerNow
    from onchain.views import DepositRecord


def status(
    *,
    rpc: Rpc = None,
    ledger: Ledger = None,
    program: Program = None,
    records: Annotated[
        bool,
        typer.Option("--records", help="Read every deposit record too, and compare their sums."),
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a ledger: roles, roots, money, breakers, pauses, proposals; and whether it is sound.

    No key is needed. Status 1 if anything that must hold does not.

    Example: hypernode chain status --rpc mainnet --ledger 7tB3… --json
    """
    import os

    from hypernode.cli.chain_deed import opened
    from hypernode.cli.chain_settings import need_chain_parts, read_chain
    from hypernode.cli.chain_status_screen import document, lines
    from hypernode.cli.exit import Exit
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    need_chain_parts()
    given = {"rpc": rpc, "ledger": ledger, "program": program}
    settings, _reading = read_chain(given, os.environ, config)

    async def ask() -> tuple[Market, LedgerNow, list[Finding]]:
        async with opened(settings) as chain:
            return await look(chain, settings, records=records)

    market, now, found = run_command(ask)
    if as_json:
        print_json(document(market, now, found))
    else:
        typer.echo("\n".join(lines(market, now, found)))
    if not all(each.holds for each in found):
        raise typer.Exit(Exit.FAILED)


async def look(
    chain: Chain, settings: ChainSettings, *, records: bool
) -> tuple[Market, LedgerNow, list[Finding]]:
    """A market, its ledger, and what must hold.

    Raises:
        NotOfTheProgram, OtherMarket: no such ledger, or one of another cluster.
        ChainError: the chain could not be asked.
    """
    from hypernode.cli.chain_deed import ledger_in
    from onchain.ledger_health import Finding as Found, findings

    market, now = await ledger_in(chain, settings)
    deposits = await _deposits(chain, market) if records else None
    genesis = await chain.genesis_hash()
    is_here = Found(
        "the ledger is this cluster's",
        market.cluster_tag == genesis,
        f"{market.cluster_tag.hex()[:16]} = {genesis.hex()[:16]}",
    )
    return market, now, [is_here, *findings(now, deposits)]


async def _deposits(chain: Chain, market: Market) -> list[DepositRecord]:
    from onchain.chain import BytesAre, SizeIs
    from onchain.program.layout import DEPOSIT_RECORD
    from onchain.views import decode_deposit_record

    owner_at = 40
    filters = (
        SizeIs(DEPOSIT_RECORD.size),
        BytesAre(0, DEPOSIT_RECORD.discriminator + market.ledger),
    )
    found = (await chain.program_accounts(market.program, filters)).values
    return [
        decode_deposit_record(each, market, each.data[owner_at : owner_at + 32]) for each in found
    ]
