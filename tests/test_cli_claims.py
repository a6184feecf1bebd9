"""A wallet's own money at the command line: deposit, claim from a kept file, leave, verify a root.

No coordinator runs here: what needs one is in the demo's test.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import trio
from platformdirs import user_state_path

from agent.disk import FolderDisk
from agent.papers import PapersKeeper
from coordinator.protocol.base64url import encode_base64url
from coordinator.protocol.messages import EarningsProof, Papers
from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from hypernode.cli.kept_claims import state_dir_of
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper
from onchain.fees import Fees
from onchain.journal import MemoryJournal
from onchain.leaves import Kind, LeafFile, write_leaves
from onchain.localnet import GENESIS
from onchain.places import Market
from onchain.program import DEVELOPMENT_ID
from onchain.publish import Roots
from onchain.sender import Pace, Sender
from onchain.settlement_tree import SettlementTree
from onchain.solana_chain import SolanaChain
from onchain.vouchers import sign_voucher, voucher_for
from tests.chain_owner import MINT, Owner, owner
from tests.chains import key, put_tokens
from tests.tree import read

HYPER = 1_000_000
FAST_MS = 3_660_000
HOST, SUBMITTER = key("host"), key("submitter")


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_LEDGER", "HYPERNODE_KEYPAIR", "HYPERNODE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys) as one:
        one.opened()
        put_tokens(one.machine, market(one).token_account(SUBMITTER.address), MINT,
                   SUBMITTER.address, 100 * HYPER)  # fmt: skip
        yield one


def market(us: Owner) -> Market:
    text = (us.folder / "settlement.toml").read_text()
    ledger = text.partition('ledger = "')[2].partition('"')[0]
    return Market(DEVELOPMENT_ID, decode_address(ledger), MINT, cluster_tag=GENESIS)


def told(us: Owner, *words: object, name: str, status: int = Exit.OK) -> Any:
    """A command line of somebody's: its document."""
    config = us.folder / "settlement.toml"
    arguments = [*words, "--config", config, "-k", us.key_file(name), "--json"]
    got = run([*map(str, arguments)])
    shown = us.capsys.readouterr()
    assert got == status, shown
    return json.loads(shown.out)


def settled(us: Owner, earnings: dict[bytes, int], exits: dict[bytes, int]) -> Path:
    """A root is published, approved and active; its leaf file."""
    path = us.folder / "epoch-1.leaves"
    file = BytesIO()
    write_leaves(file, ledger=market(us).ledger, epoch=1, earnings=sorted(earnings.items()),
                 exits=sorted(exits.items()))  # fmt: skip
    path.write_bytes(file.getvalue())
    us.key_file("publisher")
    us.machine.advance(4, ms=90_000_000)  # the interval of a fresh ledger

    async def publish() -> None:
        chain = SolanaChain.of(us.thread.url)
        try:
            sender = Sender(chain, MemoryJournal(), fees=Fees(), pace=Pace(poll_s=0.01))
            roots = Roots(chain, sender, market(us), key("publisher"))
            await roots.publish(
                LeafFile(file), publisher=key("publisher"), guardian=key("guardian")
            )
            us.machine.advance(4, ms=FAST_MS)
            await roots.activate()
        finally:
            await chain.aclose()

    trio.run(publish)
    return path


@pytest.mark.slow
def test_a_deposit_becomes_a_claim_by_a_kept_leaf_file(us: Owner) -> None:
    deposited = told(us, "deposit", "10", name="submitter")
    leaves = settled(us, {HOST.address: 4 * HYPER}, {SUBMITTER.address: 6 * HYPER})
    claimed = told(us, "claim", "--leaves", leaves, name="host")
    again = told(us, "claim", "--leaves", leaves, name="host", status=Exit.FAILED)

    assert (deposited["before"], deposited["after"]) == ("100", "90")
    assert (claimed["before"], claimed["after"], claimed["amount"]) == ("0", "4", "4")
    assert again["code"] == "NothingToClaim"
    assert "the leaf of epoch 1 says 4 HYPER in all, and 4 are paid" in again["error"]


@pytest.mark.slow
def test_a_root_is_recomputed_from_its_file_and_compared(us: Owner) -> None:
    told(us, "deposit", "10", name="submitter")
    leaves = settled(us, {HOST.address: 4 * HYPER}, {})
    config = us.folder / "settlement.toml"

    assert run(["settle", "verify", str(leaves), "--config", str(config), "--json"]) == Exit.OK
    same = json.loads(us.capsys.readouterr().out)
    assert (same["verdict"], same["total"], same["epoch"]) == ("the same", "4", "1")
    other = BytesIO()
    write_leaves(other, ledger=market(us).ledger, epoch=1, earnings=[(HOST.address, 5 * HYPER)])
    leaves.write_bytes(other.getvalue())
    assert run(["settle", "verify", str(leaves), "--config", str(config), "--json"]) == Exit.FAILED
    assert json.loads(us.capsys.readouterr().out)["verdict"] == "DIFFERENT"
    leaves.write_bytes(b"no leaf file")
    assert run(["settle", "verify", str(leaves), "--config", str(config)]) == Exit.FAILED
    assert f"error: {leaves}: A leaf file has a head of 80 bytes" in us.capsys.readouterr().err


@pytest.mark.slow
def test_an_active_root_is_revoked_by_the_guardian(us: Owner) -> None:
    told(us, "deposit", "10", name="submitter")
    settled(us, {HOST.address: 4 * HYPER}, {})
    wrong = told(us, "chain", "revoke-root", "2", name="guardian", status=Exit.FAILED)
    assert "the active one is of epoch 1" in wrong["error"]
    told(us, "chain", "revoke-root", "1", name="guardian")

    now = us.told("status", "--config", us.folder / "settlement.toml")
    assert (now["active"], now["last_epoch"]) == (None, 1)


@pytest.mark.slow
def test_a_depositor_asks_to_leave_thinks_better_of_it_and_leaves(us: Owner) -> None:
    never = told(us, "exit", name="submitter", status=Exit.FAILED)
    assert "this wallet has never deposited in this market" in never["error"]
    told(us, "deposit", "10", name="submitter")
    assert told(us, "exit", name="submitter")["asked"] is True
    assert told(us, "exit", name="submitter", status=Exit.FAILED)["code"] == "ExitRequested"
    assert told(us, "exit", "--cancel", name="submitter")["asked"] is False
    leaves = settled(us, {}, {SUBMITTER.address: 10 * HYPER})
    early = told(us, "exit", "--leaves", leaves, name="submitter", status=Exit.FAILED)
    us.machine.advance(4, ms=8 * 86_400_000)
    left = told(us, "exit", "--leaves", leaves, name="submitter")

    assert early["code"] == "ExitClosed"
    assert (left["before"], left["after"]) == ("90", "100")


@pytest.mark.slow
def test_a_voucher_is_redeemed_with_the_coordinator_gone(us: Owner) -> None:
    told(us, "deposit", "10", name="submitter")
    where = market(us)
    reserve = told(us, "deposit", "5", "--for", encode_address(where.ledger), name="submitter")
    voucher = us.folder / "host.voucher"
    said = voucher_for(where, HOST.address, cumulative=3 * HYPER, expires_at=2**40, key_epoch=0)
    voucher.write_bytes(sign_voucher(key("voucher_key"), said).pack())
    redeemed = told(us, "claim", "--voucher", voucher, name="host")
    forged = bytearray(voucher.read_bytes())
    forged[144] ^= 1
    voucher.write_bytes(bytes(forged))
    refused = told(us, "claim", "--voucher", voucher, name="host", status=Exit.FAILED)

    assert reserve["after"] == "85"
    assert (redeemed["before"], redeemed["after"]) == ("0", "3")
    assert refused["error"].startswith(f"{voucher}: The voucher key did not sign")


def kept_in(folder: Path, leaves: Path, where: Market) -> None:
    """What an agent of the host's keeps: its proof in a leaf file's root, and a voucher."""
    with leaves.open("rb") as opened:
        tree = SettlementTree(LeafFile(opened))
        proof = tree.proof(Kind.EARNINGS, HOST.address)
        paper = EarningsProof(
            ledger=encode_address(where.ledger), wallet=encode_address(HOST.address), epoch=1,
            root=tree.root.hex(), leaf_count=tree.leaf_count, index=proof.index,
            lifetime=format_hyper(proof.amount), path=[each.hex() for each in proof.path],
        )  # fmt: skip
    said = voucher_for(where, HOST.address, cumulative=7 * HYPER, expires_at=2**40, key_epoch=0)
    voucher = encode_base64url(sign_voucher(key("voucher_key"), said).pack())

    async def keep() -> None:
        keeper = await PapersKeeper.load(
            FolderDisk(folder), wallet=lambda: encode_address(HOST.address), now_ms=lambda: 0
        )
        await keeper.take(Papers(paper, voucher))

    trio.run(keep)


def lines_of_operation(word: str) -> list[str]:
    """The lines of `docs/operation.md` that claim by what an agent kept."""
    page = read(Path("docs/operation.md")).replace("\\\n", " ")
    return [line for line in page.splitlines() if line.startswith("hypernode ") and word in line]


@pytest.mark.slow
def test_the_pages_lines_claim_by_what_an_agent_kept_with_the_coordinator_gone(
    us: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(us, "deposit", "10", name="submitter")
    told(us, "deposit", "5", "--for", encode_address(market(us).ledger), name="submitter")
    leaves = settled(us, {HOST.address: 4 * HYPER}, {})
    monkeypatch.setenv("XDG_STATE_HOME", str(us.folder / "state"))
    by_address = user_state_path("hypernode") / state_dir_of("https://hyper.example", None).name
    for folder in (by_address, us.folder / "elsewhere"):
        folder.mkdir(parents=True)
        kept_in(folder, leaves, market(us))
    lines = lines_of_operation("--kept")
    us.key_file("host")
    us.capsys.readouterr()
    places = {
        "/var/lib/hypernode/agent": str(us.folder / "elsewhere"),
        "host.json": str(us.folder / "host.json"),
        "https://api.mainnet-beta.solana.com": us.thread.url,
        "LEDGER": encode_address(market(us).ledger),
    }

    documents = []
    for line in lines:
        words = [places.get(word, word) for word in shlex.split(line, comments=True)[1:]]
        status = run([*words, "--json"])
        documents.append((status, json.loads(us.capsys.readouterr().out)))

    assert len(lines) == 2
    (first, claimed), (second, again) = documents
    assert (first, claimed["before"], claimed["after"]) == (Exit.OK, "0", "7")
    assert len(claimed["signatures"]) == 2
    assert (second, again["code"]) == (Exit.FAILED, "NothingToClaim")


def test_a_claim_by_kept_papers_says_where_it_looked(us: Owner) -> None:
    us.key_file("host")
    words = ["claim", "--kept", "--state-dir", str(us.folder), "-k", str(us.folder / "host.json")]

    assert run([*words, "--rpc", us.thread.url, "--json"]) == Exit.USAGE
    shown = us.capsys.readouterr().out
    assert str(us.folder) in shown
    assert encode_address(HOST.address) in shown


def test_a_claim_takes_one_kind_of_paper(us: Owner) -> None:
    for words in (["--voucher", "a", "--leaves", "b"], ["--voucher", "a", "--kept"]):
        assert run(["claim", *words, "--json"]) == Exit.USAGE
        assert "not several" in us.capsys.readouterr().out
    assert run(["claim", "--state-dir", "a", "--json"]) == Exit.USAGE
    assert "--kept" in us.capsys.readouterr().out
