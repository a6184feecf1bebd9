"""The settlement program twice: the built file in a chain, and the model; each call goes to both.

In:   calls, by the model's `Market`, whose people, trees and words this has too.
Out:  the model's answer, if the chain gave the same: name of the error or events, and every byte of
      every account of the call.
What the market itself does to accounts (tokens given, states changed) is copied to the chain before
a call; what a call does is compared, never copied.
Not covered: lamports, compute units; what the token program refuses has one name in the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from solders.account import Account as ChainAccount
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from onchain.program.instructions import INSTRUCTIONS, PROPOSALS
from onchain.program.refusals import CODES
from tests.program_bytes import unpack_account
from tests.program_world import Outcome, World, program_file
from tests.settlement_model import TOKEN_REFUSES, Applied, Before, Call, Refused
from tests.settlement_model.addresses import SYSTEM_PROGRAM
from tests.settlement_model.calls import BY_DISCRIMINATOR
from tests.settlement_model.market import Answer, Market, ok
from tests.settlement_model.paying import voucher_check, voucher_message
from tests.settlement_model.setting import DAY, PROGRAM, key
from tests.settlement_model.state import LAYOUTS, Limits
from tests.settlement_model.step import Event

HERE: Final = Pubkey.from_bytes(PROGRAM)
_NAMES: Final = {each.name for each in INSTRUCTIONS}


class Divergence(AssertionError):
    """Chain and model disagree; its argument says about what."""


def voucher_pair(name: str) -> Keypair:
    """The voucher key of that name: one that can sign, other than the model's names for keys."""
    return Keypair.from_seed(key(name))


@dataclass
class Twin(Market):
    """A market whose every call happens on both sides."""

    chain: World = field(default_factory=lambda: World(program_file(), at=HERE))
    #: (instruction, error or "ok") → how often.
    reached: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Events of the latest call.
    logged: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        self.chain.put(Pubkey.from_bytes(key("payer")), _lamports(10**15))
        self._clock = (0, 0)
        super().__post_init__()

    def send(self, *args: Any, **more: Any) -> Answer:
        return self.both(self.call(*args, **more))

    def both(self, call: Call) -> Answer:
        """Apply a call on both sides and compare.

        Raises:
            Divergence: the answers, the events or an account differ.
        """
        self._copy_over(call)
        outcome = self.chain.send(instructions_of(call), program=HERE)
        answer = self.model.apply(call)
        self._compare(call, answer, outcome)
        self.logged = answer.events if isinstance(answer, Applied) else ()
        error = answer.error if isinstance(answer, Refused) else "ok"
        self.reached[call.name if call.name in _NAMES else "none", error] += 1
        return answer

    def _copy_over(self, call: Call) -> None:
        world = self.model.world
        if self._clock != (world.now, world.slot):
            self.chain.set_clock(world.now, world.slot)
            self._clock = (world.now, world.slot)
        self.chain.set_rent(3_480, world.rent_threshold)
        for meta in call.accounts:
            held = world.accounts.get(meta.address)
            if held is None or held.owner in {PROGRAM, SYSTEM_PROGRAM}:
                continue
            there = Pubkey.from_bytes(meta.address)
            data, seen = world.bytes_of(meta.address), self.chain.account(there)
            if seen is None or bytes(seen.data) != data or bytes(seen.owner) != held.owner:
                owner = Pubkey.from_bytes(held.owner)
                self.chain.put(there, ChainAccount(10**9, data, owner))

    def _compare(self, call: Call, answer: Answer, outcome: Outcome) -> None:
        if isinstance(answer, Refused):
            by_runtime = outcome.error is not None and outcome.error not in CODES
            same = by_runtime if answer.error == TOKEN_REFUSES else outcome.error == answer.error
        else:
            same = outcome.error is None
        if not same:
            raise Divergence(call.name, answer, outcome.error, outcome.logs)
        if isinstance(answer, Applied):
            wanted = [(event.name, flat_fields(event)) for event in answer.events]
            if wanted != outcome.events:
                raise Divergence(call.name, wanted, outcome.events)
        for address in {meta.address for meta in call.accounts}:
            self.compare_account(address, call.name)

    def compare_account(self, address: bytes, said: str) -> None:
        """What both sides hold there is the same, byte for byte.

        Raises:
            Divergence: it is not.
        """
        world = self.model.world
        held = world.accounts.get(address)
        seen = self.chain.account(Pubkey.from_bytes(address))
        if held is None or held.owner == SYSTEM_PROGRAM:
            if seen is not None and bytes(seen.owner) == PROGRAM:
                raise Divergence(said, address.hex(), "only the chain has it")
            return
        data = world.bytes_of(address)
        if seen is None or bytes(seen.owner) != held.owner or bytes(seen.data) != data:
            there = None if seen is None else bytes(seen.data)
            raise Divergence(said, address.hex(), differences(data, there))

    def compare_all(self) -> None:
        """Compare every ledger and record, those too that no call touched lately."""
        for address, held in self.model.world.accounts.items():
            if held.owner == PROGRAM:
                self.compare_account(address, "at the end")

    # ---- vouchers, really signed ----------------------------------------------------------------
    def with_vouchers(self, name: str = "voucher key") -> None:
        """The ledger's voucher key becomes one that can sign: by a proposal, after its delay."""
        ok(self.propose(kind_of("VOUCHER"), key=bytes(voucher_pair(name).pubkey())))
        self.wait(2 * DAY)
        ok(self.send("apply_config"))

    def voucher(self, who: str, cumulative: int, expires_at: int) -> Before:
        return self.signed_voucher(who, cumulative, expires_at, "voucher key")

    def signed_voucher(self, who: str, cumulative: int, expires_at: int, signer: str) -> Before:
        """A voucher by the key of that name; the precompile takes it, whoever that is."""
        ledger, pair = self.ledger, voucher_pair(signer)
        words = voucher_message(
            *(PROGRAM, self.ledger_key, ledger.cluster_tag, key(who)),
            *(cumulative, expires_at, ledger.key_epoch),
        )
        signature = bytes(pair.sign_message(words))
        check = voucher_check(bytes(pair.pubkey()), signature, words)
        return Before(bytes(Pubkey.from_string(ED25519)), check)


ED25519: Final = "Ed25519SigVerify111111111111111111111111111"


def kind_of(name: str) -> int:
    """The number of a kind of proposal."""
    return next(kind for kind, (each, _) in PROPOSALS.items() if each == name)


def _lamports(amount: int) -> ChainAccount:
    return ChainAccount(amount, b"", Pubkey.default())


def instructions_of(call: Call) -> list[Instruction]:
    """The model's call as the chain takes it, with the instruction before it."""
    declared = BY_DISCRIMINATOR.get(call.data[:8])
    listed = declared.accounts if declared else ()
    metas = [
        AccountMeta(
            Pubkey.from_bytes(meta.address),
            meta.signer,
            at < len(listed) and listed[at].writable,
        )
        for at, meta in enumerate(call.accounts)
    ]
    made = [Instruction(HERE, call.data, metas)]
    if call.before is not None:
        others = [AccountMeta(HERE, is_signer=False, is_writable=False)] * call.before.accounts
        program = Pubkey.from_bytes(call.before.program)
        made.insert(0, Instruction(program, call.before.data, others))
    return made


def flat_fields(event: Event) -> dict[str, Any]:
    """An event's values by flat name."""
    flat: dict[str, Any] = {}
    for name, value in event.fields.items():
        if isinstance(value, Limits):
            flat |= {f"{name}.{each}": getattr(value, each) for each in value.__slots__}
        else:
            flat[name] = value
    return flat


def differences(wanted: bytes, seen: bytes | None) -> list[str]:
    """Fields that differ, as far as both are records of the program."""
    for layout in LAYOUTS.values():
        if layout.seeds and seen and {wanted[:8], seen[:8]} == {layout.discriminator}:
            one, two = unpack_account(layout, wanted), unpack_account(layout, seen)
            return [f"{n}: model {one[n]}, chain {two[n]}" for n in one if one[n] != two[n]]
    return [f"model {wanted.hex()}", f"chain {seen.hex() if seen is not None else None}"]
