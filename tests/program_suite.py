"""All cases of the settlement program: `python -m tests.program_suite` plays them.

It needs solders and nothing else, so that the newest virtual machine plays them too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from tests.program_cases import Case, Stage
from tests.program_cases_claims import CLAIMS
from tests.program_cases_deposits import DEPOSITS
from tests.program_cases_initialize import INITIALIZE
from tests.program_cases_proposals import CONFIG
from tests.program_cases_publish import PUBLISH
from tests.program_cases_roots import ROOTS
from tests.program_cases_rules import RULES
from tests.program_cases_vouchers import VOUCHERS
from tests.program_world import World, program_file

CASES: Final[list[Case]] = [
    *INITIALIZE,
    *DEPOSITS,
    *PUBLISH,
    *ROOTS,
    *CLAIMS,
    *VOUCHERS,
    *RULES,
    *CONFIG,
]


def failures(world: World, cases: Iterable[Case] = CASES) -> Iterator[str]:
    """What was otherwise than its table says, a line each."""
    stage = Stage(world)
    for case in cases:
        if told := stage.told(case):
            yield f"{case.id}: {told}"


def main() -> int:
    """Play all cases on the file that `HYPERNODE_PROGRAM_FILE` names, or the built one."""
    told = list(failures(World(program_file())))
    print(*told, f"{len(CASES)} cases, {len(told)} otherwise than they should be", sep="\n")
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())
