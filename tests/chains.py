"""Chains for tests: one in process, one over loopback HTTP, and what both need to be shown.

`Stage` is a chain with its machine in reach, keys with lamports, transfers and a token. Whoever
tests against a chain writes the test once and gets both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from struct import pack
from typing import Any

import trio
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from coordinator.protocol.signing import Keypair, from_seed
from onchain.chain import Chain
from onchain.devnode import DevNode, Ports
from onchain.drafts import Budget
from onchain.endpoints import Node, Nodes
from onchain.machine import Machine
from onchain.simulated import SimulatedChain
from onchain.solana_chain import SolanaChain
from onchain.transactions import Recipe

SOL = 1_000_000_000
TOKEN = bytes(Pubkey.from_string("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"))


def key(name: str) -> Keypair:
    """The same key for the same name, always."""
    return from_seed(sha256(name.encode()).digest())


def pay(source: Keypair, target: bytes, lamports: int) -> Instruction:
    return transfer(
        TransferParams(
            from_pubkey=Pubkey(source.address), to_pubkey=Pubkey(target), lamports=lamports
        )
    )


def put_mint(machine: Machine, mint: bytes, decimals: int = 6, supply: int = 0) -> None:
    """A mint whose authority is the system program."""
    data = pack("<I32sQBB", 1, bytes(32), supply, decimals, 1) + bytes(36)
    machine.set_account(mint, machine.rent_minimum(82), data, TOKEN)


def put_tokens(machine: Machine, address: bytes, mint: bytes, owner: bytes, amount: int) -> None:
    """A token account with a balance."""
    data = mint + owner + pack("<Q", amount) + bytes(36) + b"\x01" + bytes(56)
    machine.set_account(address, machine.rent_minimum(165), data, TOKEN)


def fresh_machine(**how: Any) -> Machine:
    return Machine(name="test", **how)


@dataclass
class Stage:
    chain: Chain
    machine: Machine

    def rich(self, name: str, lamports: int = 10 * SOL) -> Keypair:
        made = key(name)
        self.machine.airdrop(made.address, lamports)
        return made

    async def transfer(
        self, source: Keypair, target: bytes, lamports: int, *, preflight: bool = True
    ) -> bytes:
        """Send a transfer with the newest blockhash."""
        blockhash = (await self.chain.latest_blockhash()).blockhash
        signed = Recipe((pay(source, target, lamports),), (source,)).sign(blockhash, Budget(10_000))
        return await self.chain.send(signed.raw, preflight=preflight)


@asynccontextmanager
async def served(node: DevNode) -> AsyncIterator[Ports]:
    """Serve a node on free ports for the time of a block."""
    async with trio.open_nursery() as nursery:
        serve = nursery.start(node.serve, "127.0.0.1", 0)
        yield await serve
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def on_stage(kind: str, **how: int) -> AsyncIterator[Stage]:
    """A stage of a kind: `simulated`, or `solana_chain` over loopback."""
    machine = fresh_machine(**how)
    with trio.fail_after(10):
        if kind == "simulated":
            yield Stage(SimulatedChain(machine), machine)
            return
        async with served(DevNode(machine, slot_s=None)) as ports:
            chain = SolanaChain(Nodes([Node(f"http://127.0.0.1:{ports.http}")], patience_s=0.5))
            try:
                yield Stage(chain, machine)
            finally:
                with trio.CancelScope(shield=True):
                    await chain.aclose()
