"""`hypernode claim`, `deposit`, `exit`: a wallet's money on the chain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Rpc, SignerFile
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, Url

if TYPE_CHECKING:
    from coordinator.protocol.signing import Keypair
    from hypernode.claims import Paid
    from hypernode.cli.chain_settings import ChainSettings
    from hypernode.settlement_web import SettlementWeb
    from onchain.chain import Chain
    from onchain.fees import Fees
    from onchain.places import Market

T = TypeVar("T")
Deed = Callable[["Chain", "Market", "Keypair", "Fees"], Awaitable[T]]
Leaves = Annotated[
    Path | None,
    typer.Option(
        "--leaves",
        help="The active root's leaf file that you kept: no coordinator is asked.",
        show_default=False,
    ),
]


def claim(  # noqa: PLR0913 (one parameter an option)
    *,
    voucher: Annotated[
        Path | None,
        typer.Option(
            help="A voucher's file of 260 bytes: no coordinator is asked.", show_default=False
        ),
    ] = None,
    leaves: Leaves = None,
    kept: Annotated[
        bool,
        typer.Option(
            "--kept",
            help="By the proofs and vouchers that an agent on this machine kept: no coordinator is "
            "asked.",
        ),
    ] = False,
    sponsored: Annotated[
        bool,
        typer.Option(
            "--sponsored",
            help="The coordinator's owner pays fee and rents, if it does: a wallet without SOL.",
        ),
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="That agent's state directory; with --kept (default: the one that it has for "
            "--url).",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Also if it pays nothing and costs its fee.")
    ] = False,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Claim what this wallet earned: tokens move on the chain, to its own token account.

    The wallet pays the fee, or with --sponsored the coordinator's owner. Pin the ledger's address;
    without it the coordinator's is taken, or the one that the agent pinned.

    Example: hypernode claim --ledger 7tB3…
    """
    from hypernode.cli.exit import Usage
    from onchain.leaves import Kind

    if (voucher is not None) + (leaves is not None) + kept > 1:
        msg = "--voucher, --leaves or --kept, not several"
        raise Usage(msg)
    if sponsored and (voucher is not None or leaves is not None or kept):
        msg = "--sponsored asks the coordinator, which --voucher, --leaves and --kept do without"
        raise Usage(msg)
    if state_dir is not None and not kept:
        msg = "--state-dir goes with --kept"
        raise Usage(msg)
    if kept:
        from hypernode.cli.kept_claims import claim_kept

        claim_kept(chain_settings(rpc, ledger, keypair, config), url, state_dir, as_json=as_json)
        return

    async def deed(chain: Chain, market: Market, wallet: Keypair, fees: Fees) -> Paid:
        import trio

        from hypernode import claims
        from onchain.address import encode_address

        if voucher is not None:
            with claims.naming(voucher):
                return await claims.redeem(chain, market, wallet, voucher.read_bytes(), fees)
        if leaves is not None:
            proof = await trio.to_thread.run_sync(
                claims.proof_in, leaves, Kind.EARNINGS, wallet.address
            )
        else:
            async with open_settlement(url, ca) as web:
                info = await web.proof(encode_address(wallet.address))
                proof = claims.proof_of(info, market.ledger, wallet.address)
                if sponsored:
                    from hypernode.sponsored_claims import claim_sponsored

                    return await claim_sponsored(chain, market, wallet, proof, web)
        return await claims.claim(chain, market, wallet, proof, fees, may_pay_nothing=yes)

    needs_url = voucher is None and leaves is None
    settings = chain_settings(rpc, ledger, keypair, config)
    paid, wallet = _do(settings, deed, url if needs_url else None, ca)
    _show_paid(paid, wallet, "Claimed", as_json=as_json)


def deposit(  # noqa: PLR0913 (one parameter an option)
    amount: Annotated[str, typer.Argument(help='HYPER, such as "10" or "0.5".')],
    *,
    owner: Annotated[
        str, typer.Option("--for", help="Whose credit it is: a wallet.", show_default=False)
    ] = "",
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Deposit tokens on the chain: credit for jobs once the coordinator has seen it.

    Example: hypernode deposit 25 --ledger 7tB3…
    """
    from hypernode.cli.chain_settings import address_in
    from hypernode.cli.exit import Usage
    from onchain.amounts import parse_hyper
    from onchain.errors import BadAmount

    try:
        units = parse_hyper(amount)
    except BadAmount as error:
        msg = f"AMOUNT: {error}"
        raise Usage(msg) from error
    whose = address_in(owner, "--for") if owner else None

    async def deed(chain: Chain, market: Market, wallet: Keypair, fees: Fees) -> Paid:
        from hypernode import claims

        return await claims.deposit(chain, market, wallet, units, fees, owner=whose)

    paid, wallet = _do(chain_settings(rpc, ledger, keypair, config), deed, url, ca)
    _show_paid(paid, wallet, "Deposited", as_json=as_json)


def voucher(  # noqa: PLR0913 (one parameter an option)
    file: Annotated[Path, typer.Argument(help="Where it is kept; an older one is replaced.")],
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Fetch this wallet's voucher and keep it: earnings that no root holds yet, for a bad day.

    It is checked against the chain first. Redeem it with `hypernode claim --voucher FILE`.

    Example: hypernode voucher host.voucher --ledger 7tB3…
    """
    from onchain.address import encode_address
    from onchain.amounts import format_hyper

    async def deed(chain: Chain, market: Market, wallet: Keypair, fees: Fees) -> int:
        from hypernode import claims

        del fees  # nothing is sent
        async with open_settlement(url, ca) as web:
            raw = await web.voucher(encode_address(wallet.address))
        return await claims.keep_voucher(chain, market, wallet.address, raw, file)

    kept, wallet = _do(chain_settings(rpc, ledger, keypair, config), deed, url, ca)
    told = {"wallet": wallet, "cumulative": format_hyper(kept), "file": str(file)}
    facts = {
        "Wallet": wallet,
        "Vouched for": f"{told['cumulative']} HYPER in all",
        "Kept in": str(file),
    }
    _show(told, facts, as_json=as_json)


def leave(  # noqa: PLR0913 (one parameter an option)
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stay after all.")] = False,
    leaves: Leaves = None,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask to take unspent credit out of the ledger; with --leaves, take it once the door is open.

    Credit is frozen from then on. `hypernode withdraw` is faster while the coordinator lives.

    Example: hypernode exit --leaves epoch-000012.leaves --ledger 7tB3…
    """
    settings = chain_settings(rpc, ledger, keypair, config)
    if leaves is not None and not cancel:
        kept = leaves

        async def take(chain: Chain, market: Market, wallet: Keypair, fees: Fees) -> Paid:
            from hypernode import leaving

            proof = await leaving.exit_proof(kept, wallet.address)
            return await leaving.leave(chain, market, wallet, proof, fees)

        paid, wallet = _do(settings, take, None, ca)
        _show_paid(paid, wallet, "Taken out", as_json=as_json)
        return

    async def ask(chain: Chain, market: Market, wallet: Keypair, fees: Fees) -> str | None:
        from hypernode import leaving

        return await leaving.ask_to_leave(chain, market, wallet, fees, cancel=cancel)

    signature, wallet = _do(settings, ask, url, ca)
    asked = "the request was taken back" if cancel else "asked to leave: the credit is frozen"
    _show({"wallet": wallet, "asked": not cancel, "signature": signature}, {
        "Wallet": wallet, "Done": asked, "Signature": signature or "it was done before",
    }, as_json=as_json)  # fmt: skip


# ---- doing it ---------------------------------------------------------------------------------


def chain_settings(
    rpc: list[str] | None, ledger: str | None, keypair: str | None, config: Path | None
) -> ChainSettings:
    """What these commands are told, as those below `hypernode chain`."""
    import os

    from hypernode.cli.chain_settings import need_chain_parts, read_chain

    need_chain_parts()
    return read_chain({"rpc": rpc, "ledger": ledger, "keypair": keypair}, os.environ, config)[0]


def open_settlement(url: str, ca: Path | None) -> SettlementWeb:
    """HTTP calls about settlement, without a wallet."""
    from hypernode.cli.exit import Usage
    from hypernode.settlement_web import SettlementWeb

    try:
        return SettlementWeb(url, None, ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error


def _do(settings: ChainSettings, deed: Deed[T], url: str | None, ca: Path | None) -> tuple[T, str]:
    """Do it with the wallet; what came of it, and the wallet's address."""
    from msgspec.structs import replace

    from hypernode.cli.chain_deed import market_in, opened
    from hypernode.cli.chain_settings import signer_in
    from hypernode.cli.run import run_command
    from onchain.address import encode_address
    from onchain.fees import Fees

    wallet = signer_in(settings)

    async def run() -> T:
        known = settings
        if known.ledger is None and url is not None:
            async with open_settlement(url, ca) as web:
                known = replace(settings, ledger=(await web.settlement()).ledger)
        async with opened(known) as chain:
            market = await market_in(chain, known)
            return await deed(chain, market, wallet, Fees(lamports_max=known.fee_max))

    return run_command(run), encode_address(wallet.address)


def _show_paid(paid: Paid, wallet: str, what: str, *, as_json: bool) -> None:
    from onchain.amounts import format_hyper

    moved = format_hyper(abs(paid.after - paid.before))
    before, after = format_hyper(paid.before), format_hyper(paid.after)
    told = {
        "wallet": wallet, "amount": moved, "before": before, "after": after,
        "signature": paid.signature,
    }  # fmt: skip
    facts = {
        "Wallet": wallet, what: f"{moved} HYPER", "Balance": f"{before} → {after} HYPER",
        "Signature": paid.signature or "it was done before",
    }  # fmt: skip
    _show(told, facts, as_json=as_json)


def _show(told: Mapping[str, Any], facts: Mapping[str, str], *, as_json: bool) -> None:
    from hypernode.cli.output import print_facts, print_json

    if as_json:
        print_json(dict(told))
    else:
        print_facts(dict(facts))
