"""A program is deployed or upgraded: by steps, each of which an interrupted run finds done.

In:   a chain, who pays and signs, the bytes of a program, its address.
Out:  the program on the chain, read back and compared; what it costs, before.
Rules:
  1. Where a run stands is read from the chain, never from a file of ours: the buffer's address
     follows from payer and bytes.
  2. What lies there afterwards is read and compared, byte by byte, before it is called done.
  3. Where the program's authority is another's, the full buffer is handed to it, and the upgrade is
     left to it.
Not covered: closing a program (its address would be lost); programs of loaders before the third.
Source: solana-loader-v3-interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onchain import loader
from onchain.buffering import Buffering, Means
from onchain.chain import LAMPORTS_PER_SIGNATURE
from onchain.chain_errors import ChainError, TransactionRefused
from onchain.deeds import Elsewhere, rehearse
from onchain.drafts import Signer
from onchain.loader import Buffer, Deployed
from onchain.sender import Sent
from onchain.transactions import Recipe

#: Signatures besides the pieces': buffer, extension, deployment (two), authority.
_OTHERS: Final = 5


class DeploymentError(ChainError):
    """The deployment cannot go on."""


class LacksLamports(DeploymentError):
    """Who pays has too few lamports; nothing was sent."""

    def __init__(self, has: int, needs: int) -> None:
        super().__init__(f"{needs} lamports are needed at once, and {has} are there")
        self.has = has
        self.needs = needs


class NotDeployed(DeploymentError):
    """What lies on the chain afterwards is not what was deployed."""


@dataclass(frozen=True, slots=True)
class Situation:
    """How far it is, and what the rest costs."""

    deployed: Deployed | None
    buffer: Buffer | None
    #: Pieces of the file, and those that are not in the buffer yet.
    pieces: int
    missing: int
    #: Bytes that the program lacks.
    extension: int
    #: Lamports that stay on the chain: the rent of program and data.
    rent: int
    #: Lamports of fees, priority not counted.
    fees: int
    #: Lamports that must be there at the dearest moment: the buffer's come back afterwards.
    peak: int

    def has(self, elf: bytes) -> bool:
        """Whether the program is this file already."""
        return self.deployed is not None and is_same(self.deployed.data, elf)


class Deployment:
    """One program's bytes on their way to one address.

    Args:
        means: With what.
        elf: The bytes.
        program: The program's address.
        program_key: Its key, which a first deployment needs.
        buffer: Another buffer than the usual one, made by somebody else.
    """

    def __init__(
        self,
        means: Means,
        elf: bytes,
        *,
        program: bytes,
        program_key: Signer | None = None,
        buffer: bytes | None = None,
    ) -> None:
        assert program_key is None or program_key.address == program
        self._means = means
        self._elf = elf
        self._program = program
        self._program_key = program_key
        self.buffering = Buffering(means, elf, buffer)

    # ---- how far it is ------------------------------------------------------------------------

    async def look(self) -> Situation:
        """Where it stands.

        Raises:
            ForeignBuffer, NoProgram: something else lies at one of the addresses.
            ChainError: the chain could not be asked.
        """
        data = loader.data_address(self._program)
        found = await self._means.chain.accounts([self._program, data, self.buffering.address])
        deployed = loader.parse_deployed(found.values[0], found.values[1])
        buffer = loader.parse_buffer(found.values[2])
        missing = len(self.buffering.missing(buffer))
        extension = 0 if deployed is None else self._extension(len(deployed.data))
        rent = await self._rent(deployed, extension)
        fees = (missing + _OTHERS) * LAMPORTS_PER_SIGNATURE
        held = 0 if buffer else await self._means.chain.rent_minimum(self.buffering.size)
        return Situation(
            deployed,
            buffer,
            self.buffering.pieces,
            missing,
            extension,
            rent,
            fees,
            rent + fees + held,
        )

    def _extension(self, room: int) -> int:
        lacks = len(self._elf) - room
        return 0 if lacks <= 0 else max(lacks, loader.EXTENSION_BYTES_MIN)

    async def _rent(self, deployed: Deployed | None, extension: int) -> int:
        """What the accounts must hold beyond what they hold."""
        minimum = self._means.chain.rent_minimum
        if deployed is None:
            data = await minimum(loader.DATA_HEAD + len(self._elf))
            return data + await minimum(loader.PROGRAM_BYTES)
        if not extension:
            return 0
        size = loader.DATA_HEAD + len(deployed.data)
        return await minimum(size + extension) - await minimum(size)

    async def check_payer(self, situation: Situation) -> None:
        """That who pays can.

        Raises:
            LacksLamports: not by far enough.
        """
        has = await self._means.chain.balance(self._means.payer.address)
        if has < situation.peak:
            raise LacksLamports(has, situation.peak)

    # ---- steps --------------------------------------------------------------------------------

    async def release(self) -> Sent | None:
        """Make the full buffer the program, and compare; None where it is that already.

        Raises:
            DeploymentError: the program's key is needed, or its authority is another's.
            NotDeployed: something else lies there afterwards.
            TransactionRefused: the loader would not: its words are in the log.
        """
        situation = await self.look()
        sent = None
        if not situation.has(self._elf):
            deployed = situation.deployed
            sent = await (self._deploy() if deployed is None else self._upgrade(situation))
        await self.check()
        return sent

    async def _deploy(self) -> Sent:
        if self._program_key is None:
            msg = "there is no program at this address yet, so its key must sign: --program-keypair"
            raise DeploymentError(msg)
        calls = loader.deploy(
            self._means.payer.address,
            self._program,
            self.buffering.address,
            size=len(self._elf),
            lamports=await self._means.chain.rent_minimum(loader.PROGRAM_BYTES),
        )
        return await self._means.do("deploying", calls, self._is_released, self._program_key)

    async def _upgrade(self, situation: Situation) -> Sent:
        payer, deployed = self._means.payer.address, situation.deployed
        if deployed is None or deployed.authority != payer:
            msg = "who signs may not upgrade this program"
            raise DeploymentError(msg)
        if situation.extension:
            await self._extend(situation.extension)
        call = loader.upgrade(self._program, self.buffering.address, payer, payer)
        return await self._means.do("upgrading", [call], self._is_released)

    async def _extend(self, more: int) -> None:
        payer = self._means.payer
        call = loader.extend(self._program, payer.address, more)
        try:
            recipe = Recipe((call,), (payer,))
            await rehearse(self._means.chain, recipe, self._program, self._means.fees)
        except TransactionRefused:
            # Newer loaders ask the upgrade authority too; should that fail as well, it is told.
            call = loader.extend_checked(self._program, payer.address, payer.address, more)

        async def is_extended() -> bool:
            return (await self.look()).extension == 0

        await self._means.do("extending the program", [call], is_extended)

    def upgrade_elsewhere(self, authority: bytes) -> Recipe:
        """The upgrade that another authority signs; it pays its fee and gets the buffer's rent."""
        call = loader.upgrade(self._program, self.buffering.address, authority, authority)
        return Recipe((call,), (Elsewhere(authority),))

    async def set_authority(self, new: bytes | None) -> Sent | None:
        """Hand the program to another, or to nobody for ever; None where it is so already."""

        async def is_set() -> bool:
            deployed = (await self.look()).deployed
            return deployed is not None and deployed.authority == new

        if await is_set():
            return None
        data = loader.data_address(self._program)
        call = loader.set_authority(data, self._means.payer.address, new)
        return await self._means.do("setting the upgrade authority", [call], is_set)

    async def check(self) -> Deployed:
        """Read the program back.

        Raises:
            NotDeployed: it is another.
        """
        deployed = (await self.look()).deployed
        if deployed is None or not is_same(deployed.data, self._elf):
            raise NotDeployed(NotDeployed.__doc__)
        return deployed

    async def _is_released(self) -> bool:
        return (await self.look()).has(self._elf)


def is_same(data: bytes, elf: bytes) -> bool:
    """Whether a program's bytes are this file, and nothing but zeros behind it."""
    return data[: len(elf)] == elf and not any(data[len(elf) :])
