"""Deployments by the real loader: from nothing, interrupted, lost pieces, upgraded, handed over.

The pinned LiteSVM takes programs of SBPF v0 only; the newest one, in an environment of its own,
plays the story with v3 and the main network's features.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from typing import Any

import pytest

from onchain.buffering import Means
from onchain.chain import LAMPORTS_PER_SOL as SOL
from onchain.chain_errors import ChainUnreachable, TransactionRefused
from onchain.deployment import (
    Deployment,
    DeploymentError,
    LacksLamports,
    NotDeployed,
)
from onchain.loader import (
    LOADER,
    WRITE_BYTES,
    ForeignBuffer,
    NoProgram,
    buffer_address,
    data_address,
    program_hash,
    set_authority,
    upgrade,
)
from onchain.machine import Machine
from onchain.simulated import SimulatedChain
from tests.deploying import PROGRAM, built, deployed, deployment, key, means, other, silent
from tests.test_program_vm import chain_next
from tests.tree import ROOT

ELF = built("v0")
OTHER = other(ELF)
PIECES = -(-len(ELF) // WRITE_BYTES)


class Interrupted(Exception):
    """The process went away."""


class Fragile(SimulatedChain):
    """Counts what is sent; breaks off, or loses it, where it is told to."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.sends = 0
        self.breaks_after: int | None = None
        self.loses: set[int] = set()

    async def send(self, transaction: bytes, *, preflight: bool = True) -> bytes:
        self.sends += 1
        if self.breaks_after is not None and self.sends > self.breaks_after:
            raise Interrupted
        if self.sends in self.loses:
            msg = "no answer"
            raise ChainUnreachable(msg)
        return await super().send(transaction, preflight=preflight)


@pytest.fixture
def chain() -> Fragile:
    return Fragile(Machine(name="deployments", deployable=True))


async def program_data(chain: SimulatedChain) -> bytes:
    (found,) = (await chain.accounts([data_address(PROGRAM.address)])).values
    assert found is not None
    return found.data[45:]


async def test_a_program_is_deployed_and_costs_what_was_said(chain: Fragile) -> None:
    who = means(chain)
    before = await deployment(who, ELF).look()
    had = await chain.balance(who.payer.address)
    await deployed(chain, who, ELF)
    paid = had - await chain.balance(who.payer.address)
    after = await deployment(who, ELF).look()

    assert (before.deployed, before.buffer, before.missing) == (None, None, PIECES)
    assert await program_data(chain) == ELF
    assert after.deployed is not None
    assert after.deployed.authority == who.payer.address
    assert after.has(ELF)
    assert before.rent < paid <= before.rent + before.fees
    assert chain.sends == PIECES + 2


async def test_what_was_deployed_runs(chain: Fragile) -> None:
    await deployed(chain, means(chain), ELF)
    (account,) = (await chain.accounts([PROGRAM.address])).values

    assert account is not None
    assert account.executable
    assert account.owner == LOADER


async def test_twice_is_once(chain: Fragile) -> None:
    who = means(chain)
    await deployed(chain, who, ELF)
    sends = chain.sends

    assert await deployment(who, ELF).release() is None
    assert chain.sends == sends


@pytest.mark.parametrize("after", [1, 2, PIECES // 2, PIECES, PIECES + 1])
async def test_a_run_that_was_interrupted_goes_on(chain: Fragile, after: int) -> None:
    who = means(chain)
    chain.breaks_after = after
    with pytest.raises((Interrupted, BaseExceptionGroup)):
        await deployed(chain, who, ELF)
    chain.breaks_after = None
    situation = await deployment(who, ELF).look()
    landed = len(chain.machine.landed) - 1  # without the gift
    await deployed(chain, who, ELF)

    assert await program_data(chain) == ELF
    assert situation.missing == max(0, PIECES + 1 - landed)
    # Nothing was written twice.
    assert len(chain.machine.landed) == 1 + 1 + PIECES + 1


async def test_lost_pieces_are_sent_again(chain: Fragile) -> None:
    chain.loses = {2, 3, 5, 8, 13, 21}
    await deployed(chain, means(chain), ELF)

    assert await program_data(chain) == ELF
    assert chain.sends == PIECES + 2 + len(chain.loses)


async def test_a_piece_that_is_wrong_is_written_again(chain: Fragile) -> None:
    who = means(chain)
    one = deployment(who, ELF)
    await one.buffering.fill(silent)
    account = chain.machine.newest(one.buffering.address)
    assert account is not None
    data = bytearray(account.data)
    data[37 + 5 * WRITE_BYTES] ^= 1
    chain.machine.set_account(one.buffering.address, account.lamports, bytes(data), LOADER)

    assert (await one.look()).missing == 1
    await deployed(chain, who, ELF)
    assert await program_data(chain) == ELF


async def test_an_upgrade_makes_room_first(chain: Fragile) -> None:
    who, longer = means(chain), ELF + bytes(500)
    await deployed(chain, who, ELF)
    situation = await deployment(who, longer).look()
    await deployed(chain, who, longer)

    assert situation.extension == 0 or situation.rent > 0
    assert program_hash(await program_data(chain)) == program_hash(ELF)
    assert len(await program_data(chain)) >= len(longer)


async def test_who_lacks_lamports_is_told_before(chain: Fragile) -> None:
    who = means(chain, "poor", lamports=SOL // 10)
    one = deployment(who, ELF)
    with pytest.raises(LacksLamports) as caught:
        await one.check_payer(await one.look())

    assert caught.value.has == SOL // 10
    assert caught.value.needs > SOL // 10
    assert chain.sends == 0


async def test_a_first_deployment_needs_the_programs_key(chain: Fragile) -> None:
    who = means(chain)
    one = deployment(who, ELF, with_key=False)
    await one.buffering.fill(silent)

    with pytest.raises(DeploymentError, match="--program-keypair"):
        await one.release()


async def test_a_stranger_can_neither_upgrade_nor_take_over(chain: Fragile) -> None:
    await deployed(chain, means(chain), ELF)
    stranger = means(chain, "stranger")
    one = deployment(stranger, OTHER)
    await one.buffering.fill(silent)
    with pytest.raises(DeploymentError, match="may not upgrade"):
        await one.release()

    async def never() -> bool:
        return False

    address = stranger.payer.address
    for call in (
        upgrade(PROGRAM.address, one.buffering.address, address, address),
        set_authority(data_address(PROGRAM.address), address, address),
    ):
        with pytest.raises(TransactionRefused, match="IncorrectAuthority"):
            await stranger.do("by force", [call], never)
    assert await program_data(chain) == ELF


async def test_a_program_becomes_final(chain: Fragile) -> None:
    who = means(chain)
    one = await deployed(chain, who, ELF)
    await one.set_authority(None)

    assert (await one.check()).authority is None
    assert await one.set_authority(None) is None
    with pytest.raises(DeploymentError):
        await deployed(chain, who, OTHER)


async def test_a_buffer_is_handed_to_the_programs_authority(chain: Fragile) -> None:
    """As with a multisig: one key writes, another releases."""
    await deployed(chain, means(chain), ELF)
    writer = means(chain, "writer")
    one = deployment(writer, OTHER)
    await one.buffering.fill(silent)
    await one.buffering.hand_over(key("deployer").address)
    assert await one.buffering.hand_over(key("deployer").address) is None
    owner = Means(chain, key("deployer"), pace=writer.pace)
    released = Deployment(owner, OTHER, program=PROGRAM.address, buffer=one.buffering.address)
    await released.release()

    assert (await released.check()).authority == key("deployer").address
    assert await program_data(chain) == OTHER


async def test_a_buffer_is_closed_and_its_lamports_come_back(chain: Fragile) -> None:
    who = means(chain)
    had = await chain.balance(who.payer.address)
    one = deployment(who, ELF)
    await one.buffering.fill(silent)
    held = await chain.balance(one.buffering.address)
    await one.buffering.close()

    assert await one.buffering.close() is None
    assert await one.buffering.read() is None
    assert held > 0
    assert had - await chain.balance(who.payer.address) == chain.sends * 5_000


async def test_a_foreign_buffer_is_refused(chain: Fragile) -> None:
    who, stranger = means(chain), means(chain, "stranger")
    theirs = deployment(stranger, ELF)
    await theirs.buffering.fill(silent)
    one = Deployment(who, OTHER, program=PROGRAM.address, buffer=theirs.buffering.address)

    with pytest.raises(ForeignBuffer):
        await one.buffering.fill(silent)
    nothing = Deployment(who, ELF, program=PROGRAM.address, buffer=key("nothing").address)
    with pytest.raises(ForeignBuffer, match="no buffer at this address"):
        await nothing.buffering.fill(silent)


async def test_what_is_no_program_is_refused(chain: Fragile) -> None:
    chain.machine.set_account(PROGRAM.address, SOL, bytes(36))

    with pytest.raises(NoProgram):
        await deployment(means(chain), ELF).look()


async def test_a_closed_program_is_told(chain: Fragile) -> None:
    await deployed(chain, means(chain), ELF)
    chain.machine.set_account(data_address(PROGRAM.address), 0, b"")

    with pytest.raises(NoProgram, match="was closed"):
        await deployment(means(chain), ELF).look()


async def test_what_lies_there_is_compared(chain: Fragile) -> None:
    who = means(chain)
    await deployed(chain, who, ELF)

    with pytest.raises(NotDeployed):
        await deployment(who, OTHER).check()


async def test_a_broken_program_is_the_loaders_to_refuse(chain: Fragile) -> None:
    broken = ELF[:64] + b"\xff" * 64 + ELF[128:]

    with pytest.raises(TransactionRefused) as caught:
        await deployed(chain, means(chain), broken)
    assert "BPFLoaderUpgradeab1e" in "".join(caught.value.logs)


def test_a_buffers_address_follows_from_payer_and_bytes() -> None:
    one, other = key("one").address, key("other").address

    assert buffer_address(one, b"a") == buffer_address(one, b"a")
    assert (
        len({buffer_address(one, b"a"), buffer_address(one, b"b"), buffer_address(other, b"a")})
        == 3
    )


@pytest.mark.slow
def test_the_newest_machine_deploys_upgrades_and_finalises() -> None:
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]; sys.path.append(sys.argv[2]); "
        "from tests.deploying import main; main()"
    )
    libraries = sysconfig.get_paths()["purelib"]
    done = subprocess.run(
        [chain_next(), "-I", "-c", code, str(ROOT), libraries],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told: dict[str, Any] = json.loads(done.stdout)

    assert "sbpf_version required by the executable which are not enabled" in told["v0"]
    assert told["rent"] == told["held"]
    assert told["upgrade"] == told["final"] == ""
    assert told["room"] >= 7000
    assert told["hash"] is told["owner"] is True
    assert "may not upgrade" in told["stranger"]
    assert "may not upgrade" in told["after"]
