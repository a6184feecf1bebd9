"""Why the settlement program refuses: its errors, numbered from 6000 as Anchor does.

Numbers are part of the interface: a new error goes to the end.
"""

from __future__ import annotations

from typing import Final, NamedTuple

FIRST_CODE: Final = 6000


class Refusal(NamedTuple):
    """One error of the program; its number is `FIRST_CODE` plus its place in `REFUSALS`."""

    name: str
    message: str


REFUSALS: Final = (
    Refusal("UnknownInstruction", "the first 8 bytes name no instruction"),
    Refusal("AccountCount", "too few accounts, or more than the program takes"),
    Refusal("BadArgs", "the arguments have the wrong length or a value out of range"),
    Refusal("MissingSigner", "an account that must sign has not signed"),
    Refusal("Unauthorized", "the signer does not hold that role"),
    Refusal("InvalidLedger", "not a ledger of this program"),
    Refusal("InvalidRecord", "not the claim or deposit record of that ledger and wallet"),
    Refusal("AlreadyInitialized", "that ledger exists"),
    Refusal("WrongTokenProgram", "not the token program of the ledger"),
    Refusal("WrongMint", "not the mint of the ledger, or not a mint"),
    Refusal("MintFreezable", "the mint has a freeze authority"),
    Refusal("MintExtension", "the mint has an extension other than metadata"),
    Refusal("WrongVault", "not the vault of the ledger"),
    Refusal("InvalidTokenAccount", "not an initialized token account of that program"),
    Refusal("WrongTokenOwner", "the token account belongs to somebody else"),
    Refusal("WrongDestination", "the money goes to the wallet's associated token account only"),
    Refusal("UnsupportedRent", "the cluster's rent has a threshold that the program does not know"),
    Refusal("RoleConflict", "a role is zero, or two roles have the same key"),
    Refusal("BadLimits", "limits outside what the program allows"),
    Refusal("NotTightening", "only stricter limits take effect at once: propose the others"),
    Refusal("Paused", "paused: see `paused_until`"),
    Refusal("PauseSpent", "this pause may not begin again so soon"),
    Refusal("BelowMinimum", "smaller than the smallest deposit"),
    Refusal("Overflow", "a sum does not fit into 64 bits"),
    Refusal("TransferMismatch", "the vault did not receive what was sent"),
    Refusal("RootPending", "another root is pending"),
    Refusal("NoPendingRoot", "no such root is pending"),
    Refusal("NotDue", "its moment has not come"),
    Refusal("BadEpoch", "the number of an epoch is the last published one plus one"),
    Refusal("TooSoon", "the interval between two roots is not over"),
    Refusal("EmptyRoot", "a root has at least one leaf and is not zero"),
    Refusal("TotalDecreased", "a total is below what was promised or paid before"),
    Refusal("ExceedsEpochCap", "the total rises by more than the cap of an epoch"),
    Refusal("Insolvent", "promised more than was deposited, or the vault lacks money"),
    Refusal("NotRevocable", "that epoch is not active, or was restored by a revocation itself"),
    Refusal("StaleEpoch", "that root is not active any more, or not yet: fetch a new proof"),
    Refusal("InvalidProof", "the proof does not lead to the root"),
    Refusal("NothingToClaim", "everything proven by that leaf or voucher is paid"),
    Refusal("ExceedsTotal", "more than the sum of all leaves would be paid"),
    Refusal("RateLimited", "the breaker of this window is full: try again later"),
    Refusal("VouchersOff", "the ledger has no voucher key"),
    Refusal("VoucherExpired", "the voucher has expired"),
    Refusal("BadVoucher", "the instruction before is not the check of exactly this voucher"),
    Refusal("AdvanceExhausted", "no more is paid beyond active roots"),
    Refusal("ReserveInUse", "the reserve backs vouchers that no root covers yet"),
    Refusal("ExitClosed", "no door to exit is open"),
    Refusal("ExitRequested", "a request to exit stands already"),
    Refusal("NoExitRequest", "there is no request to exit"),
    Refusal("NothingToExit", "everything exitable is paid"),
    Refusal("ProposalPending", "another proposal is pending"),
    Refusal("NoProposal", "no such proposal is pending"),
    Refusal("ProposalExpired", "the proposal was not applied in time: make it anew"),
    Refusal("NotExcess", "the vault holds less above what it owes"),
    Refusal("KeyEpochDecreased", "the epoch of voucher keys rises by one at a time"),
)

#: Name → number.
CODES: Final = {refusal.name: FIRST_CODE + at for at, refusal in enumerate(REFUSALS)}
