"""The memo transaction: how a hardware wallet that signs transactions only signs a sign-in text.

One instruction carries the text to Solana's memo program; the wallet pays and is the only signer.
The transaction is never sent, and never can be: its blockhash is all zero.

    signatures   1 (short vector), 64 bytes
    message      legacy, or version 0 (first byte 0x80) without lookup tables
      header     1 signer, 0 of them read-only, the programs read-only
      keys       the wallet, the memo program, perhaps the compute budget program
      blockhash  32 zero bytes
      instructions   one memo: data is the text, accounts none or the wallet;
                     compute budget: wallets add these by themselves
Rules:
  1. One form, strictly: lengths canonical, nothing unused, nothing left over, at most
     `TRANSACTION_BYTES_MAX`. What else a transaction may hold is refused, whatever it does.
  2. Parsing proves nothing: the caller compares the memo with the text that it rebuilt, the payer
     with the wallet, and checks the signature over `message`, the exact bytes that were signed.
Covered: transfers and any other program; durable nonces; more signers; another blockhash.
Not covered: guard instructions that some wallets add for programs of their own: refused by name.
Source: solana.com/docs (transaction format), solana-sdk `message/legacy.rs`, `short_vec.rs`; ours,
since only `onchain/` knows a Solana library. The tests compare with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from coordinator.limits import TRANSACTION_BYTES_MAX
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.errors import Refusal
from onchain.address import decode_address

#: The memo program, version 2.
MEMO_PROGRAM: Final = decode_address("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
COMPUTE_BUDGET_PROGRAM: Final = decode_address("ComputeBudget111111111111111111111111111111")
#: Length of each compute budget instruction, by its first byte.
_BUDGET_BYTES: Final = {1: 5, 2: 5, 3: 9, 4: 5}
_VERSION_0: Final = 0x80
_BLOCKHASH: Final = bytes(32)
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_SHORT_VECTOR_MAX: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class MemoTransaction:
    """A memo transaction in the one form that we take."""

    #: Fee payer and only signer, 32 bytes.
    payer: bytes
    memo: bytes
    #: All zero while it is unsigned.
    signature: bytes
    #: What the signature is over.
    message: bytes


def build_memo(wallet: bytes, text: str) -> bytes:
    """The unsigned transaction (its signature is zero) that carries a text.

    Raises:
        Refusal: `too_large`: text and transaction exceed what Solana and hardware wallets hold.
    """
    data = text.encode()
    instruction = b"\x01" + _length(1) + b"\x00" + _length(len(data)) + data
    message = (
        b"\x01\x00\x01" + _length(2) + wallet + MEMO_PROGRAM + _BLOCKHASH + _length(1) + instruction
    )
    raw = _length(1) + bytes(_SIGNATURE_BYTES) + message
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise Refusal(
            "too_large",
            f"the text of {len(data)} bytes does not fit a transaction of {TRANSACTION_BYTES_MAX}",
        )
    return raw


def with_signature(transaction: bytes, signature: bytes) -> bytes:
    """The transaction of `build_memo`, signed."""
    assert len(signature) == _SIGNATURE_BYTES
    return transaction[:1] + signature + transaction[1 + _SIGNATURE_BYTES :]


def decode_transaction(text: str) -> bytes:
    """The bytes of a transaction, as base64 (Solana's own way) or unpadded base64url.

    Raises:
        Refusal: `bad_transaction`.
    """
    padding = -len(text.rstrip("=")) % 4
    unpadded = text.removesuffix("=" * padding) if padding < 3 else text
    try:
        return decode_base64url(unpadded.replace("+", "-").replace("/", "_"))
    except ValueError as error:
        raise Refusal("bad_transaction", "a transaction is written as base64") from error


def parse_memo(raw: bytes) -> MemoTransaction:
    """Read a memo transaction.

    Raises:
        Refusal: `bad_transaction`, with what is wrong.
    """
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise _bad("it is larger than any transaction")
    reader = _Reader(raw)
    if reader.length() != 1:
        raise _bad("it has not exactly one signature")
    signature = reader.take(_SIGNATURE_BYTES)
    message = raw[1 + _SIGNATURE_BYTES :]
    has_version = bool(message) and message[0] >= _VERSION_0
    if has_version and reader.byte() != _VERSION_0:
        raise _bad("its message has an unknown version")
    keys = _read_keys(reader)
    if reader.take(_KEY_BYTES) != _BLOCKHASH:
        raise _bad("its blockhash is not zero, so it could be sent")
    memo = _read_instructions(reader, keys)
    if has_version and reader.length() != 0:
        raise _bad("it uses address lookup tables")
    reader.end()
    return MemoTransaction(keys[0], memo, signature, message)


def _read_keys(reader: _Reader) -> list[bytes]:
    """The header and the keys: the wallet, then the programs."""
    header = reader.take(3)
    count = reader.length()
    if count not in {2, 3}:
        raise _bad("it names other accounts than the wallet and the memo program")
    if header != bytes((1, 0, count - 1)):
        raise _bad("the wallet is not its only signer, or a program is writable")
    keys = [reader.take(_KEY_BYTES) for _ in range(count)]
    programs = {MEMO_PROGRAM} if count == 2 else {MEMO_PROGRAM, COMPUTE_BUDGET_PROGRAM}
    if set(keys[1:]) != programs or keys[0] in programs:
        raise _bad("it calls another program than memo")
    return keys


def _read_instructions(reader: _Reader, keys: list[bytes]) -> bytes:
    """The memo's data; every program is called, the compute budget by each instruction once."""
    memos: list[bytes] = []
    budgets: list[int] = []
    for _ in range(reader.length()):
        index = reader.byte()
        accounts = reader.take(reader.length())
        data = reader.take(reader.length())
        if not 1 <= index < len(keys):
            raise _bad("an instruction has no program")
        if keys[index] == MEMO_PROGRAM:
            if accounts not in {b"", b"\x00"}:
                raise _bad("the memo names another account than the wallet")
            memos.append(data)
        else:
            budgets.append(_budget(accounts, data))
    if len(memos) != 1:
        raise _bad("it has not exactly one memo")
    if len(set(budgets)) != len(budgets) or bool(budgets) != (len(keys) == 3):
        raise _bad("its compute budget is set twice, or not at all")
    return memos[0]


def _budget(accounts: bytes, data: bytes) -> int:
    if accounts or not data or len(data) != _BUDGET_BYTES.get(data[0]):
        raise _bad("an instruction of its compute budget is unknown")
    return data[0]


class _Reader:
    """The bytes of a transaction, from the front."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def take(self, count: int) -> bytes:
        piece = self._raw[self._at : self._at + count]
        if len(piece) != count:
            raise _bad("it ends early")
        self._at += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def length(self) -> int:
        """A short vector's length: 7 bits a byte, the low ones first, in as few bytes as it has."""
        value = 0
        for shift in (0, 7, 14):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value > _SHORT_VECTOR_MAX:
                    break
                return value
        raise _bad("a length in it is not canonical")

    def end(self) -> None:
        if self._at != len(self._raw):
            raise _bad("something follows its end")


def _length(value: int) -> bytes:
    """A short vector's length, as `_Reader.length` reads it."""
    assert 0 <= value <= _SHORT_VECTOR_MAX
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes((value,))


def _bad(reason: str) -> Refusal:
    return Refusal("bad_transaction", f"this is no memo transaction of ours: {reason}")
