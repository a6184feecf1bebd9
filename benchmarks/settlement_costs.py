"""What each call of the settlement program costs, on a chain in this process.

Counted are compute units, bytes and lamports. The market is real but small: each depth has a root
of its own, over 16 wallets at the bottom and made-up siblings above them, which cost the program as
much as real ones.
Units are those of the whole transaction, with the instruction that limits them. They depend on the
bumps of a wallet's addresses (each further try for one costs 1,500), hence 16 wallets.
Not covered: priority fees, real validators; SPL Token is the one inside the pinned LiteSVM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from struct import pack
from typing import Final

import msgspec

from coordinator.protocol.signing import Keypair, from_seed
from onchain import calls, role_calls
from onchain.claim import (
    Plan,
    plan_claim,
    plan_cover,
    plan_exit,
    plan_redeem,
    table_addresses,
)
from onchain.drafts import Signer
from onchain.fees import Fees
from onchain.leaves import Kind
from onchain.lookup_tables import LookupTable, create_table, extend_table, read_tables
from onchain.machine import Machine
from onchain.merkle import hash_node, levels_of, path_of, root_at
from onchain.opening import market_of, opening
from onchain.places import TOKEN_PROGRAM, Market
from onchain.program import DEVELOPMENT_ID
from onchain.program.generate import HERE
from onchain.reads import read_claim, read_exit
from onchain.role_calls import Roles
from onchain.settlement_tree import Proof
from onchain.simulated import SimulatedChain
from onchain.transactions import Recipe
from onchain.views import Limits, Root
from onchain.vouchers import sign_voucher, voucher_for

DEPTHS: Final = (0, 10, 17, 20, 24)
#: Wallets of each depth but 0, where a tree has one leaf.
WALLETS: Final = 16
#: What each epoch adds to a wallet, base units.
EARNED: Final = 1_000

_DAY: Final = 86_400
_LIMITS: Final = Limits(
    max_epoch_increase=10**12,
    window_limit=10**12,
    advance_cap=10**9,
    wallet_advance_cap=10**9,
    voucher_limit=10**12,
    min_deposit=1,
    min_epoch_interval=3_600,
    slow_delay=_DAY,
    fast_delay=3_600,
    window_secs=_DAY,
    exit_after=2 * _DAY,
    config_delay=2 * _DAY,
)
_RICHES: Final = 10**15


class Cost(msgspec.Struct, frozen=True):
    """One transaction that landed."""

    units: int
    size: int
    #: Fee and rents, of the payer.
    lamports: int


def key(name: str) -> Keypair:
    """The same key for the same name."""
    return from_seed(sha256(f"benchmark {name}".encode()).digest())


@dataclass
class Market16:
    """A market on a chain in this process, and the costs of what was done in it."""

    chain: SimulatedChain
    market: Market
    payer: Keypair
    table: tuple[LookupTable, ...] = ()
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    async def run(self, name: str, recipe: Recipe) -> None:
        """Send a transaction and note what it cost.

        Raises:
            TransactionRefused: nothing is measured that fails.
        """
        before = await self.chain.balance(self.payer.address)
        budget = await Fees().budget(self.chain, recipe, (), 0)
        latest = await self.chain.latest_blockhash()
        signed = recipe.sign(latest.blockhash, budget)
        await self.chain.send(signed.raw)
        landed = self.chain.machine.landed[signed.signature]
        self.chain.advance(1)
        paid = before - await self.chain.balance(self.payer.address)
        cost = Cost(landed.outcome.units, len(signed.raw), paid)
        self.costs.setdefault(name, []).append(cost)

    async def call(self, name: str, *instructions: object, signers: Sequence[Signer] = ()) -> None:
        """Send instructions that the payer pays for."""
        await self.run(name, Recipe(tuple(instructions), (self.payer, *signers)))  # type: ignore[arg-type]

    def pass_time(self, seconds: int) -> None:
        self.chain.advance(2 * seconds + 2, ms=1000 * seconds, blocks=1)


async def measure_costs() -> dict[str, list[Cost]]:
    """Costs of every call that hosts, depositors and the operator make, by name."""
    market = await _open()
    for depth in DEPTHS:
        await _claims(market, depth)
    await _vouchers(market)
    await _exits(market)
    return market.costs


async def open_market() -> tuple[Market, Machine]:
    """A market with some deposits, and the machine that it is on."""
    opened = await _open()
    return opened.market, opened.chain.machine


async def _open() -> Market16:
    machine = Machine(name="benchmark")
    machine.add_program(DEVELOPMENT_ID, HERE / "hyper_settlement.v0.so")
    chain, payer, base = SimulatedChain(machine), key("payer"), key("base")
    chain.airdrop(payer.address, 100 * 10**9)
    mint = key("mint").address
    _put(machine, mint, pack("<I32sQBB", 1, bytes(32), _RICHES, 6, 1) + bytes(36))
    market = Market16(chain, market_of(DEVELOPMENT_ID, base.address, mint, machine.genesis), payer)
    treasury = key("treasury").address
    tokens = mint + treasury + pack("<Q", _RICHES) + bytes(36) + b"\x01" + bytes(56)
    _put(machine, market.market.token_account(treasury), tokens)
    names = {name: key(name).address for name in ("admin", "publisher", "guardian")}
    roles = Roles(**names, voucher_key=key("voucher").address)
    recipe = opening(market.market, payer=payer, base=base, roles=roles, limits=_LIMITS)
    await market.run("open a market", recipe)
    await _deposits(market)
    address, create = create_table(payer.address, payer.address, await chain.slot() - 1)
    addresses = table_addresses(market.market)
    await market.call("make a lookup table", create, extend_table(
        address, payer.address, payer.address, addresses
    ))  # fmt: skip
    market.table = await read_tables(chain, [address])
    market.pass_time(_LIMITS.min_epoch_interval)
    return market


def _put(machine: Machine, address: bytes, data: bytes) -> None:
    machine.set_account(address, machine.rent_minimum(len(data)), data, TOKEN_PROGRAM)


async def _deposits(market: Market16) -> None:
    treasury = key("treasury")
    owners = [key(f"owner {number}").address for number in range(WALLETS)]
    for name, amount in (("deposit, first", 10**9), ("deposit, again", 10**9)):
        for owner in (*owners, market.market.ledger):
            call = calls.deposit(
                market.market,
                payer=market.payer.address,
                authority=treasury.address,
                owner=owner,
                amount=amount,
            )
            await market.call(name, call, signers=(treasury,))


def _tree(
    market: Market, kind: Kind, epoch: int, amounts: dict[bytes, int], depth: int
) -> tuple[Root, Iterator[Proof]]:
    """A root over these leaves at the left, of a tree so deep, and their proofs."""
    blank = Proof(
        kind=kind, ledger=market.ledger, address=bytes(32), epoch=epoch, index=0, amount=1, path=()
    )
    leaves = [
        replace(blank, address=address, amount=amount, index=index)
        for index, (address, amount) in enumerate(amounts.items())
    ]
    levels = levels_of(each.leaf for each in leaves)
    above = [sha256(bytes([number])).digest() for number in range(depth - len(levels) + 1)]
    root = root_at(levels)
    for sibling in above:
        root = hash_node(root, sibling)
    total = sum(amounts.values())
    earned, exitable = (total, 0) if kind is Kind.EARNINGS else (0, total)
    promised = Root(epoch, root, b"d" * 32, earned, exitable, leaf_count=2**depth)
    proofs = (replace(each, path=(*path_of(levels, each.index), *above)) for each in leaves)
    return promised, proofs


async def _settle(market: Market16, promised: Root, *, together: bool) -> None:
    """Publish, approve and activate, in two ways."""
    publisher, guardian = key("publisher"), key("guardian")
    promise = role_calls.publish_root(market.market, authority=publisher.address, promised=promised)
    approval = role_calls.approve_root(
        market.market, authority=guardian.address, epoch=promised.epoch, root=promised.root
    )
    if together:
        signers = (publisher, guardian)
        await market.call("publish and approve a root", promise, approval, signers=signers)
    else:
        await market.call("publish a root", promise, signers=(publisher,))
        await market.call("approve a root", approval, signers=(guardian,))
    market.pass_time(_LIMITS.fast_delay)
    await market.call("activate a root", role_calls.activate_root(market.market))


async def _claims(market: Market16, depth: int) -> None:
    """First and repeated claims of fresh wallets under roots of a depth."""
    count = 1 if depth == 0 else WALLETS
    wallets = [key(f"host {depth} {number}").address for number in range(count)]
    for turn, name in ((1, "first"), (2, "again")):
        ledger = (await read_claim(market.chain, market.market, wallets[0])).ledger
        # Totals never fall: each root promises all that was paid before it, and these.
        amounts = dict.fromkeys(wallets, EARNED * turn)
        promised, proofs = _tree(
            market.market, Kind.EARNINGS, ledger.last_epoch + 1, amounts, depth
        )
        total = max(ledger.active.total, ledger.total_claimed) + sum(amounts.values())
        whole = msgspec.structs.replace(promised, total=total)
        await _settle(market, whole, together=turn == 2)
        for proof in proofs:
            await _pay(market, f"claim, {name}, depth {depth}", await _plan(market, proof))


async def _plan(market: Market16, proof: Proof) -> Plan:
    state = await read_claim(market.chain, market.market, proof.address)
    return plan_claim(market.market, state, proof, payer=market.payer, tables=market.table)


async def _pay(market: Market16, name: str, plan: Plan) -> None:
    suffix = ", lookup table" if plan.recipe.tables else ""
    await market.run(f"{name}{suffix}", plan.recipe)


async def _vouchers(market: Market16) -> None:
    """Vouchers of fresh wallets, then a leaf that covers them."""
    place, chain = market.market, market.chain
    wallets = [key(f"voucher {number}").address for number in range(WALLETS)]
    for turn, name in ((1, "first"), (2, "again")):
        for wallet in wallets:
            state = await read_claim(chain, place, wallet)
            until = state.clock.unix_s + 600
            said = voucher_for(
                place, wallet, cumulative=EARNED * turn, expires_at=until, key_epoch=0
            )
            signed = sign_voucher(key("voucher"), said)
            plan = plan_redeem(place, state, signed, payer=market.payer, tables=market.table)
            await _pay(market, f"redeem, {name}", plan)
    ledger = (await read_claim(chain, place, wallets[0])).ledger
    amounts = dict.fromkeys(wallets, 2 * EARNED)
    promised, proofs = _tree(place, Kind.EARNINGS, ledger.last_epoch + 1, amounts, 20)
    total = max(ledger.active.total, ledger.total_claimed) + sum(amounts.values())
    await _settle(market, msgspec.structs.replace(promised, total=total), together=True)
    for proof in proofs:
        state = await read_claim(chain, place, proof.address)
        plan = plan_cover(place, state, proof, payer=market.payer, tables=market.table)
        await _pay(market, "cover, depth 20", plan)


async def _exits(market: Market16) -> None:
    """Depositors ask to leave, and do."""
    place, chain = market.market, market.chain
    owners = [key(f"owner {number}") for number in range(WALLETS)]
    for owner in owners:
        call = calls.request_exit(place, owner=owner.address)
        await market.call("request an exit", call, signers=(owner,))
    market.pass_time(_LIMITS.exit_after)
    ledger = (await read_exit(chain, place, owners[0].address)).ledger
    amounts = {owner.address: EARNED for owner in owners}
    promised, proofs = _tree(place, Kind.EXIT, ledger.last_epoch + 1, amounts, 20)
    total = ledger.active.total
    await _settle(market, msgspec.structs.replace(promised, total=total), together=True)
    for proof in proofs:
        state = await read_exit(chain, place, proof.address)
        plan = plan_exit(place, state, proof, payer=market.payer, tables=market.table)
        await _pay(market, "exit, depth 20", plan)
