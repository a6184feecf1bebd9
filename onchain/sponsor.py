"""When an operator pays the fee of somebody else's claim: pure rules, so that nobody drains it.

In:   rules, what the sponsor has paid for before, and what is asked now.
Out:  nothing, or a `SponsorRefused` by name: the wallet pays its own fee then.
Rules:
  1. A token account is paid for once in a wallet's life: its owner can close it, keep the rent, and
     come again.
  2. A payout is worth its fee: below `payout_min` the wallet waits or pays itself.
  3. Each wallet so often in a window, each claim so many lamports, all together so many a window.
  4. A sponsor signs bytes that it built itself, and no other (`cosign`).
Not here: keeping the history (the coordinator's books do), deciding who is a user of ours.
Not covered: one person with many wallets; each must have earned `payout_min` first.
"""

from __future__ import annotations

from dataclasses import dataclass

from onchain.errors import OnchainError

#: Lamports that a token account of 165 bytes locks; the owner gets them when closing it.
TOKEN_ACCOUNT_LAMPORTS = 2_039_280
#: Lamports that a claim record of 32 bytes locks, for ever.
CLAIM_RECORD_LAMPORTS = 1_113_600


class SponsorRefused(OnchainError):
    """The operator does not pay for this claim; the wallet can."""


class PayoutTooSmall(SponsorRefused):
    """The payout is below what the operator pays a fee for."""


class TokenAccountPaidBefore(SponsorRefused):
    """The operator paid for this wallet's token account once already."""


class SponsoredTooOften(SponsorRefused):
    """The operator has paid for this wallet's claims as often as it does in that time."""


class SponsorshipTooDear(SponsorRefused):
    """This claim costs more lamports than the operator pays for one."""


class SponsorBudgetSpent(SponsorRefused):
    """The operator has paid as many lamports as it does in that time."""


@dataclass(frozen=True, slots=True)
class Rents:
    """What accounts lock, lamports; by default those of a mint of the first token program."""

    token_account: int = TOKEN_ACCOUNT_LAMPORTS
    record: int = CLAIM_RECORD_LAMPORTS


@dataclass(frozen=True, slots=True, kw_only=True)
class SponsorRules:
    """What the operator configured."""

    #: Base units.
    payout_min: int
    #: Claims of one wallet in a window.
    claims_max: int = 2
    #: Length of the window, s.
    window_s: int = 86_400
    #: Lamports of one claim: fee, token account and record, at most.
    lamports_max: int = TOKEN_ACCOUNT_LAMPORTS + CLAIM_RECORD_LAMPORTS + 50_000
    #: Lamports of all claims in a window.
    lamports_window_max: int


@dataclass(frozen=True, slots=True)
class SponsorHistory:
    """What the operator paid before."""

    #: Unix s of this wallet's sponsored claims; older ones than a window may be left out.
    claims_at: tuple[int, ...] = ()
    token_account_paid: bool = False
    #: Lamports paid for all wallets in the last window.
    lamports_in_window: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SponsorRequest:
    """What one claim would take."""

    #: Base units that would be paid out now.
    payout: int
    #: Signatures and priority fee.
    fee_lamports: int
    opens_token_account: bool
    opens_record: bool
    rents: Rents = Rents()

    @property
    def lamports(self) -> int:
        """All that the sponsor would pay."""
        return (
            self.fee_lamports
            + self.opens_token_account * self.rents.token_account
            + self.opens_record * self.rents.record
        )


def check_sponsorship(
    rules: SponsorRules, history: SponsorHistory, request: SponsorRequest, now: int
) -> None:
    """Whether the operator pays for this claim.

    Args:
        rules: As configured.
        history: Of this wallet and of all.
        request: The claim.
        now: Unix s.

    Raises:
        PayoutTooSmall, TokenAccountPaidBefore, SponsoredTooOften, SponsorshipTooDear,
        SponsorBudgetSpent: it does not.
    """
    if request.payout < max(1, rules.payout_min):
        raise PayoutTooSmall(PayoutTooSmall.__doc__)
    if request.opens_token_account and history.token_account_paid:
        raise TokenAccountPaidBefore(TokenAccountPaidBefore.__doc__)
    recent = sum(1 for at in history.claims_at if at > now - rules.window_s)
    if recent >= rules.claims_max:
        raise SponsoredTooOften(SponsoredTooOften.__doc__)
    if request.lamports > rules.lamports_max:
        raise SponsorshipTooDear(SponsorshipTooDear.__doc__)
    if history.lamports_in_window + request.lamports > rules.lamports_window_max:
        raise SponsorBudgetSpent(SponsorBudgetSpent.__doc__)
