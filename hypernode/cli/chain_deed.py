"""One deed on the chain from the command line: rehearsed, unsigned, or carried out.

Rules:
  1. `--dry-run` and `--unsigned` need no key; nothing is sent.
  2. What was refused is told in the program's own words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypernode.cli.chain_settings import PATIENCE_S, ChainSettings, need, open_chain

if TYPE_CHECKING:
    from onchain.chain import Chain
    from onchain.places import Market
    from onchain.reads import LedgerNow
    from onchain.solana_chain import SolanaChain
    from onchain.transactions import Recipe


@dataclass(frozen=True, slots=True)
class Manner:
    """How a deed is done."""

    dry_run: bool = False
    unsigned: bool = False
    as_json: bool = False

    @property
    def needs_key(self) -> bool:
        return not (self.dry_run or self.unsigned)


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done, and how to see that it is."""

    name: str
    recipe: Recipe
    program: bytes
    is_done: Callable[[], Awaitable[bool]]


@asynccontextmanager
async def opened(
    settings: ChainSettings, *, patience_s: float = PATIENCE_S
) -> AsyncIterator[SolanaChain]:
    """The nodes for the time of a command."""
    chain = open_chain(settings, patience_s=patience_s)
    try:
        yield chain
    finally:
        await chain.aclose()


async def market_in(chain: Chain, settings: ChainSettings) -> Market:
    """The market of the ledger that was named.

    Raises:
        Usage: none was.
        NotOfTheProgram: no ledger lies there, or another program's.
    """
    from onchain.account_words import described
    from onchain.address import decode_address, encode_address
    from onchain.views import NotOfTheProgram, decode_market

    address = decode_address(need(settings, "ledger", "this is about a ledger"))
    (account,) = (await chain.accounts([address])).values
    if account is None:
        msg = f"nothing lies at {encode_address(address)}: is this ledger of the nodes' cluster?"
        raise NotOfTheProgram(msg)
    if settings.program is not None:
        return decode_market(account, decode_address(settings.program))
    try:
        return decode_market(account, account.owner)
    except NotOfTheProgram as error:
        msg = f"at {encode_address(address)} lies {described(account)}, not a ledger"
        raise NotOfTheProgram(msg) from error


async def ledger_in(chain: Chain, settings: ChainSettings) -> tuple[Market, LedgerNow]:
    """The market, and its ledger and vault now; raises as `market_in` does."""
    from onchain.reads import read_ledger

    market = await market_in(chain, settings)
    return market, await read_ledger(chain, market)


async def do(chain: Chain, deed: Deed, settings: ChainSettings, manner: Manner) -> dict[str, Any]:
    """Do it in that manner; what came of it, for programs.

    Raises:
        ProgramRefused, TransactionRefused: it would fail.
        ChainError: the chain could not be asked.
    """
    from base64 import b64encode

    from onchain.deeds import carry_out, hand_out, rehearse, signature_text
    from onchain.fees import Fees

    fees = Fees(lamports_max=settings.fee_max)
    if manner.unsigned:
        raw = await hand_out(chain, deed.recipe, deed.program, fees)
        return {"transaction": b64encode(raw).decode()}
    if manner.dry_run:
        budget = await rehearse(chain, deed.recipe, deed.program, fees)
        base = deed.recipe.signatures * 5_000
        return {"dry_run": True, "units": budget.units, "lamports": base + budget.lamports}
    sent = await carry_out(
        chain, deed.recipe, deed.program, fees, name=deed.name, is_done=deed.is_done
    )
    signature = None if sent.signature is None else signature_text(sent.signature)
    return {"signature": signature, "slot": sent.slot}


def show(told: Mapping[str, Any], manner: Manner, facts: Mapping[str, str]) -> None:
    """What came of a deed, for people or programs."""
    import typer

    from hypernode.cli.output import print_facts, print_json

    if manner.as_json:
        print_json(dict(told))
    elif manner.unsigned:
        typer.echo(told["transaction"])
    else:
        shown = dict(facts)
        if manner.dry_run:
            shown |= {
                "Would cost": f"{told['lamports']} lamports",
                "Compute units": str(told["units"]),
            }
        elif told["signature"] is not None:
            shown["Signature"] = told["signature"]
        print_facts(shown)
