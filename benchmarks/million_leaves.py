"""`python -m benchmarks.million_leaves COUNT`: one leaf file and its tree in a process of its own.

Prints a `Measured` as JSON. A process of its own, so that its peak of memory is that of this work
with the interpreter, and of nothing else. Addresses are counted, not hashed: SHA-256 takes the same
time for any bytes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from onchain.leaves import Kind, LeafFile, write_leaves
from onchain.settlement_tree import SettlementTree

_LEDGER = b"L" * 32


class Measured(msgspec.Struct, frozen=True):
    """Seconds of each part, and the most memory that the process ever held, KiB."""

    write_s: float
    check_s: float
    tree_s: float
    #: Of one proof by wallet.
    proof_s: float
    peak_kib: int


def address(number: int) -> bytes:
    """The addresses rise with their numbers."""
    return (number << 224).to_bytes(32, "big")


def _leaves(count: int) -> Iterator[tuple[bytes, int]]:
    return ((address(number), number + 1) for number in range(count))


def measure(count: int) -> Measured:
    """Write, check, hash and prove a file of so many leaves.

    Raises:
        RuntimeError: the proof does not lead to the root.
    """
    with tempfile.TemporaryFile() as file:
        times = [time.perf_counter()]
        write_leaves(file, ledger=_LEDGER, epoch=1, earnings=_leaves(count))
        times.append(time.perf_counter())
        leaves = LeafFile(file)
        leaves.check()
        times.append(time.perf_counter())
        tree = SettlementTree(leaves)
        times.append(time.perf_counter())
        proof = tree.proof(Kind.EARNINGS, address(count * 2 // 3))
        times.append(time.perf_counter())
    if not proof.leads_to(tree.root, count):
        msg = "the proof does not lead to the root"
        raise RuntimeError(msg)
    write_s, check_s, tree_s, proof_s = (b - a for a, b in pairwise(times))
    return Measured(write_s, check_s, tree_s, proof_s, peak_kib())


def peak_kib() -> int:
    """The most memory of this program: `ru_maxrss` would count what its parent held at the fork."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(measure(int(sys.argv[1]))).decode())
