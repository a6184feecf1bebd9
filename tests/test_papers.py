"""The papers that an agent keeps: each field that is wrong is refused, and a kill loses none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.disk import FolderDisk, MemoryDisk
from agent.paper_rules import (
    Kept,
    PaperRefused,
    proofs_in,
    vouchers_in,
    with_proof,
    with_voucher,
)
from agent.papers import PapersDamaged, PapersKeeper, papers_file, read_papers
from coordinator.evidence_limits import VOUCHERS_KEPT_MAX
from coordinator.protocol.messages import Papers, PapersKept
from coordinator.protocol.signing import from_seed
from onchain.address import encode_address
from tests.kept_papers import OTHER, WALLET, keeper, proof, voucher
from tests.ledger_values import MARKET, NOW
from tests.tree import ROOT

OWNER = encode_address(WALLET)
EMPTY = Kept(OWNER)
FILE = papers_file(OWNER)


def codes(keeper: PapersKeeper) -> dict[str, int]:
    return dict(keeper.refused)


def refusal(change: Any, *arguments: Any) -> str:
    with pytest.raises(PaperRefused) as caught:
        change(*arguments)
    return caught.value.code


# ---- proofs -------------------------------------------------------------------------------------
def test_the_proofs_of_two_epochs_are_kept_the_newest_first() -> None:
    kept = EMPTY
    for epoch in (1, 2, 3):
        kept = with_proof(kept, proof(epoch, 500 + epoch))

    assert [each.epoch for each in kept.proofs] == [3, 2]
    assert with_proof(kept, proof(3, 503)) == kept
    assert all(
        each.leads_to(bytes.fromhex(paper.root), paper.leaf_count)
        for each, paper in zip(proofs_in(kept), kept.proofs, strict=True)
    )


def test_an_older_epochs_proof_comes_back_when_a_root_was_revoked() -> None:
    kept = with_proof(with_proof(EMPTY, proof(3, 500)), proof(5, 700))

    assert [each.epoch for each in with_proof(kept, proof(4, 600)).proofs] == [5, 4]


BASE = proof(2, 500)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ledger": encode_address(OTHER)}, "proof_of_another"),
        ({"wallet": encode_address(OTHER)}, "proof_of_another"),
        ({"ledger": "0" * 44}, "proof_malformed"),
        ({"lifetime": "0.0006"}, "proof_broken"),
        ({"lifetime": "1.2345678"}, "proof_malformed"),
        ({"index": BASE.index + 1}, "proof_broken"),
        ({"leaf_count": 2**33}, "proof_broken"),
        ({"root": "00" * 32}, "proof_broken"),
        ({"path": BASE.path[:-1]}, "proof_broken"),
        ({"path": [*BASE.path, "00" * 32]}, "proof_broken"),
        ({"path": ["00" * 32, *BASE.path[1:]]}, "proof_broken"),
    ],
)
def test_a_proof_with_a_wrong_field_is_refused_by_name(change: dict[str, Any], code: str) -> None:
    kept = with_proof(EMPTY, proof(1, 400))

    assert refusal(with_proof, kept, replace(BASE, **change)) == code


def test_a_leaf_never_falls_and_an_epoch_has_one_root() -> None:
    kept = with_proof(EMPTY, proof(2, 500))

    assert refusal(with_proof, kept, proof(3, 499)) == "proof_below"
    assert refusal(with_proof, kept, proof(1, 501)) == "proof_below"
    assert refusal(with_proof, kept, proof(2, 501)) == "proof_differs"
    assert with_proof(kept, proof(3, 500)).proofs[0].epoch == 3


# ---- vouchers -----------------------------------------------------------------------------------
def test_a_later_voucher_replaces_the_earlier_one_of_its_key() -> None:
    kept = with_voucher(EMPTY, voucher(600), NOW)
    later = with_voucher(kept, voucher(700, expires_at=NOW + 90), NOW)

    assert [each.voucher.cumulative for each in vouchers_in(later)] == [700]
    assert later.summary == PapersKept(0, "0.0007", NOW + 90, 0)
    assert with_voucher(later, voucher(700, expires_at=NOW + 90), NOW) == later


def test_a_made_up_key_takes_nothing_away() -> None:
    kept = with_voucher(EMPTY, voucher(600), NOW)
    for epoch in range(1, VOUCHERS_KEPT_MAX):
        kept = with_voucher(kept, voucher(600, key_epoch=epoch, key=from_seed(bytes(32))), NOW)

    assert (
        vouchers_in(kept)[-1].pack()
        == vouchers_in(with_voucher(EMPTY, voucher(600), NOW))[0].pack()
    )
    more = voucher(600, key_epoch=VOUCHERS_KEPT_MAX)
    assert refusal(with_voucher, kept, more, NOW) == "voucher_keys"
    later = voucher(600, key_epoch=VOUCHERS_KEPT_MAX, expires_at=NOW + 99)
    assert len(with_voucher(kept, later, NOW + 61).vouchers) == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (voucher(700)[:-4], "voucher_malformed"),
        ("!" * 347, "voucher_malformed"),
        (voucher(700)[:-3] + "AAA", "voucher_forged"),
        (voucher(700, wallet=OTHER), "voucher_of_another"),
        (voucher(700, ledger=OTHER), "voucher_of_another"),
        (voucher(700, program=OTHER), "voucher_of_another"),
        (voucher(700, cluster_tag=OTHER), "voucher_of_another"),
        (voucher(700, key=from_seed(bytes(32))), "voucher_of_another"),
        (voucher(700, expires_at=NOW), "voucher_outdated"),
        (voucher(600, expires_at=NOW + 59), "voucher_outdated"),
        (voucher(599), "voucher_below"),
        (voucher(599, key_epoch=1), "voucher_below"),
    ],
)
def test_a_voucher_with_a_wrong_field_is_refused_by_name(text: str, code: str) -> None:
    kept = with_voucher(EMPTY, voucher(600), NOW)

    assert refusal(with_voucher, kept, text, NOW) == code


# ---- on the disk --------------------------------------------------------------------------------
async def test_what_is_kept_is_there_after_a_restart_and_what_is_refused_changes_nothing() -> None:
    disk = MemoryDisk()
    first = await keeper(disk)
    await first.take(Papers(proof(1, 500), voucher(600)))
    before = dict(disk.files)
    await first.take(Papers(proof(2, 499), voucher(599)))
    await first.take(Papers(proof(2, 501, wallet=OTHER)))
    second = await keeper(disk)

    assert codes(first) == {"proof_below": 1, "voucher_below": 1, "proof_of_another": 1}
    assert disk.files == before
    assert second.kept == first.kept
    assert second.summary == PapersKept(1, "0.0006", NOW + 60, 0)
    assert second.status.proven == "0.0005"


async def test_one_part_that_is_wrong_does_not_cost_the_other() -> None:
    disk = MemoryDisk()
    one = await keeper(disk)
    await one.take(Papers(replace(BASE, root="00" * 32), voucher(600)))

    assert one.summary == PapersKept(0, "0.0006", NOW + 60, 0)
    assert codes(one) == {"proof_broken": 1}


async def test_a_ledger_that_was_configured_is_the_only_one() -> None:
    one = await keeper(MemoryDisk(), ledger=encode_address(OTHER))
    await one.take(Papers(proof(), voucher()))

    assert codes(one) == {"proof_of_another": 1, "voucher_of_another": 1}
    assert one.kept.proofs == []


async def test_an_agent_that_knows_no_wallet_takes_that_of_the_first_proof() -> None:
    disk = MemoryDisk()
    one = await keeper(disk, "")
    await one.take(Papers(None, voucher()))
    await one.take(Papers(proof(), voucher()))
    await one.take(Papers(proof(2, 900, wallet=OTHER)))
    again = await keeper(disk, "")

    assert codes(one) == {"wallet_unknown": 1, "proof_of_another": 1}
    assert again.kept == one.kept
    assert list(disk.files) == [FILE]


async def test_a_wallet_that_names_a_path_is_no_wallet() -> None:
    disk = MemoryDisk()
    one = await keeper(disk, "")
    await one.take(Papers(replace(BASE, wallet="../../../../../../etc/cron.d/hypernode")))

    assert codes(one) == {"wallet_unknown": 1}
    assert disk.files == {}


async def test_another_owners_papers_stay_when_the_node_key_is_bound_anew() -> None:
    disk = MemoryDisk()
    await (await keeper(disk)).take(Papers(proof()))
    other = await keeper(disk, encode_address(OTHER))
    await other.take(Papers(proof(wallet=OTHER)))

    assert sorted(disk.files) == sorted([FILE, papers_file(encode_address(OTHER))])
    assert other.kept.wallet == encode_address(OTHER)


async def test_a_damaged_file_is_put_aside_and_papers_are_kept_again() -> None:
    disk = MemoryDisk()
    disk.replace(FILE, b'{"wallet":')
    one = await keeper(disk)
    await one.take(Papers(proof()))

    assert disk.files[f"{FILE}.damaged"] == b'{"wallet":'
    assert (await keeper(disk)).kept.proofs == [proof()]


async def test_a_disk_that_takes_nothing_leaves_what_was_said_as_it_was() -> None:
    class Full(MemoryDisk):
        def replace(self, name: str, data: bytes) -> None:
            raise OSError(28, "no space")

    one = await keeper(Full())
    await one.take(Papers(proof()))

    assert one.summary == PapersKept()
    assert codes(one) == {}


async def test_a_file_is_read_for_its_own_wallet_only(tmp_path: Path) -> None:
    await (await keeper(FolderDisk(tmp_path))).take(Papers(proof(), voucher()))
    other = encode_address(OTHER)
    (tmp_path / papers_file(other)).write_bytes((tmp_path / FILE).read_bytes())

    kept = read_papers(tmp_path, OWNER)
    assert kept is not None
    assert kept.ledger == encode_address(MARKET.ledger)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert read_papers(tmp_path, encode_address(bytes(32))) is None
    with pytest.raises(PapersDamaged, match="names wallet"):
        read_papers(tmp_path, other)


_KILLED = """
import os, signal, sys
from pathlib import Path
import trio
from agent.disk import FolderDisk
from coordinator.protocol.messages import Papers
from tests.kept_papers import keeper, proof, voucher

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    one = await keeper(FolderDisk(Path(sys.argv[1])))
    await one.take(Papers(proof(1, 500), voucher(600)))
    {stage}
    await one.take(Papers(proof(2, 700)))
    die()

trio.run(main)
"""


@pytest.mark.parametrize(
    ("stage", "epoch"),
    [
        # Half of the new file is there.
        ("import agent.disk; write = os.write; os.write = lambda h, v: die(write(h, v[:40]))", 1),
        ("os.fsync = die", 1),
        # All of it, under another name.
        ("Path.replace = die", 1),
        ("pass", 2),
    ],
    ids=["write", "fsync", "rename", "after"],
)
async def test_a_kill_at_any_instant_leaves_the_old_papers_or_the_new(
    stage: str, epoch: int, tmp_path: Path
) -> None:
    ended = subprocess.run(  # noqa: ASYNC221 - the test does nothing else meanwhile
        [sys.executable, "-c", _KILLED.replace("{stage}", stage), str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, capture_output=True,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr

    one = await keeper(FolderDisk(tmp_path))

    assert (one.summary.epoch, one.summary.vouched) == (epoch, "0.0006")
    await one.take(Papers(proof(3, 800)))
    assert one.summary.epoch == 3
