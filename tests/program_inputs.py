"""Cases of the settlement program's tables as short inputs of its native host (`fuzzed.c`).

In:   a scene: accounts, instructions of one transaction, clock, rent.
Out:  the bytes that `program_native/fuzzed.c` reads: what the VM would give to our instruction.
Rules:
  1. An account that an instruction names twice is told once and then by its number, and signs or is
     written if any instruction of the transaction says so, as the runtime does it.
  2. The Instructions sysvar holds the transaction's own instructions.
Not covered: instructions by way of another program, several of ours in one transaction (the first
is taken), lookup tables (their accounts are accounts here).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from tests.program_cases import BASES, Case
from tests.program_scenes import Scene
from tests.program_tokens import SPL_TOKEN, SYSTEM
from tests.program_vouchers import INSTRUCTIONS_SYSVAR
from tests.program_world import FEE_PAYER, PROGRAM

SIGNS, WRITABLE, EXECUTABLE = 1, 2, 4
#: The runtime's own: no transaction writes them.
_RESERVED: Final = {SYSTEM, SPL_TOKEN, INSTRUCTIONS_SYSVAR, PROGRAM}
_NOWHERE: Final = Account(0, b"", SYSTEM)


def short_input(case: Case) -> bytes | None:
    """The input of a case's own instruction; None where it is not called directly."""
    scene = BASES[case.instruction].scene()
    for change in case.changes:
        change(scene)
    return input_of(scene)


def input_of(scene: Scene) -> bytes | None:
    """The input that the first instruction of ours in the scene's transaction gets."""
    instructions = scene.instructions()
    numbers = [at for at, each in enumerate(instructions) if each.program_id == PROGRAM]
    if not numbers:
        return None
    at = numbers[0]
    flags = _flags([meta for each in instructions for meta in each.accounts])
    held = scene.accounts_put()
    held[INSTRUCTIONS_SYSVAR] = Account(10**6, instructions_sysvar(instructions, at, flags), SYSTEM)
    held.setdefault(FEE_PAYER, Account(10**15, b"", SYSTEM))
    per_byte, threshold = scene.rent
    head = struct.pack("<32sqQQd", bytes(PROGRAM), scene.now, scene.slot, per_byte, threshold)
    told, metas = [], instructions[at].accounts
    order = [meta.pubkey for meta in metas]
    for number, key in enumerate(order):
        first = order.index(key)
        told.append(
            bytes([first]) if first < number else _told(key, held.get(key, _NOWHERE), flags[key])
        )
    data = bytes(instructions[at].data)
    return head + bytes([len(told)]) + b"".join(told) + struct.pack("<H", len(data)) + data


def _flags(metas: Sequence[AccountMeta]) -> dict[Pubkey, int]:
    """Who signs and is written in the whole transaction; the fee payer does both."""
    flags = {FEE_PAYER: SIGNS | WRITABLE}
    for meta in metas:
        key = meta.pubkey
        writable = meta.is_writable and key not in _RESERVED
        flags[key] = flags.get(key, 0) | SIGNS * meta.is_signer | WRITABLE * writable
    return flags


def _told(key: Pubkey, account: Account, flags: int) -> bytes:
    data = bytes(account.data)
    flags |= EXECUTABLE * account.executable
    head = struct.pack("<BB32s32s", 0xFF, flags, bytes(key), bytes(account.owner))
    return head + struct.pack("<QH", account.lamports, len(data)) + data


def instructions_sysvar(
    instructions: Sequence[Instruction], at: int, flags: dict[Pubkey, int]
) -> bytes:
    """The sysvar's data while the instruction `at` runs.

    Source: Agave's `construct_instructions_data`: a count, offsets; each: a count of accounts, 33
    bytes each, the program, a length, the data; at the end the number of the current one (all u16).
    """
    offset, offsets, bodies = 2 + 2 * len(instructions), [], []
    for each in instructions:
        accounts = b"".join(
            bytes([flags[meta.pubkey]]) + bytes(meta.pubkey) for meta in each.accounts
        )
        data = bytes(each.data)
        body = struct.pack("<H", len(each.accounts)) + accounts + bytes(each.program_id)
        body += struct.pack("<H", len(data)) + data
        offsets.append(struct.pack("<H", offset % 2**16))
        offset += len(body)
        bodies.append(body)
    count = struct.pack("<H", len(instructions))
    return count + b"".join(offsets) + b"".join(bodies) + struct.pack("<H", at)
