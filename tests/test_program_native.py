"""The sample program as a program of this machine: the same answers, and the sanitizers are silent.

Not covered: calls to other programs (the host lets them succeed).
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests import program_model
from tests.native_program import (
    CLANG,
    GivenAccount,
    Outcome,
    build_native,
    run_native,
    serialise,
)
from tests.tree import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CLANG is None and "CI" not in os.environ, reason="needs clang-19"),
]

SAMPLE: Final = ROOT / "tests" / "program_samples" / "tally"
PROGRAM, OWNER, OTHER = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)
TALLY: Final = b"tally\0\0\0" + b"\xfe" + struct.pack("<Q", 40) + OWNER
SIGNER: Final = GivenAccount(OWNER, is_signer=True)
ACCOUNT: Final = GivenAccount(OTHER, PROGRAM, 1, TALLY, is_writable=True)
ADD: Final = struct.pack("<QQ", 1, 2)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_native(SAMPLE, tmp_path_factory.mktemp("native"))


def outcomes(native: Path, folder: Path, *inputs: bytes) -> list[Outcome]:
    return run_native(native, inputs, folder)


def test_arithmetic_is_what_the_model_says(native: Path, tmp_path: Path) -> None:
    numbers = [(value * 0x9E3779B97F4A7C15 % 2**64, value % 21) for value in range(200)]
    inputs = [serialise([], struct.pack("<QQI", 2, *pair), PROGRAM) for pair in numbers]

    given = outcomes(native, tmp_path, *inputs)

    assert [each.returned for each in given] == [program_model.mix(*pair) for pair in numbers]
    assert {each.result for each in given} == {0}


def test_an_account_is_changed_in_place(native: Path, tmp_path: Path) -> None:
    given = serialise([SIGNER, ACCOUNT], ADD, PROGRAM)
    changed = TALLY[:9] + struct.pack("<Q", 42) + OWNER

    assert outcomes(native, tmp_path, given) == [Outcome(0, b"", given.replace(TALLY, changed))]


@pytest.mark.parametrize(
    ("accounts", "data", "result"),
    [
        pytest.param([SIGNER, ACCOUNT], ADD[:-1], 3 << 32, id="arguments a byte short"),
        pytest.param([SIGNER, ACCOUNT], ADD + b"\0", 3 << 32, id="arguments a byte long"),
        pytest.param([SIGNER, ACCOUNT], b"", 3 << 32, id="no arguments"),
        pytest.param([SIGNER], ADD, 11 << 32, id="an account short"),
        pytest.param([SIGNER, ACCOUNT, 0, 1], ADD, 2 << 32, id="more accounts than there is room"),
        pytest.param([SIGNER, 5], ADD, 2 << 32, id="a repetition of none"),
        pytest.param([1, SIGNER], ADD, 2 << 32, id="a repetition of a later one"),
        pytest.param([SIGNER, 0], ADD, 7 << 32, id="the owner twice"),
        pytest.param(
            [SIGNER, GivenAccount(OTHER, PROGRAM, 1, TALLY[:-1])], ADD, 4 << 32, id="data too short"
        ),
        pytest.param([GivenAccount(OTHER, is_signer=True), ACCOUNT], ADD, 6000, id="a stranger"),
    ],
)
def test_a_refusal_changes_nothing(
    native: Path,
    tmp_path: Path,
    accounts: list[GivenAccount | int],
    data: bytes,
    result: int,
) -> None:
    given = serialise(accounts, data, PROGRAM)

    assert outcomes(native, tmp_path, given) == [Outcome(result, b"", given)]


def test_the_call_of_another_program_is_whole(native: Path, tmp_path: Path) -> None:
    """The host reads every byte that the program hands to the runtime."""
    given = [SIGNER, ACCOUNT, GivenAccount(bytes(32))]
    (answer,) = outcomes(native, tmp_path, serialise(given, struct.pack("<QB", 0, 254), PROGRAM))

    # The host hashes the seeds and no more: whatever comes out is not the account's address.
    assert answer.result == 6002


def test_a_read_beyond_the_input_is_seen(native: Path, tmp_path: Path) -> None:
    """The sanitizer is awake: an input that lies about the length of its last account."""
    given = bytearray(serialise([ACCOUNT], ADD, PROGRAM))
    struct.pack_into("<Q", given, 8 + 80, 1 << 20)

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        outcomes(native, tmp_path, bytes(given))
    assert "heap-buffer-overflow" in stopped.value.stderr or "SEGV" in stopped.value.stderr
