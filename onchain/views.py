"""What the program's accounts say, as frozen values; decoded by anchorpy from our IDL.

In:   accounts of the chain (`chain.Account`), and the market that they are to belong to.
Out:  `Ledger`, `ClaimRecord`, `DepositRecord`; fields as in `docs/program.md`, "Accounts".
Rules:
  1. An account is believed only if the program owns it and size and discriminator are right, at the
     address that was asked for.
  2. A record that is not there is one of zeros: the program would open it so.
Amounts are base units, times Unix s, keys and hashes 32 bytes.
Not covered: a million records at once; one takes about 0.05 ms to decode.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from onchain.account_words import described
from onchain.address import encode_address
from onchain.anchor import account_fields
from onchain.chain import Account
from onchain.errors import OnchainError
from onchain.places import Market


class NotOfTheProgram(OnchainError):
    """At this address lies no such account of the settlement program."""


class OtherMarket(OnchainError):
    """The ledger at this address has another mint, token program or cluster than was pinned."""


class Root(msgspec.Struct, frozen=True):
    """A tree of leaves, and when it was published; epoch 0: there is none."""

    epoch: int = 0
    root: bytes = bytes(32)
    data_hash: bytes = bytes(32)
    total: int = 0
    total_exitable: int = 0
    published_at: int = 0
    active_at: int = 0
    leaf_count: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the administrator chose: amounts in base units, durations in s."""

    max_epoch_increase: int
    window_limit: int
    advance_cap: int
    wallet_advance_cap: int
    voucher_limit: int
    min_deposit: int
    min_epoch_interval: int
    slow_delay: int
    fast_delay: int
    window_secs: int
    exit_after: int
    config_delay: int


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """One market on the chain."""

    base: bytes
    cluster_tag: bytes
    mint: bytes
    vault: bytes
    token_program: bytes
    admin: bytes
    publisher: bytes
    guardian: bytes
    voucher_key: bytes
    total_deposited: int
    total_claimed: int
    total_exited: int
    total_withdrawn: int
    reserve: int
    advance: int
    last_epoch: int
    active: Root
    previous: Root
    pending: Root
    pending_min_slot: int
    limits: Limits
    flow_level: int
    flow_updated_at: int
    voucher_flow_level: int
    voucher_flow_updated_at: int
    #: Of deposit, claim, publish, redeem.
    paused_until: tuple[int, int, int, int]
    claim_paused_at: int
    guardian_paused_at: int
    proposal_number: int
    proposal_due_at: int
    proposal_key: bytes
    proposal_amount: int
    proposal_limits: Limits
    proposal_kind: int
    proposal_flags: int
    revocable: int
    approved: int
    bump: int
    version: int
    decimals: int
    key_epoch: int

    @property
    def owed(self) -> int:
        """What came in and has not gone out; the vault holds at least this."""
        return self.total_deposited - self.total_claimed - self.total_exited - self.total_withdrawn


class ClaimRecord(msgspec.Struct, frozen=True):
    """What one wallet was paid; zeros where the program has not opened it yet."""

    claimed: int = 0
    covered: int = 0
    bump: int = 0
    ata_bump: int = 0

    @property
    def exists(self) -> bool:
        """A record on the chain has its bump, which is never 0 in practice."""
        return self.bump != 0

    @property
    def advance(self) -> int:
        """What vouchers paid beyond the highest leaf that was proven."""
        return max(0, self.claimed - self.covered)


class DepositRecord(msgspec.Struct, frozen=True):
    """What one owner brought in and took out; zeros where there is none."""

    ledger: bytes = bytes(32)
    owner: bytes = bytes(32)
    deposited: int = 0
    exited: int = 0
    last_slot: int = 0
    exit_requested_at: int = 0
    bump: int = 0

    @property
    def exists(self) -> bool:
        return self.bump != 0


_View = TypeVar("_View", Ledger, ClaimRecord, DepositRecord)


def decode_ledger(account: Account | None, market: Market) -> Ledger:
    """The market's ledger.

    Raises:
        NotOfTheProgram: there is none at the market's address.
        OtherMarket: it is not the market that was pinned.
    """
    if account is None:
        raise NotOfTheProgram(NotOfTheProgram.__doc__)
    ledger = _decoded(Ledger, account, market.program, market.ledger)
    pinned = (market.mint, market.vault, market.token_program, market.cluster_tag)
    if (ledger.mint, ledger.vault, ledger.token_program, ledger.cluster_tag) != pinned:
        raise OtherMarket(OtherMarket.__doc__)
    return ledger


def decode_market(account: Account | None, program: bytes) -> Market:
    """The market of a ledger whose address somebody pinned and whose rest is taken from the chain.

    Raises:
        NotOfTheProgram: it is no ledger of the program.
    """
    if account is None:
        raise NotOfTheProgram(NotOfTheProgram.__doc__)
    found = _decoded(Ledger, account, program, account.address)
    return Market(program, account.address, found.mint, found.token_program, found.cluster_tag)


def decode_claim_record(account: Account | None, market: Market, wallet: bytes) -> ClaimRecord:
    """What a wallet was paid.

    Raises:
        NotOfTheProgram: something else lies at the record's address.
    """
    if _is_unopened(account):
        return ClaimRecord()
    return _decoded(ClaimRecord, account, market.program, market.claim_record(wallet))


def decode_deposit_record(account: Account | None, market: Market, owner: bytes) -> DepositRecord:
    """What an owner brought in.

    Raises:
        NotOfTheProgram: something else lies at the record's address, or another owner's record.
    """
    if _is_unopened(account):
        return DepositRecord(market.ledger, owner)
    record = _decoded(DepositRecord, account, market.program, market.deposit_record(owner))
    if (record.ledger, record.owner) != (market.ledger, owner):
        raise NotOfTheProgram(NotOfTheProgram.__doc__)
    return record


def _is_unopened(account: Account | None) -> bool:
    """Nothing there, or lamports that somebody sent to the address before it was opened."""
    return account is None or (account.owner == bytes(32) and not account.data)


def _decoded(view: type[_View], account: Account | None, program: bytes, address: bytes) -> _View:
    assert account is not None
    if (account.owner, account.address) != (program, address):
        raise NotOfTheProgram(_other_than(view, account, program))
    try:
        name, fields = account_fields(account.data)
    except ValueError as error:
        raise NotOfTheProgram(_other_than(view, account, program)) from error
    if name != view.__name__:
        raise NotOfTheProgram(_other_than(view, account, program))
    return _built(view, fields)


def _other_than(view: type[_View], account: Account, program: bytes) -> str:
    return (
        f"at {encode_address(account.address)} lies {described(account)}, not a {view.__name__} of "
        f"the settlement program {encode_address(program)}"
    )


def _built(view: type[_View], fields: dict[str, Any]) -> _View:
    return msgspec.convert(fields, view, builtin_types=(bytes,))
