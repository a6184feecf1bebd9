"""What is never deployed to the main network, and what only after somebody said so. Pure.

In:   the cluster, the program's SBPF version, who could replace the program afterwards.
Out:  sentences, none where nothing speaks against it.
Rules:
  1. No SBPF v0 on the main network: a cluster that ends it (SIMD-0500) also ends upgrades of it.
  2. No single key as upgrade authority on the main network, unless its owner accepts that by name:
     whoever has the key has all the money.
Why an address on the curve counts as a single key: somebody may hold its secret; a multisig's vault
is derived by its program, off the curve.
Not covered: how a multisig is set up (its members, its timelock).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from solders.pubkey import Pubkey

from onchain.clusters import Cluster
from onchain.errors import OnchainError

_MAGIC: Final = b"\x7fELF"
_FLAGS: Final = slice(48, 52)
_HEAD_BYTES: Final = 64
#: Bytes of a program, at most: what one account may hold, less the loader's head.
PROGRAM_BYTES_MAX: Final = 10 * 1024 * 1024 - 45


class NotAProgram(OnchainError):
    """This file is no Solana program."""


def sbpf_version(elf: bytes) -> int:
    """The version of SBPF that a program's file names.

    Raises:
        NotAProgram: it is no such file, or too long a one.
    """
    if len(elf) < _HEAD_BYTES or not elf.startswith(_MAGIC) or len(elf) > PROGRAM_BYTES_MAX:
        raise NotAProgram(NotAProgram.__doc__)
    return int.from_bytes(elf[_FLAGS], "little")


def is_single_key(address: bytes) -> bool:
    """Whether somebody may hold the secret of this address."""
    return Pubkey(address).is_on_curve()


def deploy_problems(
    cluster: Cluster, version: int, authority: bytes | None, *, accepts_single_key: bool
) -> Iterator[str]:
    """Why this must not be deployed.

    Args:
        cluster: Told by its genesis hash.
        version: Of SBPF.
        authority: Who may replace the program afterwards; None: nobody.
        accepts_single_key: Whether the owner said so.
    """
    if cluster is not Cluster.MAINNET:
        return
    if version < 3:
        yield (
            f"SBPF v{version} does not go to the main network: it will refuse to upgrade it, "
            "deploy v3"
        )
    if authority is not None and is_single_key(authority) and not accepts_single_key:
        yield (
            "the upgrade authority would be a single key, which has all the money: name a "
            "multisig with --upgrade-authority, or --final, or say --i-accept-a-single-key"
        )
