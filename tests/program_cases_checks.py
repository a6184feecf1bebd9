"""Rows of the check before a voucher is redeemed: neighbours, headers, what the message says.

A voucher is checked by the Ed25519 program, and read by ours out of the list of instructions:
whatever that program accepts besides a plain check of this very voucher has to be refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from struct import pack
from typing import Any, Final

from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from tests.program_cases import RUNTIME, Told, no, ok
from tests.program_changes import account, args, asked, check, ledger, record, token, voucher
from tests.program_scenes import (
    MINT,
    NOBODY,
    NOW,
    OTHER_KEY,
    STRANGER,
    VOUCHER_KEY,
    Change,
    Scene,
    record_of,
    voucher_check,
)
from tests.program_tokens import SPL_TOKEN, associated, associated_bump
from tests.program_vouchers import (
    ED25519,
    KEY_AT,
    MESSAGE_AT,
    SIGNATURE_AT,
    Check,
    check_instruction,
    signed_check,
)
from tests.program_world import key_of

BUDGET: Final = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
CLOCK: Final = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
CUMULATIVE: Final = 9_000_000
EXPIRES: Final = NOW + 600


def checks() -> Iterator[Told]:
    yield from _neighbours()
    yield from _headers()
    yield from _messages()


def before(*instructions: Any) -> Change:
    """Other instructions before it: each made from the scene."""

    def change(scene: Scene) -> None:
        scene.before[:] = instructions

    return change


def _nudge(scene: Scene) -> Instruction:
    """An instruction that does nothing: the compute budget's."""
    return Instruction(BUDGET, b"\x02" + (400_000).to_bytes(4, "little"), [])


def _data(edit: Any) -> Any:
    """The checking instruction with other data."""

    def make(scene: Scene) -> Instruction:
        made = voucher_check(scene)
        return Instruction(made.program_id, edit(bytes(made.data)), list(made.accounts))

    return make


def _with_account(scene: Scene) -> Instruction:
    made = voucher_check(scene)
    return Instruction(made.program_id, bytes(made.data), [AccountMeta(STRANGER, False, False)])


def _neighbours() -> Iterator[Told]:
    bad = "BadVoucher"
    yield no(bad, "nothing before it", before())
    yield no(bad, "something else before it", before(_nudge))
    yield no(bad, "the check two before it", before(voucher_check, _nudge))
    yield ok("something else before the check", before(_nudge, voucher_check))
    behind = lambda scene: scene.after.append(voucher_check)  # noqa: E731
    yield no(bad, "the check after it", before(), behind)
    yield no(bad, "the check with an account", before(_with_account))
    yield no(
        RUNTIME,
        "another signature under the message",
        before(_data(lambda old: old[:50] + bytes([old[50] ^ 1]) + old[51:])),
    )
    longer = _data(lambda old: old + b"\0")
    yield no(bad, "the check with a byte behind", before(longer))
    two = lambda scene: scene.before.insert(0, voucher_check)  # noqa: E731
    yield ok("two checks of one voucher", two)
    yield no(bad, "a forged list of instructions", _forged_list)
    again = lambda scene: scene.after.append(lambda same: same.instruction())  # noqa: E731
    yield no(bad, "two redemptions after one check", again)
    yield no("NothingToClaim", "checked and redeemed twice", _twice)
    for said, key in (("no sysvar", STRANGER), ("the clock", CLOCK)):
        yield no(bad, f"{said} for the list of instructions", account("instructions_sysvar", key))


FORGED: Final = key_of("forged list of instructions")


def _forged_list(scene: Scene) -> None:
    """An account like the sysvar: in its list stands a check that nobody made."""
    assert scene.voucher is not None
    scene.before.clear()
    header, key = Check().header(), bytes(VOUCHER_KEY.pubkey())
    data = header + key + bytes(64) + scene.voucher.message()
    made = pack("<H", 0) + bytes(ED25519) + pack("<H", len(data)) + data
    listed = pack("<HHH", 2, 6, 6 + len(made)) + made + bytes(400) + pack("<H", 1)
    scene.extra[FORGED] = Account(10**9, listed, STRANGER)
    scene.keys["instructions_sysvar"] = FORGED


def _twice(scene: Scene) -> None:
    scene.after += [voucher_check, lambda again: again.instruction()]


def _headers() -> Iterator[Told]:
    """Every field of the check's header, as far as the Ed25519 program itself would take it."""
    bad = "BadVoucher"
    yield no(RUNTIME, "no signature, the bytes of one", check(count=0))
    yield no(bad, "no signature and no bytes", before(_data(lambda _: bytes(2))))
    yield no(bad, "a byte of padding", check(padding=1))
    yield no(bad, "padding of 255", check(padding=255))
    for field in ("signature_in", "key_in", "message_in"):
        for number in (0, 1):
            yield no(bad, f"{field} is instruction {number}", *_elsewhere(field, number))
    yield no(bad, "a message a byte shorter", _short(163))
    yield no(bad, "the wallet's own signature", _signed_by_wallet)
    yield no(bad, "an honest check behind which a forgery is read", before(_behind))
    yield no(bad, "two signatures", before(_two_signatures))


def _elsewhere(field: str, number: int) -> tuple[Change, ...]:
    """The check points at an instruction; the same bytes are there, so the check itself passes."""

    def change(scene: Scene) -> None:
        scene.check = replace(scene.check, **{field: number})
        scene.before[:] = [voucher_check, voucher_check] if number == 0 else [_nudge, voucher_check]

    return (change,)


def _short(size: int) -> Change:
    """Only the first bytes of the message are signed, all of it is there."""

    def make(scene: Scene) -> Instruction:
        assert scene.voucher is not None
        message = scene.voucher.message()
        signature = bytes(scene.signer.sign_message(message[:size]))
        header = Check(message_size=size).header()
        return check_instruction(header + bytes(scene.signer.pubkey()) + signature + message)

    return before(make)


def _signed_by_wallet(scene: Scene) -> None:
    """What is checked is the wallet's key, out of the message; the voucher key only lies there."""
    wallet = OTHER_KEY.pubkey()
    scene.keys["wallet"] = wallet
    scene.keys["destination"] = associated(wallet, SPL_TOKEN, MINT)
    scene.keys["claim_record"], bump = record_of("claim", wallet)
    record(bump=bump, ata_bump=associated_bump(wallet, SPL_TOKEN, MINT))(scene)
    token("destination", owner=wallet)(scene)
    voucher(wallet=bytes(wallet))(scene)

    def make(_: Scene) -> Instruction:
        assert scene.voucher is not None
        message = scene.voucher.message()
        header = Check(key_at=MESSAGE_AT + message.index(bytes(wallet))).header()
        signature = bytes(OTHER_KEY.sign_message(message))
        return check_instruction(header + bytes(VOUCHER_KEY.pubkey()) + signature + message)

    before(make)(scene)


def _behind(scene: Scene) -> Instruction:
    """A forger's key, signature and message are checked; the honest key and message lie before."""
    assert scene.voucher is not None
    message = scene.voucher.message()
    forged = Check(key_at=276, signature_at=276 + 32, message_at=MESSAGE_AT).header()
    key, signature = bytes(OTHER_KEY.pubkey()), bytes(OTHER_KEY.sign_message(message))
    honest = bytes(VOUCHER_KEY.pubkey()) + bytes(64) + message
    return check_instruction(forged + honest + key + signature)


def _two_signatures(scene: Scene) -> Instruction:
    """Both of the same parts, which lie 14 bytes later."""
    data = bytes(voucher_check(scene).data)
    later = Check(key_at=KEY_AT + 14, signature_at=SIGNATURE_AT + 14, message_at=MESSAGE_AT + 14)
    offsets = later.header()[2:]
    return check_instruction(b"\2\0" + offsets + offsets + data[16:])


def _messages() -> Iterator[Told]:
    bad = "BadVoucher"
    for name, value in {
        "program": bytes(STRANGER),
        "ledger": bytes(key_of("another ledger")),
        "cluster_tag": bytes(32),
        "wallet": bytes(STRANGER),
        "cumulative": CUMULATIVE + 1,
        "expires_at": EXPIRES + 1,
    }.items():
        yield no(bad, f"a voucher of another {name}", voucher(**{name: value}))
    for number in (0, 2, 4, 2**32 - 1):
        yield no(bad, f"a voucher of key epoch {number}", voucher(key_epoch=number))
    yield no(bad, "signed by another key", _signer)
    yield no(bad, "the voucher key changed", ledger(voucher_key=OTHER_KEY.pubkey()))
    yield no("VouchersOff", "no voucher key", ledger(voucher_key=NOBODY))
    yield no(
        "VouchersOff", "no voucher key, a check of zeros", ledger(voucher_key=NOBODY), before()
    )
    yield no(bad, "more asked for than it says", args(cumulative=CUMULATIVE + 1))
    yield no(bad, "less asked for than it says", args(cumulative=CUMULATIVE - 1))
    yield no(bad, "another end asked for", args(expires_at=EXPIRES - 1))
    yield no(bad, "another wallet asks", account("wallet", STRANGER))
    for place in (0, 1, 15):
        yield no(bad, f"another byte {place} in its title", before(_titled(place)))
    yield ok("at the second at which it ends", asked(expires_at=NOW))
    yield no("VoucherExpired", "a second after its end", asked(expires_at=NOW - 1))
    yield no("VoucherExpired", "an end of -1", asked(expires_at=-1))
    yield ok("it never ends", asked(expires_at=2**63 - 1))


def _signer(scene: Scene) -> None:
    scene.signer = OTHER_KEY


def _titled(place: int) -> Any:
    def make(scene: Scene) -> Instruction:
        assert scene.voucher is not None
        message = bytearray(scene.voucher.message())
        message[place] ^= 1
        return check_instruction(signed_check(bytes(message), scene.signer))

    return make
