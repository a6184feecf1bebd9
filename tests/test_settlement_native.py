"""The settlement program under sanitizers: half-sensible inputs of every instruction, no finding.

In:   a ledger, records and token accounts that fit each other, with one thing or another changed;
      arguments of the right kinds, from small numbers to the largest.
Out:  silence of the address and the undefined-behaviour sanitizer; results are counted, not judged.
Not covered: whether a result is right (the program's own tests); calls of the token program, which
succeed and do nothing here; long runs.
"""

from __future__ import annotations

import hashlib
import os
import random  # noqa: TID251  # seeded: the same inputs in every run
import struct
from pathlib import Path
from typing import Final

import pytest

from onchain.program.build.construct import FOLDER
from onchain.program.instructions import INSTRUCTIONS, Instruction
from onchain.program.layout import CLAIM_RECORD, DEPOSIT_RECORD, LEDGER, STRUCTS, Layout
from tests.native_program import CLANG, GivenAccount, build_native, run_native, serialise

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CLANG is None and "CI" not in os.environ, reason="needs clang-19"),
]

#: Inputs of each instruction.
ROUNDS: Final = 100
#: What the host's clock says.
NOW: Final = 1_700_000_000
NUMBERS: Final = (0, 1, 2, 31, 255, 1000, NOW - 1, NOW, NOW + 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_TOKEN: Final = bytes.fromhex("06ddf6e1d765a193d9cbe146ceeb79ac1cb485ed5f5b37913a8cf5857eff00a9")
_MARKER: Final = b"ProgramDerivedAddress"


def key_of(name: str) -> bytes:
    """One address a name; the two programs have their own."""
    fixed = {"system_program": bytes(32), "token_program": _TOKEN}
    return fixed.get(name) or hashlib.sha256(name.encode()).digest()


PROGRAM: Final = key_of("program")


def derived(*seeds: bytes) -> bytes:
    """An address as the host derives it: the bump is 255, the curve is not asked."""
    return hashlib.sha256(b"".join(seeds) + b"\xff" + PROGRAM + _MARKER).digest()


LEDGER_KEY: Final = derived(b"ledger", key_of("base"))


class Inputs:
    """Made-up calls from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def number(self, size: int) -> bytes:
        return self.chance.choice(NUMBERS).to_bytes(8, "little")[:size]

    def value(self, name: str, kind: str) -> bytes:
        """Bytes of a field or an argument; names that are accounts' have their addresses."""
        base, _, count = kind.partition("*")
        if count:
            return b"".join(self.value(name, base) for _ in range(int(count)))
        if base in STRUCTS:
            return self.struct(STRUCTS[base])
        if base == "proof":
            return self.proof()
        if base in {"pubkey", "hash"}:
            usual = self.address(name) if base == "pubkey" else b"\1" * 32
            return self.chance.choice([usual] * 9 + [bytes(32)])
        if name in {"bump", "ata_bump"}:
            return b"\xff"
        return self.number({"u8": 1, "u32": 4}.get(base, 8))

    def proof(self) -> bytes:
        length = self.chance.choice([0, 1, 2, 32, 33])
        return struct.pack("<I", length) + bytes(32 * length)

    def struct(self, layout: Layout) -> bytes:
        return b"".join(self.value(field.name, field.type) for field in layout.fields)

    def address(self, name: str) -> bytes:
        if name in {"admin", "publisher", "guardian", "owner", "wallet", "authority"}:
            return key_of(self.chance.choice(["payer", "payer", name]))
        if name == "ledger":
            return LEDGER_KEY
        if name in {"claim_record", "deposit_record"}:
            return derived(name.removesuffix("_record").encode(), LEDGER_KEY, key_of("payer"))
        return key_of(name)

    def account(self, name: str, *, signs: bool, written: bool) -> GivenAccount:
        owner, data = self.held(name)
        if self.chance.random() < 0.03:
            data = data[: self.chance.randrange(len(data) + 1)]
        signs &= self.chance.random() < 0.97
        lamports = self.chance.choice([0, 10**6, 10**9])
        return GivenAccount(self.address(name), owner, lamports, data, signs, written)

    def held(self, name: str) -> tuple[bytes, bytes]:
        """Owner and data of an account."""
        layouts = {"ledger": LEDGER, "claim_record": CLAIM_RECORD, "deposit_record": DEPOSIT_RECORD}
        if name in layouts and self.chance.random() < 0.9:
            return PROGRAM, layouts[name].discriminator + self.struct(layouts[name])
        if name in {"vault", "source", "destination"}:
            holder = LEDGER_KEY if name == "vault" else key_of("payer")
            return _TOKEN, key_of("mint") + holder + self.number(8) + bytes(36) + b"\1" + bytes(56)
        if name == "mint":
            return _TOKEN, bytes(36) + self.number(8) + b"\6\1" + bytes(36)
        return bytes(32), bytes(self.chance.choice([0, 0, 700]) * (name == "instructions_sysvar"))

    def call(self, instruction: Instruction) -> bytes:
        accounts: list[GivenAccount | int] = [
            self.account(each.name, signs=each.signer, written=each.writable)
            for each in instruction.accounts
        ]
        if self.chance.random() < 0.1:
            accounts[self.chance.randrange(1, len(accounts) + 1) - 1 :] = []
        if len(accounts) > 1 and self.chance.random() < 0.1:
            accounts[-1] = 0
        arguments = b"".join(self.value(field.name, field.type) for field in instruction.args)
        if self.chance.random() < 0.05:
            arguments = arguments[: self.chance.randrange(len(arguments) + 1)]
        return serialise(accounts, instruction.discriminator + arguments, PROGRAM)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_native(FOLDER / "src", tmp_path_factory.mktemp("settlement"))


def test_no_input_makes_the_program_read_or_write_where_it_may_not(
    native: Path, tmp_path: Path
) -> None:
    made, results = Inputs(7), dict[str, set[int]]()
    for instruction in INSTRUCTIONS:
        inputs = [made.call(instruction) for _ in range(ROUNDS)]
        given = run_native(native, inputs, tmp_path, brief=True)
        results[instruction.name] = {each.result for each in given}

    # How deep the inputs reach: more ways out than the few checks at the door.
    assert len(set().union(*results.values())) > 25
    assert min(map(len, results.values())) > 2
