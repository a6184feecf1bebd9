"""What a ledger's roles do at once: pause, tighten limits, void vouchers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.chain_options import (
    Authority,
    ConfigFile,
    DryRun,
    Ledger,
    Rpc,
    SignerFile,
    Unsigned,
)
from hypernode.cli.chain_step import (
    Flag,
    Step,
    carry_out,
    common_of,
    flags_of,
    settings_of,
)
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from onchain.places import Market
    from onchain.reads import LedgerNow


def pause(  # noqa: PLR0913 (one parameter an option)
    what: Annotated[list[Flag], typer.Argument(help="What is to stop.")],
    *,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    authority: Authority = None,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    unsigned: Unsigned = False,
    as_json: AsJson = False,
) -> None:
    """Stop deposits, claims, publishing or vouchers at once, as administrator or guardian.

    A guardian's pause lapses after 3 days, one of claims after 14; the rest ends by a proposal.

    Example: hypernode chain pause publish redeem --ledger 7tB3… -k guardian.json
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.role_calls import set_paused

        call = set_paused(market, authority=signer, flags=flags_of(what))
        before = now.ledger.paused_until, now.ledger.guardian_paused_at
        facts = {"Paused": ", ".join(what)}
        return Step(
            (call,), facts, lambda after: (after.paused_until, after.guardian_paused_at) != before
        )

    carry_out(common, ("admin", "guardian"), plan)


def tighten(  # noqa: PLR0913 (one parameter an option)
    *,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    authority: Authority = None,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    unsigned: Unsigned = False,
    as_json: AsJson = False,
) -> None:
    """Make limits stricter at once, as the administrator; those of --config, the rest as they are.

    Example: hypernode chain tighten --config stricter.toml
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from hypernode.cli.chain_init import limits_in
        from hypernode.cli.exit import Usage
        from onchain.limits_rules import loosenings
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import tighten_limits

        limits = limits_in(settings_of(common), now.ledger.limits)
        if looser := [*loosenings(now.ledger.limits, limits)]:
            sentence = refusal_named("NotTightening").sentence
            raise Usage("\n".join([f"NotTightening: {sentence}", *looser]))
        call = tighten_limits(market, authority=signer, limits=limits)
        facts = {"Tightened": "the limits are those of the file"}
        return Step((call,), facts, lambda after: after.limits == limits)

    carry_out(common, ("admin",), plan)


def void_vouchers(  # noqa: PLR0913 (one parameter an option)
    *,
    rpc: Rpc = None,
    ledger: Ledger = None,
    keypair: SignerFile = None,
    authority: Authority = None,
    config: ConfigFile = None,
    dry_run: DryRun = False,
    unsigned: Unsigned = False,
    as_json: AsJson = False,
) -> None:
    """Void every voucher that was signed so far, as the administrator.

    Example: hypernode chain void-vouchers --ledger 7tB3…
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.role_calls import void_vouchers as call_of

        key_epoch = now.ledger.key_epoch + 1
        call = call_of(market, authority=signer, key_epoch=key_epoch)
        facts = {"Void": f"vouchers of key epochs below {key_epoch}"}
        return Step((call,), facts, lambda after: after.key_epoch >= key_epoch)

    carry_out(common, ("admin",), plan)
