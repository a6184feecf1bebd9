"""A market on a chain in this process: the real program, a mint, roles, money, time that passes.

The program is the built file; nothing here knows its rules. `Bazaar` does what people do, through
the product's own modules; tests say what must come of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import msgspec
from solders.instruction import Instruction

from coordinator.protocol.signing import Keypair
from onchain import calls, role_calls
from onchain.drafts import Signer
from onchain.fees import Fees
from onchain.journal import MemoryJournal
from onchain.leaves import Kind, LeafFile, write_leaves
from onchain.machine import Machine
from onchain.opening import market_of, opening
from onchain.outlook import promoted
from onchain.places import TOKEN_PROGRAM, Market
from onchain.program import DEVELOPMENT_ID
from onchain.program.generate import HERE
from onchain.publish import Roots
from onchain.reads import read_ledger
from onchain.role_calls import Roles
from onchain.sender import Intent, Pace, Sender, Sent
from onchain.settlement_tree import Proof, SettlementTree
from onchain.simulated import SimulatedChain
from onchain.transactions import Recipe
from onchain.views import Ledger, Limits
from tests.chains import SOL, key, put_mint, put_tokens
from tests.ledger_values import LIMITS

PROGRAM = HERE / "hyper_settlement.v0.so"
MINT = key("mint").address
#: What the treasury holds at first, base units.
RICHES = 10**12


@dataclass
class Bazaar:
    """One market, and the keys of its roles by their names."""

    chain: SimulatedChain
    market: Market
    payer: Keypair
    #: Leaf files that were published, by their hash.
    files: dict[bytes, LeafFile] = field(default_factory=dict)
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    @property
    def sender(self) -> Sender:
        return Sender(self.chain, self.journal, pace=Pace(poll_s=0.001))

    @property
    def roots(self) -> Roots:
        return Roots(self.chain, self.sender, self.market, self.payer)

    async def do(self, *instructions: Instruction, signers: tuple[Signer, ...] = ()) -> None:
        """Send instructions; the payer pays. A block passes."""
        recipe = Recipe(instructions, (self.payer, *signers))
        await self.send(recipe)

    async def send(self, recipe: Recipe) -> bytes:
        budget = await Fees().budget(self.chain, recipe, (), 0)
        latest = await self.chain.latest_blockhash()
        signed = recipe.sign(latest.blockhash, budget)
        signature = await self.chain.send(signed.raw)
        self.chain.advance(1)
        return signature

    async def deed(self, intent: Intent) -> None:
        await self.sender.send(intent)
        self.chain.advance(1)

    async def ledger(self) -> Ledger:
        return (await read_ledger(self.chain, self.market)).ledger

    def later(self, seconds: int) -> None:
        """Time passes, and two slots a second with it."""
        self.chain.advance(2 * seconds + 2, ms=1000 * seconds, blocks=1)

    def fund(self, owner: bytes, amount: int) -> None:
        """Give somebody a token account with tokens."""
        place, machine = self.market.token_account(owner), self.chain.machine
        put_tokens(machine, place, self.market.mint, owner, amount)
        made = machine.newest(place)
        assert made is not None
        machine.set_account(place, made.lamports, bytes(made.data), self.market.token_program)

    async def tokens(self, owner: bytes) -> int:
        found = await self.chain.token_balance(self.market.token_account(owner))
        return 0 if found is None else found.amount

    async def deposit(self, owner: bytes, amount: int) -> None:
        """The treasury pays in for somebody; for the ledger itself it is the reserve."""
        treasury = key("treasury")
        call = calls.deposit(
            self.market,
            payer=self.payer.address,
            authority=treasury.address,
            owner=owner,
            amount=amount,
        )
        await self.do(call, signers=(treasury,))

    def leaf_file(
        self, epoch: int, earnings: Mapping[bytes, int], exits: Mapping[bytes, int] | None = None
    ) -> LeafFile:
        file = BytesIO()
        write_leaves(
            file,
            ledger=self.market.ledger,
            epoch=epoch,
            earnings=sorted(earnings.items()),
            exits=sorted((exits or {}).items()),
        )
        return LeafFile(file)

    async def settle(
        self, earnings: Mapping[bytes, int], exits: Mapping[bytes, int] | None = None
    ) -> LeafFile:
        """Publish the next epoch, approved at once, and let its delay pass."""
        epoch = (await self.ledger()).last_epoch + 1
        file = self.leaf_file(epoch, earnings, exits)
        await self.publish(file, guardian=key("guardian"))
        self.later(LIMITS.fast_delay)
        return file

    async def publish(self, file: LeafFile, *, guardian: Signer | None = None) -> Sent:
        """Publish a leaf file, with that of the active root beside it."""
        now = await read_ledger(self.chain, self.market)
        before = self.files.get(promoted(now.ledger, now.clock).active.data_hash)
        sent = await self.roots.publish(
            file, publisher=key("publisher"), before=before, guardian=guardian
        )
        self.files[file.check()] = file
        return sent

    async def pause(self, flags: role_calls.Pause) -> None:
        admin = key("admin")
        call = role_calls.set_paused(self.market, authority=admin.address, flags=flags)
        await self.do(call, signers=(admin,))

    async def propose_limits(self, limits: Limits) -> None:
        admin = key("admin")
        kind = role_calls.Proposal.LIMITS
        call = role_calls.propose_config(
            self.market, authority=admin.address, kind=kind, limits=limits
        )
        await self.do(call, signers=(admin,))


def proof_of(file: LeafFile, address: bytes, kind: Kind = Kind.EARNINGS) -> Proof:
    return SettlementTree(file).proof(kind, address)


ROLES = Roles(
    admin=key("admin").address,
    publisher=key("publisher").address,
    guardian=key("guardian").address,
    voucher_key=key("voucher").address,
)


async def open_bazaar(
    limits: Limits = LIMITS, *, token_program: bytes = TOKEN_PROGRAM, **changes: Any
) -> Bazaar:
    """A fresh market whose treasury has paid in nothing yet."""
    machine = Machine(name="bazaar")
    chain = SimulatedChain(machine)
    machine.add_program(DEVELOPMENT_ID, PROGRAM)
    put_mint(machine, MINT)
    mint = machine.newest(MINT)
    assert mint is not None
    machine.set_account(MINT, mint.lamports, bytes(mint.data), token_program)
    payer, base = key("payer"), key("base")
    chain.airdrop(payer.address, 100 * SOL)
    market = market_of(DEVELOPMENT_ID, base.address, MINT, machine.genesis, token_program)
    bazaar = Bazaar(chain, market, payer)
    bazaar.fund(key("treasury").address, RICHES)
    limits = msgspec.structs.replace(limits, **changes)
    await bazaar.send(opening(market, payer=payer, base=base, roles=ROLES, limits=limits))
    bazaar.later(limits.min_epoch_interval)
    return bazaar
