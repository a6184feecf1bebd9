"""The memo transaction of hardware wallets: read as Solana's own library reads it, or refused.

`solders` is the oracle: what it compiles we read, and what we build it reads.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

import pytest
from hypothesis import given, settings, strategies as st
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair as SoldersKeypair
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AdvanceNonceAccountParams,
    TransferParams,
    advance_nonce_account,
    transfer,
)
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import (
    COMPUTE_BUDGET_PROGRAM,
    MEMO_PROGRAM,
    MemoTransaction,
    build_memo,
    decode_transaction,
    parse_memo,
    with_signature,
)
from coordinator.protocol.signing import from_seed, verify

SEED: Final = bytes(range(32))
WALLET: Final = from_seed(SEED)
OTHER: Final = from_seed(bytes(32))
PAYER: Final = Pubkey(WALLET.address)
MEMO: Final = Pubkey(MEMO_PROGRAM)
TEXT: Final = "hyper.example wants you to sign in with your Solana account:\n" + "x" * 400
#: What makes a transaction of another program's.
ELSEWHERE: Final = Pubkey(OTHER.address)


def memo(text: str = TEXT, *accounts: AccountMeta) -> Instruction:
    return Instruction(MEMO, text.encode(), list(accounts))


SIGNER: Final = AccountMeta(PAYER, is_signer=True, is_writable=True)
LIMIT: Final = set_compute_unit_limit(20_000)
PRICE: Final = set_compute_unit_price(1)


def compiled(
    *instructions: Instruction,
    version: int | None = None,
    blockhash: Hash | None = None,
    payer: Pubkey = PAYER,
) -> bytes:
    """A transaction as a wallet's library makes it, signed by the wallet if it is the only one."""
    where = blockhash or Hash.default()
    message: Message | MessageV0
    if version is None:
        message = Message.new_with_blockhash(list(instructions), payer, where)
    else:
        message = MessageV0.try_compile(payer, list(instructions), [], where)
    count = message.header.num_required_signatures
    signer = SoldersKeypair.from_seed(SEED)
    signatures = [signer.sign_message(to_bytes_versioned(message))]
    signatures += [Signature.default()] * (count - 1)
    return bytes(VersionedTransaction.populate(message, signatures))


GOOD: Final[dict[str, bytes]] = {
    f"{name} {shape}": compiled(*instructions, version=version)
    for name, version in (("legacy", None), ("version 0", 0))
    for shape, instructions in {
        "memo": (memo(),),
        "memo with its signer": (memo(TEXT, SIGNER),),
        "budget before": (LIMIT, PRICE, memo(TEXT, SIGNER)),
        "budget around": (LIMIT, memo(), PRICE),
        "budget after": (memo(), PRICE),
    }.items()
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_what_solanas_library_compiles_is_read(raw: bytes) -> None:
    found = parse_memo(raw)

    message = VersionedTransaction.from_bytes(raw).message
    assert (found.payer, found.memo) == (WALLET.address, TEXT.encode())
    assert found.message == to_bytes_versioned(message)
    verify(WALLET.address, found.message, found.signature)


@given(st.text(st.characters(codec="ascii"), max_size=1000))
def test_what_we_build_solanas_library_reads_and_it_can_never_be_sent(text: str) -> None:
    unsigned = build_memo(WALLET.address, text)
    signature = WALLET.sign(parse_memo(unsigned).message)
    transaction = VersionedTransaction.from_bytes(with_signature(unsigned, signature))

    message = transaction.message
    (instruction,) = message.instructions
    assert message.account_keys == [PAYER, MEMO]
    assert message.recent_blockhash == Hash.default()
    assert (bytes(instruction.data), bytes(instruction.accounts)) == (text.encode(), b"\x00")
    assert transaction.verify_with_results() == [True]
    assert unsigned == bytes(VersionedTransaction.populate(message, [Signature.default()]))


def test_a_text_that_does_not_fit_a_transaction_is_refused_by_name() -> None:
    longest = build_memo(
        WALLET.address,
        "x" * (TRANSACTION_BYTES_MAX - len(build_memo(WALLET.address, "x" * 200)) + 200),
    )

    assert len(longest) == TRANSACTION_BYTES_MAX
    with pytest.raises(Refusal, match="does not fit a transaction"):
        build_memo(WALLET.address, parse_memo(longest).memo.decode() + "x")


def with_bytes(raw: bytes, at: int, new: bytes, *, cut: int | None = None) -> bytes:
    """`raw` with `new` in place of as many bytes (or of `cut` bytes)."""
    return raw[:at] + new + raw[at + (len(new) if cut is None else cut) :]


LEGACY: Final = GOOD["legacy memo"]
VERSION_0: Final = GOOD["version 0 memo"]
#: Where things are in `LEGACY`: one signature, header, two keys, blockhash, one instruction.
HEADER, KEYS, COUNT = 65, 69, 165
INSTRUCTION: Final = 166

#: name: (transaction, what the refusal says).
BAD: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "ends early"),
    "a transfer": (
        compiled(transfer(TransferParams(from_pubkey=PAYER, to_pubkey=ELSEWHERE, lamports=1))),
        "writable",
    ),
    "a transfer beside the memo": (
        compiled(
            memo(), transfer(TransferParams(from_pubkey=PAYER, to_pubkey=ELSEWHERE, lamports=1))
        ),
        "other accounts",
    ),
    "a durable nonce before the memo": (
        compiled(
            advance_nonce_account(
                AdvanceNonceAccountParams(nonce_pubkey=ELSEWHERE, authorized_pubkey=PAYER)
            ),
            memo(),
        ),
        "other accounts",
    ),
    "another program": (compiled(Instruction(ELSEWHERE, TEXT.encode(), [])), "another program"),
    "another program beside the memo": (
        compiled(memo(), Instruction(ELSEWHERE, b"", [])), "another program",
    ),
    "the memo program of old": (
        compiled(
            Instruction(
                Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"),
                TEXT.encode(),
                [],
            )
        ),
        "another program",
    ),
    "two memos": (compiled(memo(), memo()), "exactly one memo"),
    "no instruction": (with_bytes(LEGACY, COUNT, b"\x00", cut=1000), "exactly one memo"),
    "only a budget": (compiled(LIMIT), "another program"),
    "a budget that is named and not set": (
        with_bytes(GOOD["legacy budget after"], 197, b"\x01"), "not at all",
    ),
    "a budget twice": (
        compiled(memo(), Instruction(LIMIT.program_id, bytes(LIMIT.data), []), LIMIT), "set twice",
    ),
    "a budget of an unknown kind": (
        compiled(memo(), Instruction(LIMIT.program_id, b"\x07abcd", [])), "unknown",
    ),
    "a budget of another length": (
        compiled(memo(), Instruction(LIMIT.program_id, b"\x02abc", [])), "unknown",
    ),
    "an empty budget": (compiled(memo(), Instruction(LIMIT.program_id, b"", [])), "unknown"),
    "a budget with an account": (
        compiled(memo(), Instruction(LIMIT.program_id, bytes(LIMIT.data), [SIGNER])), "unknown",
    ),
    "a second signer": (
        compiled(memo(TEXT, SIGNER, AccountMeta(ELSEWHERE, is_signer=True, is_writable=False))),
        "exactly one signature",
    ),
    "another account": (
        compiled(memo(TEXT, AccountMeta(ELSEWHERE, is_signer=False, is_writable=False))),
        "another program",
    ),
    "the wallet twice": (
        with_bytes(LEGACY, INSTRUCTION + 1, b"\x02\x00\x00", cut=1), "another account",
    ),
    "the memo program as the memo's account": (
        with_bytes(LEGACY, INSTRUCTION + 1, b"\x01\x01", cut=1), "another account",
    ),
    "a real blockhash": (compiled(memo(), blockhash=Hash(bytes(31) + b"\x01")), "blockhash"),
    "the memo program pays": (with_bytes(LEGACY, KEYS, MEMO_PROGRAM), "another program"),
    "the wallet's key twice": (with_bytes(LEGACY, KEYS + 32, WALLET.address), "another program"),
    "a wallet that only reads": (with_bytes(LEGACY, HEADER, b"\x01\x01\x01"), "only signer"),
    "a program that is written": (with_bytes(LEGACY, HEADER, b"\x01\x00\x00"), "writable"),
    "no signer": (with_bytes(LEGACY, HEADER, b"\x00\x00\x01"), "only signer"),
    "no signature": (with_bytes(LEGACY, 0, b"\x00"), "exactly one signature"),
    "a program's index past the keys": (with_bytes(LEGACY, INSTRUCTION, b"\x02"), "no program"),
    "the wallet as a program": (with_bytes(LEGACY, INSTRUCTION, b"\x00"), "no program"),
    "version 1": (with_bytes(VERSION_0, HEADER, b"\x81"), "unknown version"),
    "a lookup table": (
        VERSION_0[:-1] + b"\x01" + OTHER.address + b"\x00\x01\x00", "lookup tables",
    ),
    "version 0 without its lookup tables": (VERSION_0[:-1], "ends early"),
    "a length in two bytes that fits one": (
        with_bytes(LEGACY, COUNT, b"\x81\x00", cut=1), "canonical",
    ),
    "a length in three bytes that fits two": (
        with_bytes(LEGACY, COUNT, b"\x81\x80\x00", cut=1), "canonical",
    ),
    "a length beyond sixteen bits": (
        with_bytes(LEGACY, COUNT, b"\xff\xff\x7f", cut=1), "canonical",
    ),
    "a length without an end": (with_bytes(LEGACY, COUNT, b"\xff\xff\xff", cut=1), "canonical"),
    "a length past the end": (with_bytes(LEGACY, COUNT, b"\xff\xff\x03", cut=1), "ends early"),
    "a byte more": (LEGACY + b"\x00", "follows its end"),
    "a byte less": (LEGACY[:-1], "ends early"),
    "more than a packet": (compiled(memo("x" * 1100)), "larger than any"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "reason"), BAD.values(), ids=BAD)
def test_what_has_another_form_is_refused_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Refusal, match=reason) as refused:
        parse_memo(raw)

    assert refused.value.code == "bad_transaction"


def read(raw: bytes) -> MemoTransaction | None:
    """The transaction, or nothing where it is refused as one of another form."""
    code, found = "", None
    try:
        found = parse_memo(raw)
    except Refusal as refusal:
        code = refusal.code
    assert code in {"", "bad_transaction"}
    return found


@pytest.mark.parametrize("name", ["legacy memo", "version 0 budget before"])
def test_every_flipped_bit_is_refused_or_breaks_payer_text_or_signature(name: str) -> None:
    good = GOOD[name]
    for bit in range(len(good) * 8):
        raw = bytearray(good)
        raw[bit // 8] ^= 1 << bit % 8
        found = read(bytes(raw))
        if found and found.payer == WALLET.address and found.memo == TEXT.encode():
            with pytest.raises(Refusal, match="bad_signature"):
                verify(WALLET.address, found.message, found.signature)


@settings(max_examples=300)
@given(st.data())
def test_torn_transactions_are_refused_and_never_raise_anything_else(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([*GOOD.values(), *(raw for raw, _ in BAD.values())]))
    one, other = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    raw = good[:one] + data.draw(st.binary(max_size=8)) + good[other:]

    if found := read(raw):
        # Whatever we read, Solana's library reads alike.
        message = VersionedTransaction.from_bytes(raw).message
        assert found.message == to_bytes_versioned(message)
        assert found.payer == bytes(message.account_keys[0])
        assert message.header.num_required_signatures == 1
        keys = message.account_keys
        programs = {bytes(keys[each.program_id_index]) for each in message.instructions}
        assert programs <= {MEMO_PROGRAM, COMPUTE_BUDGET_PROGRAM}


@given(st.binary(max_size=1400))
def test_any_bytes_are_refused_by_name(raw: bytes) -> None:
    with pytest.raises(Refusal, match="bad_transaction"):
        parse_memo(raw)


@given(st.binary(max_size=200))
def test_a_transaction_is_read_from_each_base64(raw: bytes) -> None:
    assert decode_transaction(b64encode(raw).decode()) == raw
    assert decode_transaction(encode_base64url(raw)) == raw


@pytest.mark.parametrize(
    "text", ["A", "AAA=A", "AA=", "AA===", "====", "AB==", "A A=", "é", "AA\n"]
)
def test_what_is_no_base64_is_no_transaction(text: str) -> None:
    with pytest.raises(Refusal, match="base64"):
        decode_transaction(text)
