"""The sample program in the virtual machines that a cluster runs: old and new, loaded and deployed.

Two machines: LiteSVM of the pinned packages (v0 only), and the newest one, in an environment of its
own (`requirements/chain-next.txt`), which `./run test` names in CHAIN_NEXT_PYTHON.
Not covered: a validator; a cluster's network.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from onchain.program.build.compile import CLANGS
from onchain.program.build.construct import FOLDER, Built, build, file_name, save
from onchain.program.build.image import Version
from tests import program_model, program_vm
from tests.tree import ROOT

SAMPLE: Final = ROOT / "tests" / "program_samples" / "tally"
V0, V3 = Version
CLANG: Final = shutil.which(CLANGS[0])
needs_clang: Final = pytest.mark.skipif(
    CLANG is None and "CI" not in os.environ, reason=f"needs {CLANGS[0]}"
)
Answers = list[tuple[str, str]]


def chain_next() -> str:
    """Python of the environment with the newest virtual machine."""
    python = os.environ.get("CHAIN_NEXT_PYTHON")
    if not python and "CI" not in os.environ:
        pytest.skip("needs CHAIN_NEXT_PYTHON: Python with requirements/chain-next.txt")
    assert python
    return python


def in_next(file: Path, how: str) -> dict[str, Any]:
    """What the newest virtual machine says of a program file."""
    script = ROOT / "tests" / "program_vm.py"
    done = subprocess.run(
        [chain_next(), "-I", str(script), str(file), how],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def in_pinned(program: bytes) -> Answers:
    machine, address = program_vm.Machine(), program_vm.key("program").pubkey()
    machine.load(program, address)
    return program_vm.story(machine, address)


@pytest.fixture(scope="module")
def built() -> Built:
    return build(SAMPLE)


@pytest.fixture(scope="module")
def answers(built: Built) -> Answers:
    return in_pinned(built.files[V0])


@pytest.fixture(scope="module")
def files(built: Built, tmp_path_factory: pytest.TempPathFactory) -> dict[Version, Path]:
    folder = tmp_path_factory.mktemp("zig")
    save(built, folder, "tally")
    return {version: folder / file_name(version, "tally") for version in Version}


def test_an_account_is_made_by_the_program_and_counts(answers: Answers) -> None:
    told = dict(answers)
    owner, total = bytes(program_vm.key("owner").pubkey()), 5 + 0x0102_0304_0506 + 2**63
    account = bytes.fromhex(told["account"])

    assert told["create"] == ""
    assert account[:8] == b"tally\0\0\0"
    assert account[9:] == total.to_bytes(8, "little") + owner


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        ("create: an address of somebody", "6002"),
        ("create: unsigned", "MissingRequiredSignature"),
        ("add: a stranger", "6000"),
        ("add: too much", "6001"),
        ("add: unsigned", "MissingRequiredSignature"),
        ("add: one account", "NotEnoughAccountKeys"),
        ("add: four accounts", "InvalidArgument"),
        ("add: the account twice", "NotEnoughAccountKeys"),
        ("add: not ours", "IncorrectProgramId"),
        ("add: a byte short", "InvalidInstructionData"),
        ("add: a byte long", "InvalidInstructionData"),
        ("no such instruction", "6003"),
    ],
)
def test_a_refusal_reaches_the_caller(answers: Answers, call: str, refusal: str) -> None:
    assert dict(answers)[call] == refusal


def test_arithmetic_is_what_the_model_says(answers: Answers) -> None:
    mixed = [(name.removeprefix("mix "), said) for name, said in answers if name.startswith("mix")]
    expected = [program_model.mix(*map(int, name.split(", "))).hex() for name, _ in mixed]

    assert len(mixed) == 30
    assert [said for _, said in mixed] == expected


@needs_clang
def test_the_other_compilers_program_behaves_the_same(built: Built, answers: Answers) -> None:
    other = build(SAMPLE, "clang").files

    assert other != built.files
    assert in_pinned(other[V0]) == answers


@pytest.mark.slow
@pytest.mark.parametrize("how", ["load", "deploy"])
@pytest.mark.parametrize("version", Version)
def test_the_newest_machine_gives_the_same_answers(
    files: dict[Version, Path], answers: Answers, version: Version, how: str
) -> None:
    said = in_next(files[version], how)

    assert said["refusal"] is None
    assert list(map(tuple, said["answers"])) == answers


@pytest.mark.slow
@needs_clang
def test_the_other_compilers_release_behaves_the_same(answers: Answers, tmp_path: Path) -> None:
    save(build(SAMPLE, "clang"), tmp_path)
    said = in_next(tmp_path / file_name(V3), "deploy")

    assert list(map(tuple, said["answers"])) == answers


@pytest.mark.slow
def test_v3_is_deployed_where_old_versions_no_longer_are(
    files: dict[Version, Path], answers: Answers
) -> None:
    """Why v3 is what is released: clusters are about to refuse v0."""
    how = "deploy-without-old-versions"

    assert list(map(tuple, in_next(files[V3], how)["answers"])) == answers
    assert "sbpf_version required" in in_next(files[V0], how)["refusal"]


@pytest.mark.slow
@pytest.mark.parametrize("version", Version)
def test_a_damaged_program_is_not_deployed(
    files: dict[Version, Path], version: Version, tmp_path: Path
) -> None:
    """The loader looks: what it accepted above was not accepted unread."""
    damaged = tmp_path / "damaged.so"
    data = files[version].read_bytes()
    exit_, unknown = b"\x95" + bytes(7), b"\x06" + bytes(7)
    assert exit_ in data
    damaged.write_bytes(data.replace(exit_, unknown))

    assert in_next(damaged, "deploy")["refusal"]


@pytest.mark.slow
def test_the_committed_release_is_deployed_where_old_versions_no_longer_are() -> None:
    """Its own calls are tested elsewhere; here the loader takes the file, and answers come back."""
    said = in_next(FOLDER / file_name(V3), "deploy-without-old-versions")

    assert said["refusal"] is None
    # ERR_UNKNOWN_INSTRUCTION: the sample's calls are none of its.
    assert dict(said["answers"])["no such instruction"] == "6000"


@pytest.mark.slow
def test_the_committed_file_for_tests_is_loaded_by_the_pinned_machine() -> None:
    said = dict(in_pinned((FOLDER / file_name(V0)).read_bytes()))

    assert said["no such instruction"] == "6000"
