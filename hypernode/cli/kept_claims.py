"""`hypernode claim --kept`: by what an agent kept in its state directory, and the chain alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.paper_rules import Kept
    from hypernode.cli.chain_settings import ChainSettings
    from hypernode.kept_claims import Claimed


def state_dir_of(url: str, state_dir: Path | None) -> Path:
    """Where the agent of this machine keeps its state for a coordinator.

    Raises:
        Usage: this is no address.
    """
    import os

    from agent.config import load

    # The token file may be gone by now, and nothing of it is needed.
    environ = {name: text for name, text in os.environ.items() if name == "HYPERNODE_STATE_DIR"}
    return load({"url": url, "state_dir": state_dir and str(state_dir)}, environ).state_dir


def papers_in(folder: Path, wallet: str) -> Kept:
    """The papers of a wallet in a state directory.

    Raises:
        Usage: there are none, or they cannot be read.
    """
    from agent.papers import PapersDamaged, read_papers
    from hypernode.cli.exit import Usage

    try:
        kept = read_papers(folder, wallet)
    except (PapersDamaged, OSError) as error:
        raise Usage(str(error)) from error
    if kept is None:
        msg = (
            f"{folder} keeps no papers of wallet {wallet}: pass --state-dir, or --url of the "
            "coordinator that the agent works for"
        )
        raise Usage(msg)
    return kept


def claim_kept(settings: ChainSettings, url: str, state_dir: Path | None, *, as_json: bool) -> None:
    """Claim by all that is kept; nobody but the chain is asked."""
    from msgspec.structs import replace

    from agent.paper_rules import proofs_in, vouchers_in
    from hypernode.cli.chain_deed import market_in, opened
    from hypernode.cli.chain_settings import signer_in
    from hypernode.cli.run import run_command
    from onchain.address import encode_address
    from onchain.fees import Fees

    wallet = signer_in(settings)
    address = encode_address(wallet.address)
    kept = papers_in(state_dir_of(url, state_dir), address)

    async def run() -> Claimed:
        from hypernode import kept_claims

        known = settings if settings.ledger else replace(settings, ledger=kept.ledger)
        async with opened(known) as chain:
            market = await market_in(chain, known)
            fees = Fees(lamports_max=known.fee_max)
            proofs, vouchers = proofs_in(kept), vouchers_in(kept)
            return await kept_claims.claim_kept(chain, market, wallet, proofs, vouchers, fees)

    _show(run_command(run), address, as_json=as_json)


def _show(claimed: Claimed, wallet: str, *, as_json: bool) -> None:
    from hypernode.cli.output import print_facts, print_json
    from onchain.amounts import format_hyper

    before, after = format_hyper(claimed.before), format_hyper(claimed.after)
    amount = format_hyper(claimed.after - claimed.before)
    if as_json:
        print_json(
            {
                "wallet": wallet,
                "amount": amount,
                "before": before,
                "after": after,
                "signatures": list(claimed.signatures),
                "passed_over": list(claimed.passed_over),
            }
        )
        return
    facts = {
        "Wallet": wallet,
        "Claimed": f"{amount} HYPER",
        "Balance": f"{before} → {after} HYPER",
    }
    facts |= {f"Signature {at}": each for at, each in enumerate(claimed.signatures, 1)}
    facts |= {f"Passed over {at}": each for at, each in enumerate(claimed.passed_over, 1)}
    print_facts(facts)
