"""The accounts as the program sees them, and a draft that is kept or thrown away whole."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Final

from tests.settlement_model.addresses import SYSTEM_PROGRAM
from tests.settlement_model.state import (
    U64_MAX,
    ClaimRecord,
    DepositRecord,
    Ledger,
    copied,
    encode,
)
from tests.settlement_model.tokens import INITIALIZED, MINT_BYTES, TokenAccount

#: The answer where the token program refuses a transfer: not one of our errors.
TOKEN_REFUSES: Final = "TokenProgramRefuses"

Data = Ledger | ClaimRecord | DepositRecord | TokenAccount | bytes


class Refusal(Exception):
    """An instruction is refused; its one argument is the error's name."""


def require(condition: bool, error: str) -> None:
    if not condition:
        raise Refusal(error)


@dataclass(slots=True)
class Account:
    """Who owns it, and what it holds; mints and strangers' accounts are kept as bytes."""

    owner: bytes = SYSTEM_PROGRAM
    data: Data = b""


def _copied(account: Account) -> Account:
    data = account.data
    if isinstance(data, Ledger | ClaimRecord | DepositRecord):
        return Account(account.owner, copied(data))
    return Account(account.owner, copy(data))


@dataclass
class World:
    """Address → account, and the clock. An address without an entry is the system program's."""

    now: int
    slot: int
    accounts: dict[bytes, Account] = field(default_factory=dict)
    #: Of the rent sysvar: the program knows 1 and 2.
    rent_threshold: float = 2.0

    def bytes_of(self, address: bytes) -> bytes:
        """What that account holds, byte for byte; empty where there is none."""
        data = self.accounts.get(address, Account()).data
        if isinstance(data, bytes):
            return data
        return data.encode() if isinstance(data, TokenAccount) else encode(data)

    def ledger(self, address: bytes) -> Ledger:
        data = self.accounts[address].data
        assert isinstance(data, Ledger)
        return data

    def tokens(self, address: bytes) -> TokenAccount:
        data = self.accounts[address].data
        assert isinstance(data, TokenAccount)
        return data


class Draft:
    """The accounts while one instruction runs: copies, put into the world only if it succeeds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changed: dict[bytes, Account] = {}

    def at(self, address: bytes) -> Account:
        if address not in self.changed:
            self.changed[address] = _copied(self.world.accounts.get(address, Account()))
        return self.changed[address]

    def keep(self) -> None:
        for address, account in self.changed.items():
            if account.owner != SYSTEM_PROGRAM or address in self.world.accounts:
                self.world.accounts[address] = account

    def transfer(self, source: bytes, destination: bytes, authority: bytes, amount: int) -> None:
        """The token program's `transferChecked`, decimals and mint as the ledger gives them.

        Raises:
            Refusal: `TOKEN_REFUSES`.
        """
        from_, to = self.at(source), self.at(destination)
        giver, taker = from_.data, to.data
        require(isinstance(giver, TokenAccount) and isinstance(taker, TokenAccount), TOKEN_REFUSES)
        assert isinstance(giver, TokenAccount)
        assert isinstance(taker, TokenAccount)
        require(from_.owner == to.owner and giver.mint == taker.mint, TOKEN_REFUSES)
        require(giver.state == taker.state == INITIALIZED, TOKEN_REFUSES)
        require(giver.amount >= amount, TOKEN_REFUSES)
        if authority == giver.delegate:
            require(giver.delegated_amount >= amount, TOKEN_REFUSES)
            giver.delegated_amount -= amount
            if giver.delegated_amount == 0:
                giver.delegate = None
        else:
            require(authority == giver.owner, TOKEN_REFUSES)
        giver.amount -= amount
        taker.amount += amount
        assert taker.amount <= U64_MAX, "the supply of a mint fits into 64 bits"


def decimals_of(mint: bytes) -> int:
    assert len(mint) >= MINT_BYTES
    return mint[44]
