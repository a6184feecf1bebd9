"""One instruction as the runtime hands it over, and the first three checks of every one."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from onchain.program.instructions import INSTRUCTIONS, Account as Declared, Instruction
from onchain.program.layout import CONSTANTS, size_of
from tests.settlement_model.state import Limits, Value, decode_field, encode_field
from tests.settlement_model.world import require

ACCOUNTS_MAX: Final = 24
MAX_PROOF: Final = CONSTANTS["MAX_PROOF"][0]
BY_NAME: Final = {one.name: one for one in INSTRUCTIONS}
BY_DISCRIMINATOR: Final = {one.discriminator: one for one in INSTRUCTIONS}
Argument = int | bytes | Limits | Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Meta:
    """An account of an instruction, and whether it signed. All are taken as writable."""

    address: bytes
    signer: bool = False


@dataclass(frozen=True, slots=True)
class Before:
    """The instruction just before ours in the transaction, as the Instructions sysvar shows it."""

    program: bytes
    data: bytes
    accounts: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One instruction; `before` is none where ours is the first of its transaction."""

    data: bytes
    accounts: tuple[Meta, ...]
    before: Before | None = None

    @property
    def name(self) -> str:
        """For messages: the instruction's name, or its first bytes."""
        found = BY_DISCRIMINATOR.get(self.data[:8])
        return found.name if found else self.data[:8].hex()


def call(
    name: str,
    accounts: Mapping[str, bytes],
    args: Mapping[str, Argument] | None = None,
    *,
    before: Before | None = None,
    unsigned: Sequence[str] = (),
) -> Call:
    """A well-formed call: every declared signer signs but those in `unsigned`.

    Args:
        name: of the instruction, in snake case.
        accounts: name → address; the constant programs too.
        args: name → value, a proof as its hashes; each declared one must be there.
        before: the instruction before it.
        unsigned: accounts that ought to sign and do not.
    """
    declared = BY_NAME[name]
    metas = tuple(
        Meta(accounts[one.name], one.signer and one.name not in unsigned)
        for one in declared.accounts
    )
    return Call(encode_data(declared, args or {}), metas, before)


def encode_data(declared: Instruction, args: Mapping[str, Argument]) -> bytes:
    parts = [declared.discriminator]
    for name, type_, _ in declared.args:
        value = args[name]
        if type_ == "proof":
            assert isinstance(value, Sequence)
            hashes = [item for item in value if isinstance(item, bytes)]
            parts.append(struct.pack("<I", len(hashes)) + b"".join(hashes))
        else:
            parts.append(encode_field(type_, value))
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A call whose accounts and arguments have the right number and length."""

    declared: Instruction
    accounts: Mapping[str, Meta]
    args: Mapping[str, Value]

    def key(self, account: str) -> bytes:
        return self.accounts[account].address

    def number(self, arg: str) -> int:
        value = self.args[arg]
        assert isinstance(value, int)
        return value

    def hash(self, arg: str) -> bytes:
        value = self.args[arg]
        assert isinstance(value, bytes)
        return value

    def limits(self) -> Limits:
        value = self.args["limits"]
        assert isinstance(value, Limits)
        return value

    def proof(self) -> list[bytes]:
        value = self.args["proof"]
        assert isinstance(value, list)
        return value


def parse(one: Call) -> Parsed:
    """Steps 1 to 3 of every instruction.

    Raises:
        Refusal: AccountCount, BadArgs, UnknownInstruction.
    """
    require(len(one.accounts) <= ACCOUNTS_MAX, "AccountCount")
    require(len(one.data) >= 8, "BadArgs")
    require(one.data[:8] in BY_DISCRIMINATOR, "UnknownInstruction")
    declared = BY_DISCRIMINATOR[one.data[:8]]
    require(len(one.accounts) >= len(declared.accounts), "AccountCount")
    listed: Sequence[Declared] = declared.accounts
    named = {expected.name: meta for expected, meta in zip(listed, one.accounts, strict=False)}
    return Parsed(declared, named, _arguments(declared, one.data[8:]))


def _arguments(declared: Instruction, raw: bytes) -> dict[str, Value]:
    values: dict[str, Value] = {}
    at = 0
    for name, type_, _ in declared.args:
        if type_ == "proof":
            require(len(raw) >= at + 4, "BadArgs")
            (count,) = struct.unpack_from("<I", raw, at)
            require(count <= MAX_PROOF and len(raw) == at + 4 + 32 * count, "BadArgs")
            values[name] = [raw[i : i + 32] for i in range(at + 4, len(raw), 32)]
            at = len(raw)
        else:
            require(len(raw) >= at + size_of(type_), "BadArgs")
            values[name] = decode_field(type_, raw[at : at + size_of(type_)])
            at += size_of(type_)
    require(at == len(raw), "BadArgs")
    return values
