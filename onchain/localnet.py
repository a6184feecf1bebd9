"""The development chain as an owner uses it: a node with the program, and what moves it from afar.

In:   a folder for its state, the program's file; the address of a running node.
Out:  `DevNode`, ready to be served; `LocalNet`, which lets time pass and gives SOL and HYPER away.
Rules:
  1. The program lies at `DEVELOPMENT_ID`, always as this package has it: an older one in a kept
     state is replaced.
  2. Keys of the development mint follow from its name, and are no secret. So `LocalNet` refuses
     every node but a development one, told by its genesis hash.
Not covered: other clusters' faucets, other tokens.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

import based58

from coordinator.clock import Clock, SystemClock
from coordinator.limits import DEVNODE_WARP_SLOTS_MAX
from coordinator.protocol.signing import SIGNATURE_BYTES, Keypair, from_seed
from onchain import rpc_values as read
from onchain.address import encode_address
from onchain.amounts import DECIMALS
from onchain.calls import create_token_account
from onchain.chain import Commitment
from onchain.chain_errors import ChainError, TransactionRefused
from onchain.devnode import CONFIRM_SLOTS, FINALIZE_SLOTS, DevNode
from onchain.drafts import Budget
from onchain.endpoints import Node, Nodes
from onchain.machine import SLOT_MS, Machine
from onchain.places import TOKEN_2022_PROGRAM, TOKEN_PROGRAM, Market
from onchain.program import DEVELOPMENT_ID
from onchain.program.idl import NAME
from onchain.solana_chain import SolanaChain
from onchain.token_calls import NewMint, create_mint, mint_to
from onchain.transactions import Recipe

#: Time for one question, s: the node is on this machine, or it is not there.
PATIENCE_S: Final = 2.0
CHAIN_NAME: Final = "hypernode"
GENESIS: Final = sha256(b"genesis " + CHAIN_NAME.encode()).digest()
#: Lamports that the mint's authority is given when it lacks them: it pays rent and fees.
_AUTHORITY_LAMPORTS: Final = 10_000_000_000
_AUTHORITY_LAMPORTS_MIN: Final = 1_000_000_000
#: Compute units that minting may use: more than it takes, and they cost nothing here.
_UNITS: Final = 400_000


class NoLocalNet(ChainError):
    """This node is no development chain: the command is for `hypernode chain dev` only."""


def open_node(
    *,
    folder: Path | None = None,
    slot_s: float | None = SLOT_MS / 1000,
    program: bytes | None = None,
    deployable: bool = False,
    clock: Clock | None = None,
) -> DevNode:
    """A node with the settlement program, not yet served.

    Args:
        folder: Where the chain is kept; in memory only without one.
        slot_s: Seconds of a slot; None for slots that move only when they are told to: all that
            lands is final at once then, for nobody could wait for it.
        program: The bytes of the program; those of this package unless given.
        deployable: Whether the upgradeable loader takes programs (SBPF v0 only).
        clock: What time it is at the start.

    Raises:
        machine_state.BadState: the folder's chain cannot be loaded.
        ValueError: the program cannot.
    """
    clock = clock or SystemClock()
    machine = Machine(
        name=CHAIN_NAME,
        unix_s=clock.wall_ms() // 1000,
        confirm_slots=0 if slot_s is None else CONFIRM_SLOTS,
        finalize_slots=0 if slot_s is None else FINALIZE_SLOTS,
        deployable=deployable,
    )
    node = DevNode(machine, folder=folder, slot_s=slot_s, clock=clock)
    machine.add_program(DEVELOPMENT_ID, program_bytes("v0") if program is None else program)
    return node


def program_bytes(version: str) -> bytes:
    """The built settlement program, `v0` or `v3`."""
    return files("onchain.program").joinpath(f"{NAME}.{version}.so").read_bytes()


@dataclass(frozen=True, slots=True)
class DevelopmentMint:
    """HYPER on a development chain; whoever reads this may mint it."""

    token_program: bytes = TOKEN_PROGRAM

    @property
    def keys(self) -> tuple[Keypair, Keypair]:
        """Of the mint and of its authority."""
        words = [CHAIN_NAME.encode(), self.token_program]
        mint, authority = (sha256(b" ".join([*words, what])) for what in (b"mint", b"authority"))
        return from_seed(mint.digest()), from_seed(authority.digest())

    @property
    def new(self) -> NewMint:
        mint, authority = self.keys
        return NewMint(
            mint.address, authority.address, "HYPER", "HYPER", DECIMALS, self.token_program
        )

    @property
    def market(self) -> Market:
        """A market without a ledger, for addresses of token accounts."""
        return Market(DEVELOPMENT_ID, bytes(32), self.new.mint, self.token_program)


def development_mint(*, token_2022: bool = False) -> DevelopmentMint:
    return DevelopmentMint(TOKEN_2022_PROGRAM if token_2022 else TOKEN_PROGRAM)


class LocalNet:
    """A running development node, from afar; `aclose` it at the end."""

    def __init__(self, url: str, *, patience_s: float = PATIENCE_S) -> None:
        self._nodes = Nodes([Node(url)], patience_s=patience_s)
        self.chain = SolanaChain(self._nodes)

    async def check(self) -> None:
        """Refuse whatever is no development chain.

        Raises:
            NoLocalNet: it has another genesis.
        """
        if await self.chain.genesis_hash() != GENESIS:
            raise NoLocalNet(NoLocalNet.__doc__)

    async def advance(self, ms: int) -> int:
        """Let so much time pass, and the slots that belong to it; the new slot."""
        await self.check()
        slots, step_max = -(-ms // SLOT_MS), DEVNODE_WARP_SLOTS_MAX
        slot = 0
        parse = partial(read.integer, what="a slot")
        while slots > 0:
            step = min(slots, step_max)
            took = min(ms, step * SLOT_MS)
            asked = [{"slots": step, "ms": took}]
            slot, _ = await self._nodes.ask("hyperAdvance", asked, parse, rounds=1)
            slots, ms = slots - step, ms - took
        return slot

    async def airdrop(self, address: bytes, lamports: int) -> bytes:
        """Give lamports; the signature."""
        await self.check()
        asked = [encode_address(address), lamports]
        signature, _ = await self._nodes.ask("requestAirdrop", asked, _signature, rounds=1)
        return signature

    async def mint(self, mint: DevelopmentMint, wallet: bytes, amount: int) -> bytes:
        """Give HYPER, and make its mint where there is none; the wallet's token account.

        Raises:
            TransactionRefused: the token program would not.
        """
        await self.check()
        keys, market = mint.keys, mint.market
        authority = keys[1].address
        newest = Commitment.PROCESSED
        if await self.chain.balance(authority, newest) < _AUTHORITY_LAMPORTS_MIN:
            await self.airdrop(authority, _AUTHORITY_LAMPORTS)
        instructions = [
            create_token_account(market, payer=authority, wallet=wallet),
            mint_to(mint.new, account=market.token_account(wallet), amount=amount),
        ]
        signers = [keys[1]]
        if (await self.chain.accounts([mint.new.mint], newest)).values[0] is None:
            lamports = await self.chain.rent_minimum(mint.new.size)
            instructions[:0] = create_mint(mint.new, payer=authority, lamports=lamports)
            signers.append(keys[0])
        await self._send(Recipe(tuple(instructions), tuple(signers)))
        return market.token_account(wallet)

    async def _send(self, recipe: Recipe) -> None:
        """Send and see it landed: a development node runs it at once, or refuses it."""
        latest = await self.chain.latest_blockhash(Commitment.PROCESSED)
        # The limit makes two equal gifts two transactions, also where no slot passes in between.
        budget = Budget(_UNITS + secrets.randbelow(_UNITS))
        signature = await self.chain.send(recipe.sign(latest.blockhash, budget).raw)
        (status,) = (await self.chain.statuses([signature])).values
        if status is not None and status.fault is not None:
            raise TransactionRefused(status.fault, signature=signature)

    async def aclose(self) -> None:
        await self.chain.aclose()


def _signature(value: object) -> bytes:
    """What a node answers for a transaction that it sent itself."""
    try:
        signature: bytes = based58.b58decode(str(value).encode())
    except ValueError as error:
        raise read.broken("no signature") from error
    if len(signature) != SIGNATURE_BYTES:
        raise read.broken("no signature")
    return signature
