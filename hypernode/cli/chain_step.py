"""A role's deed on its ledger: what the commands of the roles share.

In:   the options; a plan, from the ledger as it is to the instructions.
Out:  what came of it: simulated, unsigned, or carried out.
Rule: who signs is the key at hand; without one, whom `--authority` names, else the role itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypernode.cli.chain_settings import ChainSettings
    from onchain.chain import Chain
    from onchain.places import Market
    from onchain.program_refusals import ProgramRefused
    from onchain.reads import LedgerNow
    from onchain.role_calls import Pause
    from onchain.views import Ledger as LedgerView


class Flag(StrEnum):
    """What can be paused."""

    DEPOSIT = "deposit"
    CLAIM = "claim"
    PUBLISH = "publish"
    REDEEM = "redeem"


@dataclass(frozen=True, slots=True)
class Step:
    """What a role does: the instructions, what it means, and when it is done."""

    calls: tuple[Any, ...]
    facts: dict[str, str]
    is_done: Callable[[LedgerView], bool]


#: From the market, its ledger now and who signs, to what is done.
Plan = Callable[["Market", "LedgerNow", bytes], Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options of every command here."""

    rpc: list[str] | None
    ledger: str | None
    keypair: str | None
    config: Path | None
    authority: str | None
    dry_run: bool
    unsigned: bool
    as_json: bool


def flags_of(words: Sequence[str]) -> Pause:
    """Pauses by their names.

    Raises:
        Usage: one is no such name.
    """
    from hypernode.cli.exit import Usage
    from onchain.role_calls import NO_PAUSE, Pause

    flags = NO_PAUSE
    for word in words:
        if word not in set(Flag):
            msg = f"{word!r} is none of {', '.join(Flag)}"
            raise Usage(msg)
        flags |= Pause[word.upper()]
    return flags


def common_of(given: Mapping[str, Any]) -> Common:
    """The options out of a command's own."""
    return Common(**{name: given[name] for name in Common.__dataclass_fields__})


def settings_of(common: Common) -> ChainSettings:
    """What the options, the environment and the file say together."""
    import os

    from hypernode.cli.chain_settings import read_chain

    given = {"rpc": common.rpc, "ledger": common.ledger, "keypair": common.keypair}
    return read_chain(given, os.environ, common.config)[0]


def is_gone(ledger: LedgerView, number: int) -> bool:
    """Whether that proposal is no longer pending."""
    return ledger.proposal_kind == 0 or ledger.proposal_number != number


def carry_out(common: Common, roles: Sequence[str], plan: Plan) -> None:
    """Do it, or say what it would come to.

    Args:
        common: The options.
        roles: Fields of the ledger with those who may; the first signs where no key is at hand.
        plan: What is done.
    """
    from hypernode.cli.chain_deed import Deed, Manner, do, ledger_in, opened, show
    from hypernode.cli.chain_settings import address_in, need_chain_parts, signer_in
    from hypernode.cli.run import run_command

    need_chain_parts()
    settings = settings_of(common)
    manner = Manner(common.dry_run, common.unsigned, common.as_json)
    key = signer_in(settings) if manner.needs_key else None
    named = None if common.authority is None else address_in(common.authority, "--authority")

    async def ask() -> tuple[dict[str, Any], dict[str, str]]:
        from onchain.deeds import Elsewhere
        from onchain.program_refusals import ProgramRefused
        from onchain.transactions import Recipe

        async with opened(settings) as chain:
            market, now = await ledger_in(chain, settings)
            signer = key or Elsewhere(named or getattr(now.ledger, roles[0]))
            step = plan(market, now, signer.address)
            recipe = Recipe(step.calls, (signer,))
            deed = Deed("role", recipe, market.program, _done(chain, market, step))
            try:
                return await do(chain, deed, settings, manner), step.facts
            except ProgramRefused as error:
                raise _naming(error, now.ledger, roles, signer.address) from error

    told, facts = run_command(ask)
    show(told, manner, facts)


def _naming(
    error: ProgramRefused, ledger: LedgerView, roles: Sequence[str], signer: bytes
) -> ProgramRefused:
    """A refusal for who signed with whose key it would have been."""
    from onchain.address import encode_address
    from onchain.program_refusals import refusal_named

    if error.name != "Unauthorized":
        return error
    holders = ", ".join(
        f"the {role.replace('_', ' ')} is {encode_address(getattr(ledger, role))}" for role in roles
    )
    detail = f"signed by {encode_address(signer)}; {holders}"
    return refusal_named("Unauthorized", detail=detail)


def _done(chain: Chain, market: Market, step: Step) -> Callable[[], Awaitable[bool]]:
    async def is_done() -> bool:
        from onchain.reads import read_ledger

        return step.is_done((await read_ledger(chain, market)).ledger)

    return is_done
