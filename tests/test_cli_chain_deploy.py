"""`hypernode chain deploy`, against a development chain that takes deployments (SBPF v0)."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from solders.transaction import VersionedTransaction

from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from onchain.address import encode_address
from onchain.chain import LAMPORTS_PER_SOL as SOL, Commitment
from onchain.clusters import Cluster, cluster_of, url_of
from onchain.deploy_rules import (
    NotAProgram,
    deploy_problems,
    is_single_key,
    sbpf_version,
)
from onchain.loader import data_address, program_hash
from onchain.localnet import open_node
from onchain.simulated import SimulatedChain
from tests.chain_owner import Owner, owner, text
from tests.chains import key
from tests.deploying import built, deployment, means, other, silent

MAINNET = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
ELF = built("v0")
MULTISIG = data_address(key("multisig").address)


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_PROGRAM", "HYPERNODE_KEYPAIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys, open_node(slot_s=None, deployable=True)) as one:
        yield one


def arguments(us: Owner, payer: str = "deployer", *more: object) -> tuple[object, ...]:
    program = us.key_file("program to deploy", lamports=0)
    who = us.key_file(payer, lamports=100 * SOL)
    return ("deploy", "--rpc", us.thread.url, "-k", who, "--program-keypair", program, *more)


@pytest.mark.slow
def test_a_program_is_deployed_and_read_back(us: Owner) -> None:
    rehearsed = us.told(*arguments(us), "--dry-run")
    assert us.machine.newest(key("program to deploy").address) is None
    told = us.told(*arguments(us), "--yes")
    again = us.told(*arguments(us))  # nothing is left to ask about

    assert rehearsed["pieces_missing"] == rehearsed["pieces"] > 1
    assert told["hash"] == program_hash(ELF)
    assert (told["cluster"], told["authority"]) == ("localnet", text("deployer"))
    assert told["deployed"] is again["deployed"] is True
    assert (told["is_there"], again["is_there"]) == (False, True)
    assert again["signature"] is None


def test_a_run_that_was_interrupted_goes_on_from_its_buffer(us: Owner) -> None:
    us.key_file("deployer", lamports=100 * SOL)

    async def half() -> None:
        chain = SimulatedChain(us.machine)
        one = deployment(means(chain, "deployer", lamports=0), ELF)
        await one.buffering._make()
        # Its second half is not there yet.
        one.buffering._elf = ELF[: len(ELF) // 2] + bytes(len(ELF) - len(ELF) // 2)
        await one.buffering.fill(silent)

    trio.run(half)
    rehearsed = us.told(*arguments(us), "--dry-run")
    told = us.told(*arguments(us), "--yes")

    assert 0 < rehearsed["pieces_missing"] < rehearsed["pieces"]
    assert told["deployed"] is True


def test_it_asks_and_where_nobody_is_it_says_so(
    us: Owner, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["chain", *map(str, arguments(us))]) == Exit.USAGE
    shown = capsys.readouterr().err

    assert "stays there as rent: 0." in shown
    assert f"may replace it afterwards: {text('deployer')}" in shown
    assert "say --yes" in shown
    assert us.machine.newest(key("program to deploy").address) is None


@pytest.mark.slow
def test_an_upgrade_by_another_than_its_authority_is_handed_over(us: Owner, tmp_path: Path) -> None:
    us.told(*arguments(us), "--yes", "--upgrade-authority", encode_address(MULTISIG))
    (tmp_path / "other.so").write_bytes(other(ELF))
    more = ("--yes", "--program-file", tmp_path / "other.so")
    told = us.told(*arguments(us, "deployer", *more))
    transaction = VersionedTransaction.from_bytes(b64decode(told["transaction"]))

    assert told["deployed"] is False
    assert told["authority"] == encode_address(MULTISIG)
    assert bytes(transaction.message.account_keys[0]) == MULTISIG
    buffer = us.machine.newest(bytes(transaction.message.account_keys[0]))
    assert buffer is None  # a multisig's vault needs no lamports here
    assert us.told(*arguments(us, "deployer", *more))["deployed"] is False


def test_final_is_for_ever(us: Owner, tmp_path: Path) -> None:
    told = us.told(*arguments(us), "--yes", "--final")
    (tmp_path / "other.so").write_bytes(other(ELF))
    more = ("--yes", "--program-file", tmp_path / "other.so")

    assert told["authority"] is None
    assert "final" in us.ask(*arguments(us, "deployer", *more), status=Exit.USAGE)


def test_a_left_buffer_is_closed(us: Owner) -> None:
    us.key_file("deployer", lamports=100 * SOL)

    async def write() -> bytes:
        one = deployment(means(SimulatedChain(us.machine), "deployer", lamports=0), ELF)
        await one.buffering.fill(silent)
        return one.buffering.address

    buffer = trio.run(write)
    assert us.told(*arguments(us), "--close-buffer")["closed"] is True
    assert us.machine.newest(buffer) is None
    assert us.told(*arguments(us), "--close-buffer")["closed"] is False


def test_who_lacks_lamports_is_told(us: Owner, tmp_path: Path) -> None:
    us.key_file("program to deploy", lamports=0)
    us.key_file("poor", lamports=SOL // 100)
    told = us.ask(*arguments(us, "poor"), "--yes", status=Exit.FAILED)

    assert "lamports are needed at once, and 10000000 are there" in told


@pytest.mark.slow
def test_a_wrong_key_is_told(us: Owner, tmp_path: Path) -> None:
    us.told(*arguments(us), "--yes")
    (tmp_path / "other.so").write_bytes(other(ELF))
    stranger = arguments(us, "stranger", "--yes", "--program-file", tmp_path / "other.so")

    # A stranger may fill a buffer and offer it; the program stays as it is.
    assert us.told(*stranger)["deployed"] is False
    found = us.machine.account(data_address(key("program to deploy").address), Commitment.PROCESSED)
    assert found is not None
    assert bytes(found.data)[45:] == ELF


@pytest.mark.parametrize("more", [("--final",), ("--upgrade-authority", text("stranger"))])
def test_only_its_authority_says_who_comes_next(us: Owner, more: tuple[str, ...]) -> None:
    us.told(*arguments(us), "--yes")
    told = us.ask(*arguments(us, "stranger", "--yes", *more), status=Exit.USAGE)

    assert "only the program's authority can say" in told
    assert us.told(*arguments(us), "--yes")["authority"] == text("deployer")


def test_two_names_for_one_program_are_refused(us: Owner) -> None:
    told = us.ask(*arguments(us), "--program", text("admin"), status=Exit.USAGE)
    assert "name two addresses" in told


def test_no_program_is_refused(us: Owner, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no program")
    more = ("--program-file", tmp_path / "text.so")

    assert "is no Solana program" in us.ask(*arguments(us, "deployer", *more), status=Exit.FAILED)


# ---- the main network, told by its genesis hash -------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "the upgrade authority would be a single key"),
        (("--version", "v0", "--final"), "SBPF v0 does not go to the main network"),
        (("--version", "v0", "--i-accept-a-single-key"), "SBPF v0 does not go"),
        (("--upgrade-authority", text("somebody")), "would be a single key"),
    ],
)
def test_the_main_network_is_refused(us: Owner, more: tuple[str, ...], said: str) -> None:
    given = arguments(us)
    us.forget_genesis(MAINNET)

    assert said in us.ask(*given, "--yes", *more, status=Exit.USAGE)
    assert us.machine.newest(key("program to deploy").address) is None


@pytest.mark.parametrize(
    "more",
    [
        ("--final",),
        ("--i-accept-a-single-key",),
        ("--upgrade-authority", encode_address(MULTISIG)),
    ],
)
def test_the_main_network_is_there_for_v3_and_a_multisig(us: Owner, more: tuple[str, ...]) -> None:
    given = arguments(us)
    us.forget_genesis(MAINNET)
    told = us.told(*given, "--dry-run", *more)

    assert told["cluster"] == "mainnet"
    assert told["hash"] == program_hash(built("v3"))


def test_the_rules_are_for_the_main_network_only() -> None:
    single = key("somebody").address
    assert [*deploy_problems(Cluster.DEVNET, 0, single, accepts_single_key=False)] == []
    assert len([*deploy_problems(Cluster.MAINNET, 0, single, accepts_single_key=False)]) == 2
    assert [*deploy_problems(Cluster.MAINNET, 3, MULTISIG, accepts_single_key=False)] == []
    assert is_single_key(single)
    assert not is_single_key(MULTISIG)


def test_versions_are_read_from_the_file() -> None:
    assert (sbpf_version(ELF), sbpf_version(built("v3"))) == (0, 3)
    with pytest.raises(NotAProgram):
        sbpf_version(ELF[:63])


def test_clusters_are_told_by_their_genesis() -> None:
    assert cluster_of(key("anything").address) is Cluster.LOCALNET
    assert url_of("devnet") == "https://api.devnet.solana.com"
    assert url_of("http://here") == "http://here"
    with pytest.raises(ValueError, match="neither an address"):
        url_of("moon")
