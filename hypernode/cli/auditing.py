"""`hypernode audit`: whether a wallet's books, receipts, voucher, leaves and chain agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Rpc, SignerFile
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, Url

if TYPE_CHECKING:
    from onchain.audit import Difference, WalletFacts

Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--receipts", help="An agent's receipts.jsonl; repeat for more.", show_default=False
    ),
]
LeafFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--leaves", help="A leaf file that you kept; repeat for more.", show_default=False
    ),
]


def audit(  # noqa: PLR0913 (one parameter an option)
    *,
    receipts: Files = None,
    leaves: LeafFiles = None,
    voucher: Annotated[
        Path | None, typer.Option(help="The voucher that you kept.", show_default=False)
    ] = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare what everybody says of this wallet's money; status 1 if something differs.

    The coordinator's books, the receipts and leaf files that you kept, your voucher, and the chain.

    Example: hypernode audit --receipts ~/.local/share/hypernode/agent/receipts.jsonl --ledger 7tB3…
    """
    from msgspec.structs import replace

    from hypernode.cli.chain_deed import market_in, opened
    from hypernode.cli.chain_settings import signer_in
    from hypernode.cli.claims import chain_settings
    from hypernode.cli.exit import Usage
    from hypernode.cli.run import run_command
    from onchain.vouchers import parse_voucher

    settings = chain_settings(rpc, ledger, keypair, config)
    wallet = signer_in(settings)
    kept = None if voucher is None else parse_voucher(voucher.read_bytes())

    async def ask() -> tuple[WalletFacts, tuple[Difference, ...]]:
        from hypernode.auditing import audit_wallet
        from hypernode.settlement_web import SettlementWeb

        try:
            web = SettlementWeb(url, wallet, ca=ca)
        except ValueError as error:
            raise Usage(str(error)) from error
        async with web:
            known = settings
            if known.ledger is None:
                known = replace(settings, ledger=(await web.settlement()).ledger)
            async with opened(known) as chain:
                market = await market_in(chain, known)
                return await audit_wallet(
                    web,
                    chain,
                    market,
                    wallet.address,
                    receipts=receipts or (),
                    leaves=leaves or (),
                    voucher=kept,
                )

    facts, differences = run_command(ask)
    _show(facts, differences, as_json=as_json)
    if differences:
        raise typer.Exit(1)


def _show(facts: WalletFacts, differences: tuple[Difference, ...], *, as_json: bool) -> None:
    from hypernode.cli.output import print_facts, print_json
    from onchain.amounts import format_hyper

    assert facts.books is not None
    assert facts.record is not None
    books, record = facts.books, facts.record
    told = {
        "earned": format_hyper(books.earned),
        "withheld": format_hyper(books.withheld),
        "taken_back": format_hyper(books.taken_back),
        "withdrawn": format_hyper(books.withdrawn),
        "lifetime": format_hyper(books.lifetime),
        "receipts": str(len(facts.receipts)),
        "leaf": format_hyper(facts.leaves[-1][1]) if facts.leaves else "none",
        "voucher": format_hyper(facts.voucher.cumulative) if facts.voucher else "none",
        "paid_on_chain": format_hyper(record.claimed),
    }
    if as_json:
        print_json({**told, "differences": [str(each) for each in differences]})
        return
    if facts.voucher is None:
        told["voucher"] = "not looked at: no --voucher FILE was given"
    if not facts.receipts:
        told["receipts"] = "none of this wallet's in a --receipts FILE"
    if not facts.leaves:
        told["leaf"] = "not looked at: no --leaves FILE was given"
    shown = {name.replace("_", " ").capitalize(): text for name, text in told.items()}
    shown |= {f"Difference {at}": str(each) for at, each in enumerate(differences, 1)}
    print_facts(shown | {"Verdict": "they do not agree" if differences else "all agree"})
