"""Solana's clusters: told by their genesis hashes, reached by short names.

In:   genesis hashes (32 bytes), names or addresses of nodes.
Out:  `Cluster`, addresses of nodes.
Rule: which cluster it is follows from the genesis hash that a node tells, never from its address.
Source: docs.anza.xyz/clusters/available; `getGenesisHash` of each cluster.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from onchain.address import decode_address

#: Where `hypernode chain dev` listens, and `solana-test-validator` too.
LOCAL_URL: Final = "http://127.0.0.1:8899"
#: Short names for nodes that anybody may ask; they have limits, and suit no coordinator.
URLS: Final = {
    "localnet": LOCAL_URL,
    "devnet": "https://api.devnet.solana.com",
    "testnet": "https://api.testnet.solana.com",
    "mainnet": "https://api.mainnet-beta.solana.com",
}


class Cluster(Enum):
    """Which money it is."""

    MAINNET = "mainnet"
    TESTNET = "testnet"
    DEVNET = "devnet"
    #: Any other genesis: a node of somebody's own.
    LOCALNET = "localnet"


_GENESIS: Final = {
    decode_address("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"): Cluster.MAINNET,
    decode_address("4uhcVJyU9pJkvQyS88uRDiswHXSCkY3zQawwpjk2NsNY"): Cluster.TESTNET,
    decode_address("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"): Cluster.DEVNET,
}


def cluster_of(genesis: bytes) -> Cluster:
    """The cluster of a genesis hash."""
    return _GENESIS.get(genesis, Cluster.LOCALNET)


def url_of(text: str) -> str:
    """The address that a short name stands for; what is none stays as it is.

    Raises:
        ValueError: neither a name nor an http(s) address.
    """
    url = URLS.get(text, text)
    if not url.startswith(("http://", "https://")):
        msg = f"neither an address of a node nor one of {', '.join(URLS)}: {text[:80]!r}"
        raise ValueError(msg)
    return url
