"""Vouchers: earnings that no root holds yet, payable from the operator's reserve.

The message is 164 bytes, integers little endian:

| offset | bytes | field       | meaning                                                 |
|-------:|------:|-------------|---------------------------------------------------------|
|      0 |    16 | domain      | 0xff, `hyper-voucher-1`                                 |
|     16 |    32 | program     | the settlement program                                  |
|     48 |    32 | ledger      | the ledger's address                                    |
|     80 |    32 | cluster_tag | genesis hash of the cluster                             |
|    112 |    32 | wallet      | who earns                                               |
|    144 |     8 | cumulative  | u64: all that the wallet earned so far, base units      |
|    152 |     8 | expires_at  | i64: Unix s after which it is worth nothing             |
|    160 |     4 | key_epoch   | u32: of the ledger's voucher key                        |

A voucher's file, and its form on the wire, is message, voucher key[32], signature[64]: 260 bytes.
Rules:
  1. The latest voucher of a wallet replaces all earlier ones: amounts are cumulative.
  2. The key that signs vouchers signs nothing else, and holds no role.
  3. A voucher is kept only if it was checked: key, signature, market, wallet, not less than before.
Source: `docs/program.md`, "redeem"; the layout of the check's data: solana-sdk `ed25519-program`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from coordinator.clock import iso
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import KEY_BYTES, SIGNATURE_BYTES, Keypair, verify
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.errors import OnchainError
from onchain.places import Market

DOMAIN: Final = b"\xffhyper-voucher-1"
_MESSAGE: Final = Struct("<16s32s32s32s32sQqI")
MESSAGE_BYTES: Final = _MESSAGE.size
VOUCHER_BYTES: Final = MESSAGE_BYTES + KEY_BYTES + SIGNATURE_BYTES
#: One signature; then, for it, where in this same instruction signature, key and message lie.
_CHECK_HEAD: Final = bytes.fromhex("01003000ffff1000ffff7000a400ffff")

assert MESSAGE_BYTES == 164
assert VOUCHER_BYTES == 260
assert len(_CHECK_HEAD) == 16


class VoucherError(OnchainError):
    """This voucher is worth nothing to its holder."""


class VoucherMalformed(VoucherError):
    """A voucher has 260 bytes, the first 16 of which are its domain."""


class VoucherForged(VoucherError):
    """The voucher key did not sign this voucher."""


class VoucherOfAnother(VoucherError):
    """The voucher names another market, wallet, key or key epoch."""


class VoucherOutdated(VoucherError):
    """The voucher has expired, or is less than one that is there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """What is signed; see the module's table."""

    program: bytes
    ledger: bytes
    cluster_tag: bytes
    wallet: bytes
    cumulative: int
    expires_at: int
    key_epoch: int

    def message(self) -> bytes:
        """The 164 bytes."""
        keys = (self.program, self.ledger, self.cluster_tag, self.wallet)
        assert all(len(raw) == 32 for raw in keys), "struct would pad or cut"
        return _MESSAGE.pack(DOMAIN, *keys, self.cumulative, self.expires_at, self.key_epoch)


@dataclass(frozen=True, slots=True)
class SignedVoucher:
    """A voucher, the key that signed it, and its signature. Making one checks nothing."""

    voucher: Voucher
    #: 32 bytes.
    key: bytes
    #: 64 bytes.
    signature: bytes

    def pack(self) -> bytes:
        """The 260 bytes of its file."""
        return self.voucher.message() + self.key + self.signature

    def verify(self) -> None:
        """Check the signature.

        Raises:
            VoucherForged: it is not the key's.
        """
        try:
            verify(self.key, self.voucher.message(), self.signature)
        except Refusal as error:
            raise VoucherForged(VoucherForged.__doc__) from error

    def ed25519_data(self) -> bytes:
        """Data of the instruction that checks the signature, exactly as the program demands it."""
        return _CHECK_HEAD + self.key + self.signature + self.voucher.message()


def voucher_for(
    market: Market, wallet: bytes, *, cumulative: int, expires_at: int, key_epoch: int
) -> Voucher:
    """The voucher of a wallet in a market."""
    return Voucher(
        program=market.program,
        ledger=market.ledger,
        cluster_tag=market.cluster_tag,
        wallet=wallet,
        cumulative=cumulative,
        expires_at=expires_at,
        key_epoch=key_epoch,
    )


def sign_voucher(keypair: Keypair, voucher: Voucher) -> SignedVoucher:
    """Sign a voucher with the ledger's voucher key."""
    return SignedVoucher(voucher, keypair.address, keypair.sign(voucher.message()))


def parse_voucher(raw: bytes) -> SignedVoucher:
    """The voucher of exactly these bytes; its signature is checked.

    Raises:
        VoucherMalformed: not 260 bytes of this layout.
        VoucherForged: the key in it did not sign it.
    """
    if len(raw) != VOUCHER_BYTES or not raw.startswith(DOMAIN):
        raise VoucherMalformed(VoucherMalformed.__doc__)
    _, program, ledger, tag, wallet, cumulative, expires_at, key_epoch = _MESSAGE.unpack(
        raw[:MESSAGE_BYTES]
    )
    voucher = Voucher(
        program=program,
        ledger=ledger,
        cluster_tag=tag,
        wallet=wallet,
        cumulative=cumulative,
        expires_at=expires_at,
        key_epoch=key_epoch,
    )
    key = raw[MESSAGE_BYTES : MESSAGE_BYTES + KEY_BYTES]
    signed = SignedVoucher(voucher, key, raw[-SIGNATURE_BYTES:])
    signed.verify()
    return signed


def accept_voucher(
    raw: bytes,
    *,
    market: Market,
    wallet: bytes,
    key: bytes,
    key_epoch: int,
    now: int,
    before: SignedVoucher | None = None,
) -> SignedVoucher:
    """What the holder of a wallet does with a voucher before keeping it.

    Args:
        raw: What came, 260 bytes.
        market: The market that the holder pinned.
        wallet: The holder's wallet.
        key: The ledger's voucher key, from the chain.
        key_epoch: The ledger's key epoch, from the chain.
        now: Unix s.
        before: The voucher that is kept so far.

    Raises:
        VoucherMalformed, VoucherForged, VoucherOfAnother, VoucherOutdated: as they say.
    """
    signed = parse_voucher(raw)
    said = signed.voucher
    wanted = voucher_for(
        market, wallet, cumulative=said.cumulative, expires_at=said.expires_at, key_epoch=key_epoch
    )
    if others := [*_of_others(said, wanted), *_of_other_key(signed.key, key)]:
        raise VoucherOfAnother("this voucher " + ", and ".join(others))
    if now > said.expires_at:
        msg = f"this voucher expired at {iso(1000 * said.expires_at)}; the chain's clock shows "
        raise VoucherOutdated(msg + iso(1000 * now))
    if before and said.cumulative < before.voucher.cumulative:
        less, more = (format_hyper(each.cumulative) for each in (said, before.voucher))
        msg = (
            f"this voucher is for {less} HYPER in all, the one that is kept for {more}: that stays"
        )
        raise VoucherOutdated(msg)
    return signed


def _of_others(said: Voucher, wanted: Voucher) -> Iterator[str]:
    """What a voucher names that is not the holder's."""
    for field, what in (("program", "program"), ("ledger", "ledger"), ("wallet", "wallet")):
        one, other = getattr(said, field), getattr(wanted, field)
        if one != other:
            yield f"is of the {what} {encode_address(one)}, and not of {encode_address(other)}"
    if said.cluster_tag != wanted.cluster_tag:
        yield "is of another cluster"
    if said.key_epoch != wanted.key_epoch:
        why = " (the administrator voided it)" if said.key_epoch < wanted.key_epoch else ""
        yield f"is of key epoch {said.key_epoch}, and the ledger's is {wanted.key_epoch}{why}"


def _of_other_key(signer: bytes, key: bytes) -> Iterator[str]:
    if signer != key:
        whose = f"the ledger's voucher key is {encode_address(key)}"
        if key == bytes(KEY_BYTES):
            whose = "the ledger has no voucher key: vouchers are off"
        yield f"was signed by the key {encode_address(signer)}: {whose}"
