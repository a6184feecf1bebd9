"""Whether a root is right, by what the guardian knows itself: pure.

In:   the published leaf file, its own copy of the active root's, its evidence, the chain.
Out:  `Finding`s, each a name and a sentence; none: the root may be approved.
Rules:
  1. The file is well-formed and sorted, its sums, count and hash are those of the pending root.
  2. No wallet's leaf falls below the active root's.
  3. A wallet's rise since the baseline is covered: by receipts that its node signed too and by
     withdrawals that it signed itself; by receipts of the coordinator's alone up to one cap over
     all wallets; by nothing at all up to another one.
  4. The fee wallet's leaf is at most the fees in the receipts, the treasury's what it deposited;
     what they earned as hosts or withdrew counts beside that.
  5. Nobody exits more than was deposited for it, and everything promised was deposited.
Not covered: a wallet whose leaf is too low; its owner has the receipts that show it. Receipts from
before the baseline count too: a folder that began late, and is sent all of an agent's history,
gives each wallet that much room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hypernode.guardian.evidence import Evidence
from onchain.address import encode_address
from onchain.amounts import format_hyper
from onchain.leaf_errors import LeafFileError
from onchain.leaves import Kind, LeafFile
from onchain.publication import (
    LeafFell,
    PublicationError,
    check_pending,
    check_predecessor,
    prepare,
)
from onchain.views import Ledger


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a root is not right."""

    code: str
    said: str

    def __str__(self) -> str:
        return f"{self.code}: {self.said}"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What the guardian's owner lets pass, base units; and the house's wallets."""

    one_sided_max: int = 0
    unproven_max: int = 0
    fee_wallet: bytes = b""
    treasury_wallet: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the guardian holds beside the file."""

    ledger_address: bytes
    ledger: Ledger
    #: By owner, base units, read by itself.
    deposits: Mapping[bytes, int]
    evidence: Evidence
    #: Leaves of the root that was active when it began: what came before it did not see.
    baseline: Mapping[bytes, int] = field(default_factory=dict)


def judge(
    file: LeafFile, before: LeafFile | None, known: Known, bounds: Bounds
) -> tuple[Finding, ...]:
    """Everything that is wrong with the pending root; a thread's work."""
    try:
        publication = prepare(file)
        check_pending(publication, known.ledger_address, known.ledger)
        check_predecessor(before, file, known.ledger.active)
    except LeafFileError as error:
        return (Finding("file_malformed", str(error)),)
    except LeafFell as error:
        return (Finding("leaf_fell", str(error)),)
    except PublicationError as error:
        return (Finding("root_differs", str(error)),)
    return (*_rises(file, known, bounds), *_exits(file, known), *_solvency(file, known))


def _rises(file: LeafFile, known: Known, bounds: Bounds) -> Iterator[Finding]:
    one_sided = unproven = 0
    worst = (0, b"")
    for wallet, lifetime in file.leaves(Kind.EARNINGS):
        open_ = lifetime - known.baseline.get(wallet, 0) - known.evidence.proven(wallet)
        if wallet == bounds.treasury_wallet:
            open_ -= known.deposits.get(wallet, 0)
        fees = known.evidence.fees if wallet == bounds.fee_wallet else 0
        if wallet == bounds.fee_wallet and open_ > fees + known.evidence.one_sided[wallet]:
            beyond = open_ - fees - known.evidence.one_sided[wallet]
            if beyond > bounds.unproven_max:
                yield Finding(
                    "fee_leaf", f"{format_hyper(beyond)} HYPER more than the receipts' fees"
                )
        open_ = max(0, open_ - fees)
        covered = min(open_, known.evidence.one_sided[wallet])
        one_sided += covered
        unproven += open_ - covered
        worst = max(worst, (open_ - covered, wallet))
    if one_sided > bounds.one_sided_max:
        yield Finding(
            "one_sided",
            f"{format_hyper(one_sided)} HYPER rest on the coordinator's signature alone",
        )
    if unproven > bounds.unproven_max:
        yield Finding(
            "rise_unproven",
            f"{format_hyper(unproven)} HYPER have no receipt and no withdrawal, of these "
            f"{format_hyper(worst[0])} are {encode_address(worst[1])}'s",
        )


def _exits(file: LeafFile, known: Known) -> Iterator[Finding]:
    for owner, exitable in file.leaves(Kind.EXIT):
        deposited = known.deposits.get(owner, 0)
        if exitable > deposited:
            yield Finding(
                "exit_above_deposits",
                f"{encode_address(owner)} may exit {format_hyper(exitable)} HYPER of "
                f"{format_hyper(deposited)}",
            )
            return


def _solvency(file: LeafFile, known: Known) -> Iterator[Finding]:
    ledger, head = known.ledger, file.head
    promised = head.total + head.total_exitable + ledger.reserve + ledger.total_withdrawn
    if promised > ledger.total_deposited:
        beyond = promised - ledger.total_deposited
        yield Finding("insolvent", f"{format_hyper(beyond)} HYPER more than was deposited")
