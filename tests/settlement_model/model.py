"""The settlement program: a call goes in, an answer comes out, the world has changed or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.settlement_model import governing, leaving, making, paying, proposals, roots
from tests.settlement_model.calls import Call, Parsed, parse
from tests.settlement_model.state import Ledger
from tests.settlement_model.step import Event, Step
from tests.settlement_model.world import Draft, Refusal, World, require

RULES: Final[Mapping[str, Callable[[Step], None]]] = {
    "initialize": making.initialize,
    "deposit": making.deposit,
    "publish_root": roots.publish_root,
    "approve_root": roots.approve_root,
    "activate_root": roots.activate_root,
    "cancel_root": roots.cancel_root,
    "revoke_root": roots.revoke_root,
    "claim": paying.claim,
    "claim_to": paying.claim_to,
    "cover": paying.cover,
    "redeem": paying.redeem,
    "redeem_to": paying.redeem_to,
    "exit": leaving.leave,
    "request_exit": leaving.request_exit,
    "cancel_exit": leaving.cancel_exit,
    "set_paused": governing.set_paused,
    "tighten_limits": governing.tighten_limits,
    "void_vouchers": governing.void_vouchers,
    "propose_config": proposals.propose_config,
    "apply_config": proposals.apply_config,
    "accept_admin": proposals.accept_admin,
    "sweep_excess": proposals.sweep_excess,
    "withdraw_reserve": proposals.withdraw_reserve,
    "cancel_config": proposals.cancel_config,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """It happened, and logged these."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing happened; the error's name, as in `onchain.program.refusals` or `TOKEN_REFUSES`."""

    error: str


@dataclass
class Model:
    """The program at one address, in a world that the caller may change between two calls."""

    program: bytes
    world: World

    def apply(self, call: Call) -> Applied | Refused:
        """Runs one instruction, whole or not at all."""
        draft = Draft(self.world)
        try:
            step = self._begin(parse(call), call, draft)
            RULES[step.call.declared.name](step)
        except Refusal as refusal:
            return Refused(str(refusal))
        draft.keep()
        return Applied(tuple(step.events))

    def _begin(self, parsed: Parsed, call: Call, draft: Draft) -> Step:
        """Step 4 of every instruction: the ledger is one of ours."""
        if parsed.declared.name != "initialize":
            held = draft.at(parsed.key("ledger"))
            ours = held.owner == self.program and isinstance(held.data, Ledger)
            require(ours, "InvalidLedger")
        world = self.world
        return Step(
            self.program, world.now, world.slot, parsed, draft, call.before, world.rent_threshold
        )
