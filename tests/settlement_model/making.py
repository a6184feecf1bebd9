"""initialize and deposit; what roles and limits must be."""

from __future__ import annotations

from typing import Final

from tests.settlement_model.addresses import (
    SYSTEM_PROGRAM,
    TOKEN_2022,
    TOKEN_PROGRAM,
    derived,
    token_address,
)
from tests.settlement_model.money import require_token_accounts, token_account, vault_balance
from tests.settlement_model.state import U64_MAX, Ledger, Limits
from tests.settlement_model.step import DEPOSIT, Step, constant, is_zero
from tests.settlement_model.tokens import (
    ACCOUNT_TYPE_AT,
    MINT_BYTES,
    TYPE_MINT,
    TokenAccount,
    only_harmless_extensions,
)
from tests.settlement_model.world import Refusal, decimals_of, require

#: As the ledger names them.
ROLES: Final = ("admin", "publisher", "guardian", "voucher_key")


def require_roles(admin: bytes, publisher: bytes, guardian: bytes, voucher_key: bytes) -> None:
    """**roles_ok** of the page."""
    roles = (admin, publisher, guardian)
    require(not any(is_zero(role) for role in roles), "RoleConflict")
    require(len({*roles}) == 3, "RoleConflict")
    require(is_zero(voucher_key) or voucher_key not in roles, "RoleConflict")


def require_limits(limits: Limits) -> None:
    """**limits_ok** of the page."""
    least = constant("MIN_WINDOW_RATE") * limits.window_secs
    interval = limits.min_epoch_interval
    good = (
        1 <= interval <= constant("MAX_EPOCH_INTERVAL")
        and 1 <= limits.window_secs <= constant("MAX_WINDOW")
        and limits.window_limit >= least
        and (limits.voucher_limit == 0 or limits.voucher_limit >= least)
        and constant("MIN_FAST_DELAY") <= limits.fast_delay <= limits.slow_delay
        and limits.slow_delay >= constant("MIN_SLOW_DELAY")
        and limits.slow_delay + interval < limits.exit_after <= constant("MAX_EXIT_AFTER")
        and constant("MIN_CONFIG_DELAY") <= limits.config_delay <= constant("MAX_CONFIG_DELAY")
        and limits.min_deposit >= 1
    )
    require(good, "BadLimits")


def initialize(step: Step) -> None:
    step.signed("payer")
    step.signed("base")
    token_program = step.call.key("token_program")
    require(token_program in {TOKEN_PROGRAM, TOKEN_2022}, "WrongTokenProgram")
    mint = _require_mint(step, token_program)
    admin, publisher, guardian, voucher_key = (step.call.hash(name) for name in ROLES)
    require_roles(admin, publisher, guardian, voucher_key)
    limits = step.call.limits()
    require_limits(limits)

    base, mint_key = step.call.key("base"), step.call.key("mint")
    canonical, bump = derived(step.program, b"ledger", base)
    require(step.ledger_key == canonical, "InvalidLedger")
    held = step.draft.at(step.ledger_key)
    require(held.owner == SYSTEM_PROGRAM, "AlreadyInitialized")
    require(step.rent_threshold in {1, 2}, "UnsupportedRent")

    vault = step.call.key("vault")
    require(vault == token_address(canonical, token_program, mint_key)[0], "WrongVault")
    account = token_account(step, vault, canonical, token_program, mint_key)
    free = account.delegate is None and account.close_authority is None
    require(free, "InvalidTokenAccount")

    held.owner = step.program
    ledger = Ledger(
        base,
        step.call.hash("cluster_tag"),
        mint_key,
        vault,
        token_program,
        admin,
        publisher,
        guardian,
        voucher_key,
    )
    ledger.limits = limits
    ledger.active.active_at = step.now
    ledger.flow_updated_at = ledger.voucher_flow_updated_at = step.now
    ledger.bump, ledger.version, ledger.decimals = bump, 1, decimals_of(mint)
    held.data = ledger


def _require_mint(step: Step, token_program: bytes) -> bytes:
    held = step.draft.at(step.call.key("mint"))
    if isinstance(held.data, bytes):
        raw = held.data
    elif isinstance(held.data, TokenAccount):
        raw = held.data.encode()
    else:
        raise Refusal("WrongMint")
    require(held.owner == token_program, "WrongMint")
    require(len(raw) >= MINT_BYTES, "WrongMint")
    require(token_program == TOKEN_2022 or len(raw) == MINT_BYTES, "WrongMint")
    require(raw[45] == 1, "WrongMint")
    require(raw[46:50] == bytes(4), "MintFreezable")
    if len(raw) > MINT_BYTES:
        require(len(raw) > ACCOUNT_TYPE_AT and raw[ACCOUNT_TYPE_AT] == TYPE_MINT, "WrongMint")
        require(only_harmless_extensions(raw), "MintExtension")
    return raw


def deposit(step: Step) -> None:
    amount = step.call.number("amount")
    require(amount != 0, "BadArgs")
    step.refuse_if_paused(DEPOSIT)
    step.signed("payer")
    step.signed("authority")
    require_token_accounts(step)
    source, owner = step.call.key("source"), step.call.key("owner")
    ledger = step.ledger
    require(source != ledger.vault, "WrongVault")
    require(amount >= ledger.limits.min_deposit, "BelowMinimum")
    record = step.deposit_record(may_open=True)

    before = vault_balance(step)
    step.draft.transfer(source, ledger.vault, step.call.key("authority"), amount)
    require(vault_balance(step) == before + amount, "TransferMismatch")

    record.deposited += amount
    ledger.total_deposited += amount
    if owner == step.ledger_key:
        ledger.reserve += amount
    sums = (record.deposited, ledger.total_deposited, ledger.reserve)
    require(max(sums) <= U64_MAX, "Overflow")
    record.last_slot = step.slot
    step.emit("Deposited", owner=owner, amount=amount, deposited=record.deposited)
