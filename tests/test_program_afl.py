"""The settlement program's host for AFL++: all cases come to the same as on the chain, planted
mistakes are seen, and AFL itself finds nothing in a short search.

The long search: `python -m tests.program_afl --seconds N`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from onchain.program.build.construct import FOLDER
from onchain.program.refusals import CODES
from tests.native_program import CLANG, SHORT, build_native, run_short
from tests.program_afl import COMPILER, build, search, seeds
from tests.program_cases import RUNTIME, Case
from tests.program_inputs import short_input
from tests.program_suite import CASES

pytestmark = pytest.mark.slow
needs_clang = pytest.mark.skipif(CLANG is None and "CI" not in os.environ, reason="needs clang-19")
needs_afl = pytest.mark.skipif(COMPILER is None and "CI" not in os.environ, reason="needs afl++")

#: What the host does not know, by words in a case's name.
UNKNOWN: Final = {
    "lower bump": "addresses on the curve",
    "twice": "a second instruction in the transaction",
    "two redemptions": "a second instruction in the transaction",
    "another signature": "the Ed25519 program",
    "no signature, the bytes": "the Ed25519 program",
}
SECONDS: Final = 3


def wanted(case: Case) -> str:
    if case.error is None:
        return "0"
    return "refused" if case.error == RUNTIME else str(CODES.get(case.error, "refused"))


@needs_clang
def test_every_case_comes_to_the_same_as_on_the_chain(tmp_path: Path) -> None:
    native = build_native(FOLDER / "src", tmp_path, SHORT)
    cases = [each for each in CASES if not any(word in each.name for word in UNKNOWN)]
    inputs = [short_input(case) for case in cases]

    told = run_short(native, [each for each in inputs if each is not None])

    assert None not in inputs
    assert len(cases) > 2_000
    assert len(CASES) - len(cases) < 60
    other = {
        case.id: (wanted(case), result)
        for case, result in zip(cases, told, strict=True)
        if wanted(case) != result
    }
    assert other == {}


@needs_clang
@pytest.mark.parametrize(
    ("file", "right", "wrong", "seen"),
    [
        (*("payments.c", "ledger->total_claimed = total_claimed;", ";"), "less than is owed"),
        (*("deposit.c", "->total_deposited = total;", "->total_deposited = total + 1;"), "owed"),
        (*("entry.c", "REQUIRE(len == want, ERR", "REQUIRE(len <= want, ERR"), "AddressSanitizer"),
        (
            *("application.c", "ledger->limits = ", "ledger->limits.window_secs = 0; (void)"),
            "unlawful",
        ),
    ],
)
def test_a_planted_mistake_is_seen(
    tmp_path: Path, file: str, right: str, wrong: str, seen: str
) -> None:
    sources = tmp_path / "src"
    shutil.copytree(FOLDER / "src", sources)
    text = (sources / file).read_text()
    assert right in text
    (sources / file).write_text(text.replace(right, wrong))
    native = build_native(sources, tmp_path, SHORT)

    with pytest.raises(subprocess.CalledProcessError) as stopped:
        run_short(native, [*seeds()])

    assert seen in stopped.value.stderr.decode()


@needs_afl
def test_a_short_search_finds_nothing(tmp_path: Path) -> None:
    found = search(build(tmp_path), tmp_path, SECONDS, seed=1)

    assert not found.crashes
    assert not found.hangs
    assert int(found.stats["execs_done"]) > len(set(seeds()))
    assert int(found.stats["edges_found"]) > 800
