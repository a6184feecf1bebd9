"""The upgradeable loader: its instructions, and what its accounts say.

In:   addresses (32 bytes), bytes of programs; accounts of the chain.
Out:  instructions as solders has them; `Buffer`, `Deployed`.
Rules:
  1. A buffer's address follows from who pays and what is in it (`create_with_seed`): nobody has
     to keep a key to go on with a deployment.
  2. An instruction bears the byte that newer loaders ask for; older ones read past it.
Not covered: loader-v4, migrations.
Source: solana-loader-v3-interface: `UpgradeableLoaderInstruction`, `UpgradeableLoaderState`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct, pack
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import (
    CreateAccountParams,
    CreateAccountWithSeedParams,
    create_account,
    create_account_with_seed,
)

from onchain.account_words import described
from onchain.address import decode_address, encode_address
from onchain.chain import CLOCK_ADDRESS, Account
from onchain.errors import OnchainError
from onchain.places import SYSTEM_PROGRAM, derived

LOADER: Final = decode_address("BPFLoaderUpgradeab1e11111111111111111111111")
RENT_SYSVAR: Final = decode_address("SysvarRent111111111111111111111111111111111")
#: Bytes before a buffer's and a program's data, and of a program's account.
BUFFER_HEAD: Final = 37
DATA_HEAD: Final = 45
PROGRAM_BYTES: Final = 36
#: What fits into one transaction beside one signature and four addresses: 958 bytes, less a spare.
WRITE_BYTES: Final = 900
#: Newer loaders extend by no less.
EXTENSION_BYTES_MIN: Final = 10_240

_BUFFER, _PROGRAM, _DATA = 1, 2, 3
_HEAD: Final = Struct("<I")
_OPTION: Final = Struct("<B32s")
_SLOT: Final = Struct("<Q")
_SEED_CHARS: Final = 32


class NoProgram(OnchainError):
    """At this address lies no program of the upgradeable loader."""


class ForeignBuffer(OnchainError):
    """This buffer is none of ours: another holds its authority, or it is no buffer."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Bytes of a program on their way to it."""

    address: bytes
    #: None: nobody may write any more.
    authority: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Deployed:
    """A program on the chain."""

    address: bytes
    #: Slot of its latest deployment.
    slot: int
    #: Who may replace it; None: nobody, ever.
    authority: bytes | None
    #: Its file, and zeros behind it as far as there is room.
    data: bytes


def program_hash(data: bytes) -> str:
    """What verifiers compare: SHA-256 of a program without the zeros behind it.

    Source: solana-verifiable-build's `get-program-hash`.
    """
    return sha256(data.rstrip(b"\0")).hexdigest()


def data_address(program: bytes) -> bytes:
    """Where the loader keeps a program's bytes."""
    return derived(LOADER, program).address


def buffer_seed(data: bytes) -> str:
    """The same for the same file."""
    return sha256(b"hypernode buffer" + data).hexdigest()[:_SEED_CHARS]


def buffer_address(payer: bytes, data: bytes) -> bytes:
    """The buffer that a payer makes for a file."""
    return bytes(Pubkey.create_with_seed(Pubkey(payer), buffer_seed(data), Pubkey(LOADER)))


# ---- reading -------------------------------------------------------------------------------------


def parse_buffer(account: Account | None) -> Buffer | None:
    """The buffer in an account; None where there is nothing.

    Raises:
        ForeignBuffer: something else lies there.
    """
    if account is None:
        return None
    data = account.data
    if account.owner != LOADER or len(data) < BUFFER_HEAD or _kind(data) != _BUFFER:
        raise ForeignBuffer(ForeignBuffer.__doc__)
    return Buffer(account.address, _option(data, 4), data[BUFFER_HEAD:])


def parse_deployed(program: Account | None, data: Account | None) -> Deployed | None:
    """The program in its two accounts; None where there is none yet.

    Raises:
        NoProgram: something else lies there, or the program was closed.
    """
    if program is None:
        return None
    head = program.data
    if program.owner != LOADER or len(head) < PROGRAM_BYTES or _kind(head) != _PROGRAM:
        where = encode_address(program.address)
        msg = f"at {where} lies {described(program)}, not a program of the upgradeable loader"
        raise NoProgram(msg)
    if head[4:PROGRAM_BYTES] != data_address(program.address):
        raise NoProgram(NoProgram.__doc__)
    if data is None or data.owner != LOADER or len(data.data) < DATA_HEAD:
        msg = "this program was closed: its address can never be used again"
        raise NoProgram(msg)
    if _kind(data.data) != _DATA:
        raise NoProgram(NoProgram.__doc__)
    (slot,) = _SLOT.unpack_from(data.data, 4)
    return Deployed(program.address, slot, _option(data.data, 12), data.data[DATA_HEAD:])


def _kind(data: bytes) -> int:
    kind: int = _HEAD.unpack_from(data)[0]
    return kind


def _option(data: bytes, at: int) -> bytes | None:
    is_there, key = _OPTION.unpack_from(data, at)
    return bytes(key) if is_there else None


# ---- instructions --------------------------------------------------------------------------------


def create_buffer(payer: bytes, data: bytes, lamports: int) -> tuple[Instruction, Instruction]:
    """Make the buffer of a file; `payer` signs, and is its authority."""
    buffer = buffer_address(payer, data)
    made = create_account_with_seed(
        CreateAccountWithSeedParams(
            from_pubkey=Pubkey(payer),
            to_pubkey=Pubkey(buffer),
            base=Pubkey(payer),
            seed=buffer_seed(data),
            lamports=lamports,
            space=BUFFER_HEAD + len(data),
            owner=Pubkey(LOADER),
        )
    )
    return made, _call(pack("<I", 0), (buffer, False, True), (payer, False, False))


def write(buffer: bytes, authority: bytes, offset: int, piece: bytes) -> Instruction:
    """Put bytes into a buffer; its authority signs."""
    data = pack("<IIQ", 1, offset, len(piece)) + piece
    return _call(data, (buffer, False, True), (authority, True, False))


def deploy(
    payer: bytes, program: bytes, buffer: bytes, *, size: int, lamports: int
) -> tuple[Instruction, Instruction]:
    """Make a program of a buffer; `payer` and `program` sign. The buffer's lamports come back.

    Args:
        payer: Pays, and becomes the upgrade authority; the buffer's authority.
        program: The program's address.
        buffer: What is deployed.
        size: Bytes that it may have, ever, unless it is extended.
        lamports: The rent of the program's account.
    """
    account = create_account(
        CreateAccountParams(
            from_pubkey=Pubkey(payer),
            to_pubkey=Pubkey(program),
            lamports=lamports,
            space=PROGRAM_BYTES,
            owner=Pubkey(LOADER),
        )
    )
    call = _call(
        pack("<IQ", 2, size) + b"\1",
        *((payer, True, True), (data_address(program), False, True), (program, False, True)),
        *((buffer, False, True), (RENT_SYSVAR, False, False), (CLOCK_ADDRESS, False, False)),
        *((SYSTEM_PROGRAM, False, False), (payer, True, False)),
    )
    return account, call


def upgrade(program: bytes, buffer: bytes, authority: bytes, spill: bytes) -> Instruction:
    """Replace a program by a buffer; its authority signs, `spill` gets the buffer's lamports."""
    return _call(
        pack("<I", 3) + b"\1",
        *((data_address(program), False, True), (program, False, True), (buffer, False, True)),
        *((spill, False, True), (RENT_SYSVAR, False, False), (CLOCK_ADDRESS, False, False)),
        (authority, True, False),
    )


def set_authority(account: bytes, current: bytes, new: bytes | None) -> Instruction:
    """Hand a buffer or a program's data to another, or to nobody for ever; `current` signs."""
    places = [(account, False, True), (current, True, False)]
    return _call(pack("<I", 4), *places, *([] if new is None else [(new, False, False)]))


def close_buffer(buffer: bytes, authority: bytes, recipient: bytes) -> Instruction:
    """Drop a buffer and take its lamports back; its authority signs."""
    places = (buffer, False, True), (recipient, False, True), (authority, True, False)
    return _call(pack("<I", 5) + b"\0", *places)


def extend(program: bytes, payer: bytes, more: int) -> Instruction:
    """Give a program room; `payer` signs. Clusters to come refuse it: see `extend_checked`."""
    return _call(
        pack("<II", 6, more),
        *((data_address(program), False, True), (program, False, True)),
        *((SYSTEM_PROGRAM, False, False), (payer, True, True)),
    )


def extend_checked(program: bytes, authority: bytes, payer: bytes, more: int) -> Instruction:
    """The same where the upgrade authority must sign too."""
    return _call(
        pack("<II", 9, more),
        *((data_address(program), False, True), (program, False, True)),
        *((authority, True, False), (SYSTEM_PROGRAM, False, False), (payer, True, True)),
    )


def _call(data: bytes, *places: tuple[bytes, bool, bool]) -> Instruction:
    metas = [
        AccountMeta(Pubkey(address), is_signer=signs, is_writable=written)
        for address, signs, written in places
    ]
    return Instruction(Pubkey(LOADER), data, metas)
