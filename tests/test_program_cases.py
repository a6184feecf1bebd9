"""Every check of every instruction of the settlement program: the tables of `program_cases_*`."""

from __future__ import annotations

import os
import subprocess
from typing import Final

import pytest

from onchain.program.instructions import INSTRUCTIONS
from onchain.program.refusals import CODES
from tests.program_cases import BASES, Case, Stage
from tests.program_changes import Up
from tests.program_suite import CASES, failures
from tests.program_world import BUILT, FEATURES_SETTING, FILE_SETTING, World, program_file
from tests.tree import ROOT

#: Errors that no table reaches, and where they are reached.
ELSEWHERE: Final = {"TransferMismatch": "test_program_callers: a token program that moves nothing"}


@pytest.fixture(scope="module")
def world() -> World:
    return World(program_file())


@pytest.mark.parametrize("instruction", [each.name for each in INSTRUCTIONS])
def test_each_case_goes_as_its_table_says(world: World, instruction: str) -> None:
    cases = [case for case in CASES if case.instruction == instruction]

    assert sum(case.error is None for case in cases) >= 2
    assert list(failures(world, cases)) == []


def test_every_error_is_reached() -> None:
    reached = {case.error for case in CASES}

    assert {*CODES} - reached == {*ELSEWHERE}


def test_every_role_that_must_sign_is_tried_unsigned() -> None:
    names = {case.id for case in CASES if case.error == "MissingSigner"}

    for each in INSTRUCTIONS:
        for account in each.accounts:
            assert (f"{each.name}: {account.name} does not sign" in names) == account.signer


CLAIM: Final = Case("claim", "as it should be", (), None, BASES["claim"].then, alone=True)


@pytest.mark.parametrize(
    ("case", "told"),
    [
        (CLAIM, None),
        (CLAIM._replace(error="Paused"), "success instead of Paused"),
        (CLAIM._replace(then={**CLAIM.then, "tokens.vault": Up(-2_999_999)}), "tokens.vault"),
        (CLAIM._replace(then={**CLAIM.then, "ledger.advance": 1}), "ledger.advance"),
        (
            CLAIM._replace(then={k: v for k, v in CLAIM.then.items() if k != "ledger.flow_level"}),
            "ledger.flow_level: 5999901 instead of 4000000",
        ),
    ],
)
def test_what_goes_otherwise_is_told(world: World, case: Case, told: str | None) -> None:
    seen = Stage(world).told(case)

    assert (seen is None) if told is None else (seen is not None and told in seen)


@pytest.mark.parametrize("features", ["all", "mainnet"])
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("tests.program_suite",), f"{len(CASES)} cases, 0 otherwise"),
        (("tests.program_fuzz", "--operations", "3000", "--seed", "1000"), "no difference"),
    ],
    ids=["cases", "lives"],
)
def test_the_newest_virtual_machine_finds_the_same_in_what_is_released(
    features: str, command: tuple[str, ...], said: str
) -> None:
    python = os.environ.get("CHAIN_NEXT_PYTHON")
    if not python and "CI" in os.environ:
        pytest.fail("CHAIN_NEXT_PYTHON is not set, which `./run test` does")
    if not python:
        pytest.skip("needs CHAIN_NEXT_PYTHON: Python with requirements/chain-next.txt")
    released = BUILT.with_name(BUILT.name.replace(".v0.", ".v3."))

    done = subprocess.run(
        [python, "-m", *command],
        cwd=ROOT,
        env={**os.environ, FILE_SETTING: str(released), FEATURES_SETTING: features},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert said in done.stdout
