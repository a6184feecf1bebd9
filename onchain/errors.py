"""What can be wrong with an address, an amount or a proof."""

from __future__ import annotations


class OnchainError(ValueError):
    """A value that cannot stand on the chain."""


class BadAddress(OnchainError):
    """An address is 32 bytes, written in base58."""


class BadAmount(OnchainError):
    """An amount is a plain decimal number of HYPER within the token's decimals and below 2^63."""
