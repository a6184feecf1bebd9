"""Token accounts that a payment may touch, the breakers, and what the vault holds and owes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.settlement_model.addresses import (
    ASSOCIATED_TOKEN_PROGRAM,
    derived_with,
    token_address,
)
from tests.settlement_model.state import ClaimRecord, Ledger
from tests.settlement_model.step import Step
from tests.settlement_model.tokens import (
    ACCOUNT_BYTES,
    ACCOUNT_BYTES_2022,
    INITIALIZED,
    TYPE_ACCOUNT,
    TokenAccount,
)
from tests.settlement_model.world import Refusal, require


def require_token_accounts(step: Step) -> None:
    """**token_accounts** of the page."""
    require(step.call.key("vault") == step.ledger.vault, "WrongVault")
    require(step.call.key("mint") == step.ledger.mint, "WrongMint")
    require(step.call.key("token_program") == step.ledger.token_program, "WrongTokenProgram")


def token_account(
    step: Step, address: bytes, owner: bytes | None, token_program: bytes, mint: bytes
) -> TokenAccount:
    """**token_account** of the page; with no owner it is not looked at."""
    held = step.draft.at(address)
    data = held.data
    if held.owner != token_program or not isinstance(data, TokenAccount):
        raise Refusal("InvalidTokenAccount")
    plain = data.length == ACCOUNT_BYTES
    extended = data.length == ACCOUNT_BYTES_2022 and data.type_byte == TYPE_ACCOUNT
    require(plain or extended, "InvalidTokenAccount")
    require(data.state == INITIALIZED, "InvalidTokenAccount")
    require(data.mint == mint, "WrongMint")
    require(owner is None or data.owner == owner, "WrongTokenOwner")
    return data


def require_own_account(step: Step, wallet: bytes, record: ClaimRecord | None = None) -> None:
    """**own_account** of `destination`; a claim record keeps the bump of the address found."""
    ledger, address = step.ledger, step.call.key("destination")
    token_account(step, address, wallet, ledger.token_program, ledger.mint)
    if record is not None and record.ata_bump != 0:
        expected = derived_with(
            ASSOCIATED_TOKEN_PROGRAM, record.ata_bump, wallet, ledger.token_program, ledger.mint
        )
        bump = record.ata_bump
    else:
        expected, bump = token_address(wallet, ledger.token_program, ledger.mint)
    require(address == expected, "WrongDestination")
    require(address != ledger.vault, "WrongDestination")
    if record is not None:
        record.ata_bump = bump


def require_any_account(step: Step) -> None:
    """**any_account** of `destination`."""
    ledger, address = step.ledger, step.call.key("destination")
    token_account(step, address, None, ledger.token_program, ledger.mint)
    require(address != ledger.vault, "WrongDestination")


def pay_out(step: Step, amount: int) -> None:
    """From the vault to `destination`, the ledger signing."""
    step.draft.transfer(step.ledger.vault, step.call.key("destination"), step.ledger_key, amount)


def vault_balance(step: Step) -> int:
    held = step.draft.at(step.ledger.vault).data
    assert isinstance(held, TokenAccount)
    return held.amount


def owed(ledger: Ledger) -> int:
    """What came in and has not gone out."""
    paid = ledger.total_claimed + ledger.total_exited + ledger.total_withdrawn
    return ledger.total_deposited - paid


def excess(step: Step) -> int:
    """What the vault holds above that: nobody's."""
    return vault_balance(step) - owed(step.ledger)


@dataclass
class Breaker:
    """A leaky bucket of the ledger: `flow` of claims and exits, `voucher_flow` of vouchers."""

    step: Step
    which: Literal["flow", "voucher_flow"]

    @property
    def limit(self) -> int:
        limits = self.step.ledger.limits
        return limits.window_limit if self.which == "flow" else limits.voucher_limit

    def level(self) -> int:
        """The level now."""
        ledger, window = self.step.ledger, self.step.ledger.limits.window_secs
        level: int = getattr(ledger, f"{self.which}_level")
        elapsed = self.step.since(getattr(ledger, f"{self.which}_updated_at"))
        if elapsed >= window:
            return 0
        whole, rest = divmod(self.limit, window)
        return max(0, level - (whole * elapsed + rest * elapsed // window))

    def headroom(self) -> int:
        """What may still be taken now.

        Raises:
            Refusal: RateLimited where it is nothing.
        """
        room = self.limit - min(self.level(), self.limit)
        require(room != 0, "RateLimited")
        return room

    def take(self, amount: int) -> None:
        ledger = self.step.ledger
        updated_at: int = getattr(ledger, f"{self.which}_updated_at")
        setattr(ledger, f"{self.which}_level", self.level() + amount)
        setattr(ledger, f"{self.which}_updated_at", max(updated_at, self.step.now))
