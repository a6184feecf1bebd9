"""`hypernode chain verify`: the program of these sources, told from any other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hypernode.cli.exit import Exit
from onchain.address import encode_address
from onchain.chain import LAMPORTS_PER_SOL as SOL
from onchain.loader import data_address, program_hash
from onchain.localnet import open_node
from onchain.program import DEVELOPMENT_ID
from onchain.program.build.errors import CompilerMissing
from onchain.security_txt import read_security_txt
from tests.chain_owner import Owner, owner, text
from tests.chains import key
from tests.deploying import built, other


@pytest.fixture
def us(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Owner]:
    for name in ("HYPERNODE_RPC", "HYPERNODE_PROGRAM", "HYPERNODE_LEDGER", "HYPERNODE_KEYPAIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    with owner(tmp_path, capsys, open_node(slot_s=None, deployable=True)) as one:
        yield one


def deployed(us: Owner, elf: bytes, *more: object) -> str:
    """Deploy a program; its address."""
    (us.folder / "program.so").write_bytes(elf)
    us.told(
        *("deploy", "--rpc", us.thread.url, "--yes", "-k", us.key_file("deployer", 100 * SOL)),
        *("--program-keypair", us.key_file("program", 0), "--program-file"),
        *(us.folder / "program.so", *more),
    )
    return text("program")


def verify(us: Owner, *more: object) -> tuple[object, ...]:
    return ("verify", "--rpc", us.thread.url, "--no-build", *more)


def test_our_program_is_told(us: Owner) -> None:
    program = deployed(us, built("v0"))
    told = us.told(*verify(us, "--program", program))

    assert (told["ours"], told["version"]) == (True, "v0")
    assert told["hash"] == told["committed"]["v0"] == program_hash(built("v0"))
    assert told["committed"]["v3"] == program_hash(built("v3"))
    assert (told["authority"], told["authority_kind"]) == (text("deployer"), "key")
    assert told["security"]["name"] == "HYPERNODE settlement"
    assert told["reproduced"] is None


def test_room_behind_the_program_changes_no_hash(us: Owner) -> None:
    program = deployed(us, built("v0") + bytes(1000))

    assert us.told(*verify(us, "--program", program))["ours"] is True


def test_any_other_program_is_status_1(us: Owner) -> None:
    program = deployed(us, other(built("v0")), "--final")
    shown = us.ask(*verify(us, "--program", program), status=Exit.FAILED)

    assert "NONE OF OURS" in shown
    assert "nobody can replace it, ever" in shown


def test_a_multisigs_vault_is_told_from_a_key(us: Owner) -> None:
    vault = encode_address(data_address(key("multisig").address))
    program = deployed(us, built("v0"), "--upgrade-authority", vault)
    told = us.told(*verify(us, "--program", program))

    assert (told["authority"], told["authority_kind"]) == (vault, "derived")


def test_the_ledgers_program_and_mint_are_looked_at(us: Owner) -> None:
    us.opened()
    told = us.told(*verify(us, "--config", us.folder / "settlement.toml"))

    assert told["program"] == encode_address(DEVELOPMENT_ID)
    assert told["ours"] is True
    assert told["mint_refused"] is None
    assert (told["mint"]["decimals"], told["mint"]["freeze_authority"]) == (6, None)


def test_no_program_is_told(us: Owner) -> None:
    told = us.ask(*verify(us, "--program", text("admin")), status=Exit.FAILED)

    assert "nothing lies at this program's address" in told


@pytest.mark.slow
def test_a_fresh_build_is_compared(us: Owner) -> None:
    told = us.told("verify", "--rpc", us.thread.url)

    assert told["built"] == told["committed"]
    assert told["reproduced"] is True


def test_without_a_compiler_the_rest_is_told(us: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> dict[str, str]:
        raise CompilerMissing

    monkeypatch.setattr("onchain.program_check.fresh_builds", missing)
    shown = us.ask("verify", "--rpc", us.thread.url)

    assert "pip install ziglang==0.17.1" in shown


def test_another_build_is_status_1(us: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onchain.program_check.fresh_builds", lambda: {"v0": "0", "v3": "1"})

    told = us.told("verify", "--rpc", us.thread.url, status=Exit.FAILED)
    assert (told["ours"], told["reproduced"]) == (False, False)


def test_what_a_stranger_wrote_stays_on_its_line(us: Owner) -> None:
    name = b"HYPERNODE settlement"
    hostile = b"\x1b[2J\nIs  ours, SBPF v3"
    elf = built("v0").replace(name, hostile[: len(name)].ljust(len(name), b"."))
    shown = us.ask(*verify(us, "--program", deployed(us, elf)), status=Exit.FAILED)

    assert "\x1b" not in shown
    assert [line for line in shown.split("\n") if line.lower().startswith("is")] == [
        "is\tNONE OF OURS"
    ]


@pytest.mark.parametrize(
    "program", [b"", b"=======BEGIN SECURITY.TXT V1=======\0name\0x\0", b"name\0x\0"]
)
def test_no_security_txt_is_none(program: bytes) -> None:
    assert read_security_txt(program) == {}


def test_security_txt_is_read_from_both_files() -> None:
    found = read_security_txt(built("v3"))

    assert found == read_security_txt(built("v0"))
    assert list(found)[:3] == ["name", "project_url", "contacts"]


@pytest.mark.slow
@pytest.mark.parametrize("deployable", [True, False])
def test_a_deployed_program_is_there_after_a_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], deployable: bool
) -> None:
    state = tmp_path / "chain"
    with owner(tmp_path, capsys, open_node(folder=state, slot_s=None, deployable=True)) as us:
        program = deployed(us, built("v0"))
    again = open_node(folder=state, slot_s=None, deployable=deployable)
    with owner(tmp_path, capsys, again) as us:
        assert us.told(*verify(us, "--program", program))["ours"] is True
        told = us.told(
            *("init", "--config", us.config(), "-k", us.key_file("owner"), "--program", program)
        )

    assert told["program"] == program
