"""Vouchers: one layout, and nothing but that."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest
from hypothesis import given, strategies as st

from coordinator.protocol.signing import from_seed
from onchain.address import encode_address
from onchain.vouchers import (
    SignedVoucher,
    VoucherForged,
    VoucherMalformed,
    VoucherOfAnother,
    VoucherOutdated,
    accept_voucher,
    parse_voucher,
    sign_voucher,
    voucher_for,
)
from tests.ledger_values import MARKET, NOW

KEY = from_seed(b"k" * 32)
WALLET, X = b"W" * 32, b"X" * 32
OURS, XS = encode_address(WALLET), encode_address(X)
ADDRESS = encode_address(KEY.address)


def voucher(cumulative: int = 500, expires_at: int = NOW + 60, key_epoch: int = 1) -> SignedVoucher:
    said = voucher_for(
        MARKET, WALLET, cumulative=cumulative, expires_at=expires_at, key_epoch=key_epoch
    )
    return sign_voucher(KEY, said)


def accepted(signed: SignedVoucher, **changes: object) -> SignedVoucher:
    arguments: dict[str, object] = {
        "market": MARKET, "wallet": WALLET, "key": KEY.address, "key_epoch": 1, "now": NOW,
    }  # fmt: skip
    return accept_voucher(signed.pack(), **(arguments | changes))  # type: ignore[arg-type]


def test_the_message_is_what_the_program_builds() -> None:
    message = voucher(258, -2, 3).voucher.message()

    assert message == (
        b"\xffhyper-voucher-1" + MARKET.program + MARKET.ledger + MARKET.cluster_tag + WALLET
        + pack("<QqI", 258, -2, 3)
    )  # fmt: skip
    assert len(message) == 164


def test_the_check_has_the_layout_that_the_program_demands() -> None:
    signed = voucher()
    data = signed.ed25519_data()

    assert len(data) == 276
    assert data[:16] == bytes.fromhex("01 00 30 00 ff ff 10 00 ff ff 70 00 a4 00 ff ff")
    assert data[16:48] == KEY.address
    assert data[48:112] == signed.signature
    assert data[112:] == signed.voucher.message()


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1))
def test_a_voucher_survives_its_file(cumulative: int, expires_at: int, key_epoch: int) -> None:
    signed = voucher(cumulative, expires_at, key_epoch)

    assert len(signed.pack()) == 260
    assert parse_voucher(signed.pack()) == signed


@given(st.integers(0, 259), st.integers(1, 255))
def test_a_changed_byte_is_found(at: int, change: int) -> None:
    raw = bytearray(voucher().pack())
    raw[at] ^= change

    with pytest.raises((VoucherForged, VoucherMalformed)):
        parse_voucher(bytes(raw))


@pytest.mark.parametrize("size", [0, 164, 259, 261])
def test_another_length_is_refused(size: int) -> None:
    with pytest.raises(VoucherMalformed):
        parse_voucher((voucher().pack() + b"\x00")[:size])


def test_a_voucher_of_mine_is_accepted() -> None:
    assert accepted(voucher()) == voucher()
    assert accepted(voucher(expires_at=NOW)) == voucher(expires_at=NOW)
    assert accepted(voucher(), before=voucher(500)) == voucher()


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"wallet": X}, f"is of the wallet {OURS}, and not of {XS}"),
        ({"key": X}, f"was signed by the key {ADDRESS}: the ledger's"),
        (
            {"key": bytes(32)},
            f"was signed by the key {ADDRESS}: the ledger has no voucher key: vouchers are off",
        ),
        ({"key_epoch": 2}, "is of key epoch 1, and the ledger's is 2 (the administrator voided it"),
        ({"key_epoch": 0}, "is of key epoch 1, and the ledger's is 0"),
        ({"market": replace(MARKET, program=X)}, "is of the program"),
        ({"market": replace(MARKET, ledger=X)}, "is of the ledger"),
        ({"market": replace(MARKET, cluster_tag=X)}, "is of another cluster"),
    ],
    ids=["wallet", "key", "no key", "voided", "early", "program", "ledger", "cluster"],
)
def test_a_voucher_of_another_is_refused_for_its_own_cause(
    changes: dict[str, object], cause: str
) -> None:
    with pytest.raises(VoucherOfAnother) as caught:
        accepted(voucher(), **changes)

    said = str(caught.value)
    assert said.startswith(f"this voucher {cause}")
    assert ", and was" not in said
    assert ", and is" not in said, "one cause, one sentence"


def test_a_voucher_that_is_over_or_less_than_before_is_refused() -> None:
    with pytest.raises(VoucherOutdated, match=r"expired at 20.*; the chain's clock shows 20"):
        accepted(voucher(), now=NOW + 61)
    with pytest.raises(VoucherOutdated, match=r"for 0\.000499 HYPER in all.*for 0\.0005: that"):
        accepted(voucher(499), before=voucher(500))


def test_no_voucher_is_signed_by_the_zero_key() -> None:
    """Zero on the chain means that vouchers are off."""
    with pytest.raises(VoucherForged):
        accepted(replace(voucher(), key=bytes(32), signature=bytes(64)), key=bytes(32))


def test_a_stranger_cannot_sign_for_the_key() -> None:
    stranger = sign_voucher(from_seed(b"x" * 32), voucher().voucher)

    with pytest.raises(VoucherForged):
        accepted(replace(stranger, key=KEY.address))
