"""A root that must not stay: the pending one cancelled, the active one revoked, by their roles."""

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
from hypernode.cli.chain_step import Step, carry_out, common_of
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from onchain.places import Market
    from onchain.reads import LedgerNow

Epoch = Annotated[int, typer.Argument(min=1, help="The epoch of that root: see `chain status`.")]


def cancel_root(  # noqa: PLR0913 (one parameter an option)
    epoch: Epoch,
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
    """Drop the pending root, as administrator or guardian; its number stays used.

    Example: hypernode chain cancel-root 12 --ledger 7tB3… -k guardian.json
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import cancel_root as call_of

        pending = now.ledger.pending.epoch
        if pending != epoch:
            said = f"the pending one is of epoch {pending}" if pending else "none is pending"
            raise refusal_named("NoPendingRoot", detail=said)
        call = call_of(market, authority=signer, epoch=epoch)
        facts = {"Cancelled": f"the root of epoch {epoch}"}
        return Step((call,), facts, lambda after: after.pending.epoch != epoch)

    carry_out(common, ("admin", "guardian"), plan)


def revoke_root(  # noqa: PLR0913 (one parameter an option)
    epoch: Epoch,
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
    """Take back the active root and restore the one before, as administrator or guardian.

    Never twice in a row; a pending root stays. What was claimed by it stays claimed.

    Example: hypernode chain revoke-root 12 --ledger 7tB3… -k admin.json
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import revoke_root as call_of

        active = now.ledger.active.epoch
        if active != epoch or not now.ledger.revocable:
            said = f"the active one is of epoch {active}" if active else "none is active"
            if active == epoch:
                said = "it was restored by a revocation"
            raise refusal_named("NotRevocable", detail=said)
        call = call_of(market, authority=signer, epoch=epoch)
        facts = {"Revoked": f"epoch {epoch}", "Active again": f"epoch {now.ledger.previous.epoch}"}
        return Step((call,), facts, lambda after: after.active.epoch != epoch)

    carry_out(common, ("admin", "guardian"), plan)
