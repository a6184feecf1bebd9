"""The chain as the house sees it: one interface, two implementations, one suite for both.

`simulated` runs LiteSVM in this process, `solana_chain` asks nodes by JSON-RPC; `sender` sends over
either. Addresses and blockhashes are 32 bytes, signatures 64, amounts base units, times Unix s.
Rules:
  1. Values are frozen and free of any chain library: whoever imports this module imports none.
  2. Failures are those of `chain_errors`, and cancellation is Trio's.
  3. An answer's slot never lies before one that the same object has answered (per commitment).
Not covered: subscriptions (whoever waits polls), durable nonces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final, Protocol

from onchain.address import decode_address
from onchain.chain_errors import ChainLied, Fault

#: Blocks in which a blockhash can be used after its own.
BLOCKHASH_BLOCKS: Final = 150
#: Accounts, and other things by list, that a node gives at once.
ACCOUNTS_PER_CALL_MAX: Final = 100
#: Signatures that a node looks up at once.
SIGNATURES_PER_CALL_MAX: Final = 256
#: A signature costs this much, whatever the transaction does.
LAMPORTS_PER_SIGNATURE: Final = 5_000
LAMPORTS_PER_SOL: Final = 1_000_000_000
#: The sysvar that holds the chain's own time.
CLOCK_ADDRESS: Final = decode_address("SysvarC1ock11111111111111111111111111111111")

_CLOCK: Final = Struct("<QqQQq")


class Commitment(Enum):
    """How sure an answer is to stay true."""

    #: The node has run it; a fork may take it back.
    PROCESSED = "processed"
    #: Two thirds of the stake voted for it; never yet taken back.
    CONFIRMED = "confirmed"
    #: 31 blocks were built upon it: for whatever moves money of ours.
    FINALIZED = "finalized"

    def covers(self, other: Commitment) -> bool:
        """Whether what holds at this level holds at the other one."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER: Final = tuple(Commitment)


@dataclass(frozen=True, slots=True)
class Account:
    address: bytes
    lamports: int
    #: The program that may change it.
    owner: bytes
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts in the order in which they were asked for; None where there is none."""

    #: Every value is as of this slot or a later one; of exactly this one up to 100 addresses.
    slot: int
    values: tuple[Account | None, ...]


@dataclass(frozen=True, slots=True)
class ProgramAccounts:
    """What a program owns, sorted by address."""

    slot: int
    values: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class SizeIs:
    """Filter: the data have so many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class BytesAre:
    """Filter: at this offset the data hold these bytes (128 at most)."""

    offset: int
    value: bytes


Filter = SizeIs | BytesAre


@dataclass(frozen=True, slots=True)
class LatestBlockhash:
    blockhash: bytes
    #: A transaction with it can land in a block of this height, and in none after.
    last_valid_block_height: int
    slot: int


@dataclass(frozen=True, slots=True)
class TokenBalance:
    #: Base units.
    amount: int
    decimals: int
    slot: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do now."""

    #: Compute units that it used, up to its failure.
    units: int
    logs: tuple[str, ...]
    #: None where it would succeed.
    fault: Fault | None
    slot: int


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    """A transaction that landed."""

    slot: int
    #: None where it succeeded.
    fault: Fault | None
    commitment: Commitment


@dataclass(frozen=True, slots=True)
class Statuses:
    """Statuses in the order of the signatures; None for what the node does not know."""

    slot: int
    values: tuple[SignatureStatus | None, ...]


@dataclass(frozen=True, slots=True)
class ChainClock:
    """The time as programs see it."""

    slot: int
    epoch: int
    #: Unix s, the stake-weighted guess of the validators: some seconds off, and it may halt.
    unix_s: int


class Chain(Protocol):
    """Reads, simulation and sending; every call may raise `ChainError`'s kinds.

    `commitment` is `CONFIRMED` unless said.
    """

    async def genesis_hash(self) -> bytes:
        """Which cluster this is."""
        ...

    async def slot(self, commitment: Commitment = Commitment.CONFIRMED) -> int: ...

    async def block_height(self, commitment: Commitment = Commitment.CONFIRMED) -> int:
        """Blocks so far: what `last_valid_block_height` is compared with."""
        ...

    async def block_time(self, slot: int) -> int | None:
        """Unix s of a slot's block; None where there is no such block or its time is forgotten."""
        ...

    async def clock(self, commitment: Commitment = Commitment.CONFIRMED) -> ChainClock: ...

    async def latest_blockhash(
        self, commitment: Commitment = Commitment.CONFIRMED
    ) -> LatestBlockhash: ...

    async def accounts(
        self,
        addresses: Sequence[bytes],
        commitment: Commitment = Commitment.CONFIRMED,
        *,
        slot_min: int = 0,
        opinions: int = 1,
    ) -> Accounts:
        """Accounts by address, at one moment up to 100 of them; more are read by the hundred.

        Args:
            addresses: In any order, also twice the same.
            commitment: How sure the answer is to stay true.
            slot_min: The oldest slot that the answer may be of.
            opinions: Nodes that must tell the same; more than 1 where much money hangs on it. The
                simulated chain is its own only source and agrees with itself.

        Raises:
            ChainBehind: no node has come to `slot_min`.
            ChainDisagrees: the nodes tell different things.
            ChainUnreachable: none answered, or fewer than `opinions`.
        """
        ...

    async def balance(self, address: bytes, commitment: Commitment = Commitment.CONFIRMED) -> int:
        """Lamports; 0 for an address that nobody used."""
        ...

    async def token_balance(
        self, address: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> TokenBalance | None:
        """Balance of a token account; None where there is none at this address."""
        ...

    async def program_accounts(
        self,
        program: bytes,
        filters: Sequence[Filter] = (),
        commitment: Commitment = Commitment.CONFIRMED,
    ) -> ProgramAccounts:
        """All accounts that a program owns and all filters (4 at most) let through."""
        ...

    async def rent_minimum(self, size: int) -> int:
        """Lamports that an account of so many bytes of data must hold."""
        ...

    async def priority_fees(self, writable: Sequence[bytes] = ()) -> tuple[int, ...]:
        """Micro-lamports a compute unit that recent blocks took to lock these accounts."""
        ...

    async def simulate(
        self, transaction: bytes, commitment: Commitment = Commitment.CONFIRMED
    ) -> Simulation:
        """Run a transaction without its signatures being looked at; nothing changes."""
        ...

    async def send(self, transaction: bytes, *, preflight: bool = True) -> bytes:
        """Hand a signed transaction to the network, once; it may still be lost.

        Returns:
            Its signature: the first one in its own bytes.

        Raises:
            TransactionRefused: the preflight failed, or the node will not pass it on.
            ChainUnreachable: nobody knows whether it went out.
        """
        ...

    async def statuses(
        self, signatures: Sequence[bytes], *, search_history: bool = False
    ) -> Statuses:
        """Which transactions landed; without `search_history` only those of the last minutes."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


def parse_clock(account: Account | None) -> ChainClock:
    """The clock sysvar's content.

    Raises:
        ChainLied: there is no clock in the account.
    """
    if account is None or len(account.data) != _CLOCK.size:
        msg = "no clock in the clock's account"
        raise ChainLied(msg)
    slot, _, epoch, _, unix_s = _CLOCK.unpack(account.data)
    return ChainClock(slot, epoch, unix_s)
