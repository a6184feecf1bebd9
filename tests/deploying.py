"""Deployments over the chain in process: the loader's own code runs, whatever release it is of.

`main` plays the story on the newest LiteSVM with the main network's features, where programs of
SBPF v0 to v2 are refused: by a Python that has the newest solders, the other libraries behind it.
Out:  one JSON document: what each step came to.
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import trio
from solders.account import Account as VmAccount
from solders.pubkey import Pubkey

from coordinator.protocol.signing import Keypair, from_seed
from onchain.buffering import Means
from onchain.chain import LAMPORTS_PER_SOL as SOL
from onchain.chain_errors import ChainError, TransactionRefused
from onchain.deployment import Deployment
from onchain.loader import LOADER, data_address, program_hash
from onchain.machine import FAUCET_LAMPORTS, Machine
from onchain.sender import Pace
from onchain.simulated import SimulatedChain
from tests.program_vm import network

PACE: Final = Pace(poll_s=0.001, resend_s=0.001, patience_s=5.0)
FILES: Final = Path(__file__).parents[1] / "onchain" / "program"


def key(name: str) -> Keypair:
    """As `chains.key`, which imports a client that the newest solders does not suit."""
    return from_seed(sha256(name.encode()).digest())


PROGRAM: Final = key("program to deploy")


def silent(_done: int, _all: int) -> None:
    """Progress that nobody watches."""


def built(version: str) -> bytes:
    return (FILES / f"hyper_settlement.{version}.so").read_bytes()


def other(elf: bytes) -> bytes:
    """Another program that the loader takes too."""
    changed = elf.replace(b"HYPERNODE settlement", b"hypernode settlement")
    assert changed != elf
    return changed


def newest_machine() -> Machine:
    """The main network's features, and the one that ends SBPF v0 to v2."""
    machine = Machine(name="newest")
    machine._vm = network(without_old=True).with_sigverify(False).with_blockhash_check(False)
    faucet = VmAccount(FAUCET_LAMPORTS, b"", Pubkey.default(), executable=False)
    machine._vm.set_account(machine._faucet.pubkey(), faucet)
    machine._open_blocks(150)
    return machine


def means(chain: SimulatedChain, name: str = "deployer", lamports: int = 100 * SOL) -> Means:
    if lamports:
        chain.airdrop(key(name).address, lamports)
    return Means(chain, key(name), pace=PACE)


def deployment(who: Means, elf: bytes, *, with_key: bool = True) -> Deployment:
    program_key = PROGRAM if with_key else None
    return Deployment(who, elf, program=PROGRAM.address, program_key=program_key)


async def deployed(chain: SimulatedChain, who: Means, elf: bytes) -> Deployment:
    """A whole deployment; slots pass, as a program is there from the slot after it."""
    one = deployment(who, elf)
    await one.buffering.fill(silent)
    await one.release()
    chain.advance(2)
    return one


async def refusal(step: Any) -> str:
    """Why a step was refused; "" where it was not."""
    try:
        await step
    except TransactionRefused as error:
        return f"{error.code}: {' '.join(error.logs[-4:])}"
    except ChainError as error:
        return str(error)
    return ""


async def story() -> dict[str, Any]:
    """From nothing to a program that nobody can change."""
    chain = SimulatedChain(newest_machine())
    who, elf = means(chain), built("v3")
    told: dict[str, Any] = {"v0": await refusal(deployed(chain, who, built("v0")))}
    before = (await deployment(who, elf).look()).rent
    one = await deployed(chain, who, elf)
    told["rent"] = before
    told["held"] = await chain.balance(data_address(PROGRAM.address)) + await chain.balance(
        PROGRAM.address
    )
    longer = elf + bytes(7000)
    told["upgrade"] = await refusal(deployed(chain, who, longer))
    state = await deployment(who, longer).look()
    assert state.deployed is not None
    told["room"] = len(state.deployed.data) - len(elf)
    told["hash"] = program_hash(state.deployed.data) == program_hash(elf)
    stranger = means(chain, "stranger")
    told["stranger"] = await refusal(deployed(chain, stranger, other(elf)))
    told["final"] = await refusal(one.set_authority(None))
    told["after"] = await refusal(deployed(chain, who, other(elf)))
    (found,) = (await chain.accounts([PROGRAM.address])).values
    told["owner"] = found is not None and found.owner == LOADER
    return told


def main() -> None:
    """Play it, and print what it came to."""
    json.dump(trio.run(story), sys.stdout)
