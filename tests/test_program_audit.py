"""Forged vouchers that an outside reader tried, and the defence that holds.

Here: a transaction whose list of instructions is longer than its offsets can say.
Not here: one wrong account, argument or check at a time (`test_program_cases`), nor how long a
list may be (`program_neighbours`).
"""

from __future__ import annotations

from typing import Final

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair

from tests.program_market import CLUSTER, DAY, HOST, VOUCHERS, Market, opened
from tests.program_neighbours import IDLE, load_samples
from tests.program_vouchers import ED25519, KEY_AT, SIGNATURE_AT, Voucher, signed_check
from tests.program_world import PROGRAM, program_file

#: Offsets of the Instructions sysvar have 16 bits.
WRAPS: Final = 1 << 16
#: The largest transaction that is proposed for clusters. Source: SIMD-0296.
LARGEST_TRANSACTION: Final = 4_096
#: Bytes of the sysvar: flags and key of an account; two lengths and the program of an instruction.
PER_ACCOUNT, PER_INSTRUCTION = 33, 36
#: Instructions that fill the list: none of them has more than 255 accounts, as the runtime wants.
FILLERS: Final = 9


@pytest.fixture
def market() -> Market:
    market = opened()
    load_samples(market.world, program_file())
    return market


def forged_check(market: Market, cumulative: int) -> bytes:
    """A voucher's check as the sysvar would list it: the right key, the signature of another."""
    message = Voucher(
        *(bytes(PROGRAM), bytes(market.ledger), CLUSTER, bytes(HOST)),
        *(cumulative, market.now + DAY, market.state()["key_epoch"]),
    ).message()
    data = signed_check(message, Keypair())
    data = data[:KEY_AT] + bytes(VOUCHERS.pubkey()) + data[SIGNATURE_AT:]
    return bytes(2) + bytes(ED25519) + len(data).to_bytes(2, "little") + data


def listed(made: Instruction) -> int:
    """Bytes that the sysvar lists an instruction with, its offset left out."""
    return PER_INSTRUCTION + PER_ACCOUNT * len(made.accounts) + len(made.data)


def filled(length: int) -> list[Instruction]:
    """Instructions that do nothing and are listed with so many bytes in all."""
    made: list[Instruction] = []
    for left in range(FILLERS, 0, -1):
        accounts, rest = divmod(length // left - PER_INSTRUCTION, PER_ACCOUNT)
        seen = AccountMeta(IDLE, is_signer=False, is_writable=False)
        made.append(Instruction(IDLE, bytes(rest), [seen] * accounts))
        length -= listed(made[-1])
    return made


def test_a_check_that_nobody_made_is_not_found_behind_an_offset_that_wraps(market: Market) -> None:
    """In a large transaction a runtime that cuts offsets to 16 bits lets its sender choose what
    stands "before": here the data of an instruction that nobody verified. Source: solana-sdk,
    instructions-sysvar."""
    forged = forged_check(market, 1_000_000)
    carrier, last = Instruction(IDLE, forged, []), Instruction(IDLE, b"", [])
    redemption = market.voucher(1_000_000)[1]
    # Then the last one's offset is `WRAPS` above the place of the carrier's data.
    attack = [carrier, *filled(WRAPS - len(forged)), last, redemption]

    assert len(bytes(market.world.transaction(attack))) <= LARGEST_TRANSACTION
    # Runtimes that do not cut offsets refuse the whole transaction.
    assert market.world.send(attack).error in {"BadVoucher", "SanitizeFailure"}
    assert market.balance(market.account_of(HOST)) == 0
