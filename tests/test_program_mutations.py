"""The mutation run itself: which mistakes are made, which are said to change nothing; the run."""

from __future__ import annotations

import faulthandler
import os

import pytest

from tests.program_mutants import Fate, judged, main, sources
from tests.program_mutations import all_mutants, excuses, mutants_of

SOURCE = """\
/* a < b in a comment, 'x < y' too */
#define MORE(a) ((a) + 1)
_Static_assert(1 < 2, "a < b");
static u64 f(u64 a, u64 b) {
    REQUIRE(g(a, b) && a <= b, ERR_ONE);
    TRY(check(a));
    ledger->total = most(a,
        above(b, 1));
    forget(ledger);
    if (a == 0) {
        return least(a, b) + above(a, b);
    }
    /* equal [+ to -, above to -]:
     * nothing is added. */
    return above(a, b) + 0;
}
INLINE u64 most(u64 a, u64 b) { return a > b ? a : b; } /* equal [> to >=]: the same */
"""


def test_each_mistake_is_made_once_where_there_is_code() -> None:
    made = [(each.line, each.mistake) for each in mutants_of("f.c", SOURCE)]

    assert made == [
        *((5, "REQUIRE off"), (5, "&& to ||"), (5, "<= to <"), (6, "TRY off")),
        *((7, "statement off"), (7, "most to least"), (8, "above to -"), (9, "statement off")),
        *((10, "if not"), (10, "== to !="), (11, "least to most"), (11, "+ to -")),
        *((11, "above to -"), (15, "above to -"), (15, "+ to -"), (17, "> to >=")),
    ]


@pytest.mark.parametrize(
    ("line", "mistake", "text"),
    [
        (5, "REQUIRE off", "REQUIRE(true || (g(a, b) && a <= b), ERR_ONE);"),
        (6, "TRY off", "(void)(check(a));"),
        (9, "statement off", "    ;"),
        (10, "if not", "if (!(a == 0)) {"),
        (11, "least to most", "return most(a, b) + above(a, b);"),
        (11, "above to -", "return least(a, b) + ((a) - ( b));"),
        (17, "> to >=", "{ return a >= b ? a : b; }"),
    ],
)
def test_a_mutant_differs_by_its_mistake_alone(line: int, mistake: str, text: str) -> None:
    (mutant,) = [m for m in mutants_of("f.c", SOURCE) if (m.line, m.mistake) == (line, mistake)]
    changed = mutant.text.splitlines()

    assert text in changed[line - 1]
    assert changed[: line - 1] == SOURCE.splitlines()[: line - 1]
    assert changed[line:] == SOURCE.splitlines()[line:]


def test_a_reason_speaks_of_the_code_beside_or_below_it() -> None:
    assert excuses("f.c", SOURCE) == {
        *(("f.c", 15, "+ to -"), ("f.c", 15, "above to -"), ("f.c", 17, "> to >=")),
    }


def test_what_lives_without_a_reason_and_reasons_without_a_life_are_told() -> None:
    texts = {"f.c": SOURCE}
    fates = [
        Fate(each, "lives" if each.mistake in {"+ to -", "TRY off"} else "some case")
        for each in all_mutants(texts)
    ]

    verdict = judged(texts, fates)

    assert [(each.line, each.mistake) for each in verdict.living] == [
        (6, "TRY off"),
        (11, "+ to -"),
    ]
    assert verdict.stale == [("f.c", 15, "above to -"), ("f.c", 17, "> to >=")]


def test_every_reason_of_the_program_speaks_of_a_mistake_that_is_made() -> None:
    texts = sources()
    made = {(each.file, each.line, each.mistake) for each in all_mutants(texts)}
    said = {one for file, text in texts.items() for one in excuses(file, text)}

    assert said <= made
    assert len(made) > 500
    assert not [each for each in said if not _has_reason(texts[each[0]], each[1])]


def _has_reason(text: str, line: int) -> bool:
    """Whether some words follow the brackets, on that line or in the comment above it."""
    near = "\n".join(text.splitlines()[max(0, line - 4) : line])
    return len(near.split("]:")[-1].split("*/")[0].split()) >= 2


@pytest.mark.slow
def test_the_run_of_one_source_says_what_became_of_its_mutants(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The breaker alone: all of its mutants die, and the run says how many there were."""
    assert main(["--jobs", "1", "breaker.c"]) == 0
    assert "killed" in capsys.readouterr().out


@pytest.mark.slow
def test_every_mutant_of_the_program_is_killed_or_argued(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Some three minutes of one core."""
    faulthandler.cancel_dump_traceback_later()  # it is no stuck test
    status = main(["--jobs", str(min(2, os.cpu_count() or 1))])

    assert status == 0, capsys.readouterr().out
