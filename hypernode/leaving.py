"""A depositor leaves: asks for its unspent credit, and takes it by the chain alone.

In:   a chain, a market, the owner's key; an exit leaf's proof from a file that somebody kept.
Out:  signatures; `Paid`: the owner's tokens before and after.
Rules:
  1. The owner signs and pays its own fee; money goes to its own token account.
  2. A root that is due and that nobody activated keeps the first door shut (an exit would activate
     it and be refused): it is activated, and the wait for the door begins.
Not here: credit that the coordinator gives back (`hypernode withdraw`).
Source: `docs/program.md`, "exit" and "Where a bound is weaker than it looks".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from hypernode.claims import Paid, proof_in, tokens
from onchain.chain import Chain
from onchain.claim import Plan, plan_exit, plan_exit_request
from onchain.deeds import carry_out, signature_text
from onchain.drafts import Signer
from onchain.fees import Fees
from onchain.leaves import Kind
from onchain.outlook import Outlook, is_due
from onchain.places import Market
from onchain.program_refusals import ProgramRefused, refusal_named
from onchain.reads import ExitNow, read_exit, read_ledger
from onchain.role_calls import activate_root
from onchain.settlement_tree import Proof
from onchain.transactions import Recipe


async def ask_to_leave(
    chain: Chain, market: Market, owner: Signer, fees: Fees, *, cancel: bool = False
) -> str | None:
    """Ask to take unspent credit out, or take that back; the signature.

    Raises:
        ProgramRefused: `ExitRequested`, `NoExitRequest`, `InvalidRecord` (nothing was deposited).
    """
    state = await read_exit(chain, market, owner.address)
    plan = plan_exit_request(market, state, owner=owner, payer=owner, cancel=cancel)

    async def is_done() -> bool:
        record = (await read_exit(chain, market, owner.address)).record
        return (record.exit_requested_at == 0) is cancel

    return await _carried(chain, market, plan, fees, "exit request", is_done)


async def leave(chain: Chain, market: Market, owner: Signer, proof: Proof, fees: Fees) -> Paid:
    """Take unspent credit out by the active root's exit leaf; no coordinator needed.

    A root that is due and that nobody activated keeps the first door shut: it is activated, and the
    wait for the door begins.

    Raises:
        ProgramRefused: `ExitClosed` with the moment when the door opens, `NothingToExit`.
    """
    state = await read_exit(chain, market, owner.address)
    try:
        plan = plan_exit(market, state, proof, payer=owner)
    except ProgramRefused as refused:
        if refused.name != "ExitClosed" or not is_due(state.ledger, state.clock):
            raise
        epoch = state.ledger.pending.epoch
        await _activate(chain, market, owner, epoch, fees)
        state = await read_exit(chain, market, owner.address)
        plan = _plan_after(market, state, proof, owner, epoch)
    before = await tokens(chain, market, owner.address)

    async def is_done() -> bool:
        record = (await read_exit(chain, market, owner.address)).record
        return record.exited > state.record.exited

    signature = await _carried(chain, market, plan, fees, "exit", is_done)
    return Paid(before, await tokens(chain, market, owner.address), signature)


async def _activate(chain: Chain, market: Market, payer: Signer, epoch: int, fees: Fees) -> None:
    """Activate the pending root, which is due; anybody may."""
    plan = Plan(Recipe((activate_root(market),), (payer,)), Outlook())

    async def is_done() -> bool:
        return (await read_ledger(chain, market)).ledger.pending.epoch != epoch

    await _carried(chain, market, plan, fees, "activation", is_done)


def _plan_after(market: Market, state: ExitNow, proof: Proof, owner: Signer, epoch: int) -> Plan:
    """The exit once more, and what was done for it if the door is still shut."""
    try:
        return plan_exit(market, state, proof, payer=owner)
    except ProgramRefused as refused:
        detail = f"the root of epoch {epoch} was due and nobody had activated it; it is active now"
        if refused.name == "ExitClosed":
            detail += ", and the wait for the door begins with that"
        again, now_s = refused.again_at, refused.now_s
        raise refusal_named(refused.name, again, now_s=now_s, detail=detail) from refused


async def _carried(
    chain: Chain,
    market: Market,
    plan: Plan,
    fees: Fees,
    name: str,
    is_done: Callable[[], Awaitable[bool]],
) -> str | None:
    sent = await carry_out(chain, plan.recipe, market.program, fees, name=name, is_done=is_done)
    return None if sent.signature is None else signature_text(sent.signature)


async def exit_proof(file: Path, owner: bytes) -> Proof:
    """As `proof_in`, of an exit leaf, in a thread."""
    return await trio.to_thread.run_sync(proof_in, file, Kind.EXIT, owner)
