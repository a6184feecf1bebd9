"""Proposals, which take effect after a delay: made, applied, cancelled; a new administrator."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

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
    Common,
    Step,
    carry_out,
    common_of,
    flags_of,
    is_gone,
    settings_of,
)
from hypernode.cli.options import AsJson

if TYPE_CHECKING:
    from onchain.places import Market
    from onchain.reads import LedgerNow


class Kind(StrEnum):
    """What can be proposed."""

    LIMITS = "limits"
    PUBLISHER = "publisher"
    GUARDIAN = "guardian"
    VOUCHER = "voucher"
    UNPAUSE = "unpause"
    ADMIN = "admin"
    SWEEP = "sweep"
    RESERVE = "reserve"


#: What stands behind the kind on the command line.
_VALUES: Final = {
    Kind.LIMITS: "", Kind.PUBLISHER: "ADDRESS", Kind.GUARDIAN: "ADDRESS",
    Kind.VOUCHER: "ADDRESS or none", Kind.UNPAUSE: "FLAG …", Kind.ADMIN: "ADDRESS",
    Kind.SWEEP: "AMOUNT WALLET", Kind.RESERVE: "AMOUNT WALLET",
}  # fmt: skip


def propose(  # noqa: PLR0913 (one parameter an option)
    kind: Annotated[Kind, typer.Argument(help="What is to change.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            help="limits: none, they stand in --config; unpause: what; sweep and reserve: amount "
            "and wallet; else an address (voucher: or none).",
            show_default=False,
        ),
    ] = None,
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
    """Propose a change as the administrator; it can be applied after the ledger's config_delay.

    Example: hypernode chain propose publisher 9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from hypernode.cli.moments import moment
        from onchain.program.layout import CONSTANTS
        from onchain.role_calls import Proposal, propose_config

        fields = _fields(kind, values or [], common, now)
        call = propose_config(market, authority=signer, kind=Proposal[kind.name], **fields)
        number, delay = now.ledger.proposal_number, now.ledger.limits.config_delay
        if kind is Kind.GUARDIAN:
            delay = max(delay, CONSTANTS["GUARDIAN_DELAY"][0])
        due = moment(now.clock.unix_s + delay, now.clock.unix_s)
        facts = {"Proposed": f"{number + 1}: {kind}", "Can be applied": f"from about {due}"}
        return Step((call,), facts, lambda after: after.proposal_number > number)

    carry_out(common, ("admin",), plan)


def _fields(kind: Kind, values: Sequence[str], common: Common, now: LedgerNow) -> dict[str, Any]:
    """The fields of a proposal.

    Raises:
        Usage: not what the kind takes.
    """
    from hypernode.cli.chain_init import limits_in
    from hypernode.cli.chain_settings import address_in
    from hypernode.cli.exit import Usage
    from onchain.amounts import parse_hyper
    from onchain.errors import BadAmount

    if kind is Kind.LIMITS and not values:
        return {"limits": limits_in(settings_of(common), now.ledger.limits)}
    if kind is Kind.UNPAUSE and values:
        return {"flags": flags_of(values)}
    if kind in {Kind.SWEEP, Kind.RESERVE} and len(values) == 2:
        try:
            return {"amount": parse_hyper(values[0]), "key": address_in(values[1], "WALLET")}
        except BadAmount as error:
            raise Usage(str(error)) from error
    is_role = kind in {Kind.PUBLISHER, Kind.GUARDIAN, Kind.VOUCHER, Kind.ADMIN}
    if is_role and len(values) == 1:
        is_none = kind is Kind.VOUCHER and values[0] == "none"
        return {"key": bytes(32) if is_none else address_in(values[0], "ADDRESS")}
    msg = f"propose {kind} takes {_VALUES[kind] or 'nothing more'}"
    raise Usage(msg)


def apply(  # noqa: PLR0913 (one parameter an option)
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
    """Apply the proposal that is due; anybody may, for the fee. An administrator takes over alone.

    Example: hypernode chain apply --ledger 7tB3…
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.calls import create_token_account
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import Proposal, apply_config, sweep_excess, withdraw_reserve

        proposed = now.ledger.proposal_kind
        if proposed == Proposal.ADMIN:
            detail = "the pending one is of an administrator, who takes over by `accept-admin`"
            raise refusal_named("NoProposal", detail=detail)
        _check_due(now)
        kind, wallet = Proposal(proposed), now.ledger.proposal_key
        calls: tuple[Any, ...] = (apply_config(market),)
        if kind in {Proposal.SWEEP, Proposal.RESERVE}:
            pays = sweep_excess if kind is Proposal.SWEEP else withdraw_reserve
            account = create_token_account(market, payer=signer, wallet=wallet)
            calls = (account, pays(market, wallet=wallet))
        number = now.ledger.proposal_number
        facts = {"Applied": f"{number}: {kind.name}"}
        return Step(calls, facts, lambda after: is_gone(after, number))

    carry_out(common, ("admin",), plan)


def _check_due(now: LedgerNow) -> None:
    """Refuse, with the moment, what the program would refuse without.

    Raises:
        ProgramRefused: `NoProposal`, `NotDue`, `ProposalExpired`.
    """
    from hypernode.cli.moments import utc
    from onchain.program.layout import CONSTANTS
    from onchain.program_refusals import refusal_named

    ledger, now_s = now.ledger, now.clock.unix_s
    if ledger.proposal_kind == 0:
        raise refusal_named("NoProposal")
    if now_s < ledger.proposal_due_at:
        raise refusal_named("NotDue", ledger.proposal_due_at, now_s=now_s)
    last = ledger.proposal_due_at + CONSTANTS["PROPOSAL_LIFE"][0]
    if now_s > last:
        raise refusal_named("ProposalExpired", detail=f"that was possible until {utc(last)}")


def cancel(  # noqa: PLR0913 (one parameter an option)
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
    """Drop the pending proposal, as administrator or guardian.

    Example: hypernode chain cancel --ledger 7tB3… -k guardian.json
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import cancel_config

        if now.ledger.proposal_kind == 0:
            raise refusal_named("NoProposal")
        number = now.ledger.proposal_number
        call = cancel_config(market, authority=signer, number=number)
        facts = {"Cancelled": f"proposal {number}"}
        return Step((call,), facts, lambda after: is_gone(after, number))

    carry_out(common, ("admin", "guardian"), plan)


def accept_admin(  # noqa: PLR0913 (one parameter an option)
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
    """Take over as the administrator who was proposed, once that is due.

    Example: hypernode chain accept-admin --ledger 7tB3… -k new-admin.json
    """
    common = common_of(locals())

    def plan(market: Market, now: LedgerNow, signer: bytes) -> Step:
        from onchain.address import encode_address
        from onchain.program_refusals import refusal_named
        from onchain.role_calls import Proposal, accept_admin as call_of

        if now.ledger.proposal_kind != Proposal.ADMIN:
            raise refusal_named("NoProposal")
        _check_due(now)
        call = call_of(market, authority=signer)
        facts = {"Administrator": encode_address(signer)}
        return Step((call,), facts, lambda after: after.admin == signer)

    carry_out(common, ("proposal_key",), plan)
