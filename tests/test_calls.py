"""Instructions as the page declares them: accounts, their order and rights, and every argument."""

from __future__ import annotations

from inspect import signature
from struct import pack
from types import ModuleType

import pytest
from solders.instruction import Instruction
from solders.pubkey import Pubkey
from spl.token.instructions import create_idempotent_associated_token_account

from coordinator.protocol.signing import from_seed
from onchain import calls, role_calls
from onchain.leaves import Kind
from onchain.places import (
    ATA_PROGRAM,
    ED25519_PROGRAM,
    INSTRUCTIONS_SYSVAR,
    SYSTEM_PROGRAM,
    TOKEN_PROGRAM,
    Market,
)
from onchain.program import DEVELOPMENT_ID
from onchain.program.instructions import INSTRUCTIONS
from onchain.role_calls import NO_LIMITS, Pause, Proposal, Roles
from onchain.settlement_tree import Proof
from onchain.views import Limits, Root
from onchain.vouchers import sign_voucher, voucher_for

MARKET = Market(DEVELOPMENT_ID, b"L" * 32, b"M" * 32, cluster_tag=b"G" * 32)
PAYER, WALLET, OTHER, ROLE = b"P" * 32, b"W" * 32, b"O" * 32, b"R" * 32
EARNED = Proof(
    kind=Kind.EARNINGS,
    ledger=MARKET.ledger,
    address=WALLET,
    epoch=9,
    index=5,
    amount=1234,
    path=(b"\x01" * 32, b"\x02" * 32),
)
EXITABLE = Proof(
    kind=Kind.EXIT, ledger=MARKET.ledger, address=WALLET, epoch=9, index=6, amount=77, path=()
)
VOUCHER = sign_voucher(
    from_seed(bytes(32)),
    voucher_for(MARKET, WALLET, cumulative=500, expires_at=-3, key_epoch=2),
)
LIMITS = Limits(**{name: at for at, name in enumerate(NO_LIMITS.__struct_fields__, 1)})
LIMITS_BYTES = pack("<6Q6I", *range(1, 13))
KEYS = {
    "payer": PAYER,
    "wallet": WALLET,
    "owner": WALLET,
    "base": OTHER,
    "authority": ROLE,
    "ledger": MARKET.ledger,
    "claim_record": MARKET.claim_record(WALLET),
    "deposit_record": MARKET.deposit_record(WALLET),
    "vault": MARKET.vault,
    "source": MARKET.token_account(ROLE),
    "destination": MARKET.token_account(WALLET),
    "mint": MARKET.mint,
    "token_program": TOKEN_PROGRAM,
    "system_program": SYSTEM_PROGRAM,
    "instructions_sysvar": INSTRUCTIONS_SYSVAR,
}
PROVEN = pack("<QIQI", 9, 5, 1234, 2) + b"\x01" * 32 + b"\x02" * 32
PROMISED = Root(9, b"r" * 32, b"d" * 32, 10, 11, leaf_count=3)
PROMISED_BYTES = pack("<Q32s32sQQI", 9, b"r" * 32, b"d" * 32, 10, 11, 3)
PROPOSED = pack("<B32sQB", 7, OTHER, 8, 0) + bytes(72)
BUILT = {
    "initialize": (
        role_calls.initialize(
            MARKET,
            payer=PAYER,
            base=OTHER,
            roles=Roles(admin=b"a" * 32, publisher=b"p" * 32, guardian=b"g" * 32),
            limits=LIMITS,
        ),
        b"G" * 32 + b"a" * 32 + b"p" * 32 + b"g" * 32 + bytes(32) + LIMITS_BYTES,
    ),
    "deposit": (
        calls.deposit(MARKET, payer=PAYER, authority=ROLE, owner=WALLET, amount=99),
        pack("<Q", 99),
    ),
    "publish_root": (
        role_calls.publish_root(MARKET, authority=ROLE, promised=PROMISED),
        PROMISED_BYTES,
    ),
    "approve_root": (
        role_calls.approve_root(MARKET, authority=ROLE, epoch=9, root=b"r" * 32),
        pack("<Q", 9) + b"r" * 32,
    ),
    "activate_root": (role_calls.activate_root(MARKET), b""),
    "cancel_root": (role_calls.cancel_root(MARKET, authority=ROLE, epoch=9), pack("<Q", 9)),
    "revoke_root": (role_calls.revoke_root(MARKET, authority=ROLE, epoch=9), pack("<Q", 9)),
    "claim": (calls.claim(MARKET, payer=PAYER, proof=EARNED), PROVEN),
    "claim_to": (
        calls.claim_to(MARKET, payer=PAYER, proof=EARNED, destination=MARKET.token_account(WALLET)),
        PROVEN,
    ),
    "cover": (calls.cover(MARKET, proof=EARNED), PROVEN),
    "redeem": (calls.redeem(MARKET, payer=PAYER, voucher=VOUCHER)[1], pack("<Qq", 500, -3)),
    "redeem_to": (
        calls.redeem_to(
            MARKET, payer=PAYER, voucher=VOUCHER, destination=MARKET.token_account(WALLET)
        )[1],
        pack("<Qq", 500, -3),
    ),
    "exit": (calls.exit_credit(MARKET, proof=EXITABLE), pack("<QIQI", 9, 6, 77, 0)),
    "request_exit": (calls.request_exit(MARKET, owner=WALLET), b""),
    "cancel_exit": (calls.cancel_exit(MARKET, owner=WALLET), b""),
    "set_paused": (
        role_calls.set_paused(MARKET, authority=ROLE, flags=Pause.CLAIM | Pause.REDEEM),
        b"\x0a",
    ),
    "tighten_limits": (
        role_calls.tighten_limits(MARKET, authority=ROLE, limits=LIMITS),
        LIMITS_BYTES,
    ),
    "void_vouchers": (
        role_calls.void_vouchers(MARKET, authority=ROLE, key_epoch=4),
        pack("<I", 4),
    ),
    "propose_config": (
        role_calls.propose_config(MARKET, authority=ROLE, kind=Proposal.SWEEP, key=OTHER, amount=8),
        PROPOSED,
    ),
    "apply_config": (role_calls.apply_config(MARKET), b""),
    "accept_admin": (role_calls.accept_admin(MARKET, authority=ROLE), b""),
    "sweep_excess": (role_calls.sweep_excess(MARKET, wallet=WALLET), b""),
    "withdraw_reserve": (role_calls.withdraw_reserve(MARKET, wallet=WALLET), b""),
    "cancel_config": (role_calls.cancel_config(MARKET, authority=ROLE, number=3), pack("<Q", 3)),
}


def test_there_is_a_call_for_every_instruction() -> None:
    assert list(BUILT) == [each.name for each in INSTRUCTIONS]


@pytest.mark.parametrize("declared", INSTRUCTIONS, ids=lambda each: each.name)
def test_a_call_is_the_declared_instruction(declared: object) -> None:
    assert isinstance(declared, type(INSTRUCTIONS[0]))
    built, arguments = BUILT[declared.name]

    assert bytes(built.program_id) == DEVELOPMENT_ID
    assert bytes(built.data) == declared.discriminator + arguments
    assert [(bytes(m.pubkey), m.is_signer, m.is_writable) for m in built.accounts] == [
        (KEYS[each.name], each.signer, each.writable) for each in declared.accounts
    ]


@pytest.mark.parametrize("module", [calls, role_calls])
def test_arguments_are_named(module: ModuleType) -> None:
    for name, function in vars(module).items():
        if name.startswith("_") or getattr(function, "__module__", "") != module.__name__:
            continue
        if callable(function) and not isinstance(function, type):
            kinds = [each.kind for each in signature(function).parameters.values()]
            assert all(kind is kind.KEYWORD_ONLY for kind in kinds[1:]), name


def test_a_proof_of_another_ledger_or_kind_is_no_argument() -> None:
    with pytest.raises(AssertionError):
        calls.claim(MARKET, payer=PAYER, proof=EXITABLE)
    with pytest.raises(AssertionError):
        calls.exit_credit(MARKET, proof=EARNED)
    stranger = Market(DEVELOPMENT_ID, b"S" * 32, MARKET.mint)
    with pytest.raises(AssertionError):
        calls.claim(stranger, payer=PAYER, proof=EARNED)
    with pytest.raises(AssertionError):
        calls.redeem(stranger, payer=PAYER, voucher=VOUCHER)


def test_the_check_of_a_voucher_stands_just_before_it() -> None:
    check, redeem = calls.redeem(MARKET, payer=PAYER, voucher=VOUCHER)

    assert bytes(check.program_id) == ED25519_PROGRAM
    assert check.accounts == []
    assert bytes(check.data) == VOUCHER.ed25519_data()
    assert bytes(redeem.data)[:8] == BUILT["redeem"][0].data[:8]


def test_a_token_account_is_made_as_spls_library_does() -> None:
    ours = calls.create_token_account(MARKET, payer=PAYER, wallet=WALLET)
    theirs: Instruction = create_idempotent_associated_token_account(
        Pubkey(PAYER), Pubkey(WALLET), Pubkey(MARKET.mint)
    )

    assert bytes(ours.program_id) == ATA_PROGRAM
    assert bytes(ours.data) == bytes(theirs.data)
    mine = [(m.pubkey, m.is_signer, m.is_writable) for m in ours.accounts]
    assert mine == [(m.pubkey, m.is_signer, m.is_writable) for m in theirs.accounts[: len(mine)]]
