"""A transaction before it is sent: what the sender must know of it, free of any chain library.

In:   nothing; these are the words between `sender`, `journal` and `transactions`.
Out:  `Draft` (can be signed with any blockhash), `Signed` (bytes, signature), `Budget`, `Signer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

#: Compute units of a transaction, at most.
UNITS_MAX = 1_400_000


class Signer(Protocol):
    """A key pair of ours; `coordinator.protocol.signing.Keypair` is one."""

    @property
    def address(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Ed25519 over exactly these bytes, 64 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """What a transaction may use, and what it offers for coming early."""

    #: Compute units; the runtime stops it there, and charges the price for all of them.
    units: int = UNITS_MAX
    #: Micro-lamports a unit.
    price: int = 0

    @property
    def lamports(self) -> int:
        """The priority fee, rounded up as the runtime does."""
        return -(-self.units * self.price // 1_000_000)


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction that anybody can send, as often as they like: it lands once."""

    #: 64 bytes, the first in `raw`: the name by which the chain knows it.
    signature: bytes
    raw: bytes


class Draft(Protocol):
    """A transaction that is whole but for its blockhash, its budget and its signatures."""

    @property
    def signatures(self) -> int:
        """How many signatures it takes: each costs a fee."""
        ...

    def unsigned(self, blockhash: bytes, budget: Budget) -> bytes:
        """Its bytes with zeros for signatures: for simulating, and for a wallet to sign.

        Raises:
            PacketTooLarge: it does not fit.
        """
        ...

    def sign(self, blockhash: bytes, budget: Budget) -> Signed:
        """Sign it.

        Raises:
            PacketTooLarge: it does not fit; nothing was signed.
            BadDraft: a signer is missing, or one has nothing to sign.
        """
        ...
