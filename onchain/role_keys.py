"""Whether the keys at hand are those of a ledger's roles. Pure.

In:   a decoded `Ledger`; by the name of a role's field, a key's address and where it was read.
Out:  nothing, or `WrongKey` with the file, the role and both addresses.
Why ahead of the program: it says `Unauthorized` to whom it does not name, and only once something
is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from onchain.address import encode_address
from onchain.errors import OnchainError
from onchain.views import Ledger

_NOBODY = bytes(32)


class WrongKey(OnchainError):
    """The key at hand is not that of the ledger's role."""


class HeldKey(NamedTuple):
    """A key at hand."""

    #: 32 bytes.
    address: bytes
    #: Where it was read, for people: `publisher_key /etc/hypernode/publisher.json`.
    where: str


def wrong_keys(ledger: Ledger, keys: Mapping[str, HeldKey]) -> dict[str, str]:
    """What is wrong with keys, by the field of the ledger that names the role.

    Args:
        ledger: As it is on the chain.
        keys: By the name of the role that each is meant for.
    """
    wrong = {}
    for role, key in keys.items():
        holder: bytes = getattr(ledger, role)
        if holder == key.address:
            continue
        name = role.replace("_", " ")
        whose = f"this ledger's {name} is {encode_address(holder)}"
        if holder == _NOBODY:
            whose = f"this ledger has no {name}"
        wrong[role] = f"{key.where} is the key {encode_address(key.address)}; {whose}"
    return wrong


def check_keys(ledger: Ledger, keys: Mapping[str, HeldKey]) -> None:
    """Refuse keys that are not their roles'.

    Raises:
        WrongKey: with the file, the role and both addresses of each.
    """
    if wrong := wrong_keys(ledger, keys):
        raise WrongKey("; ".join(wrong.values()))
