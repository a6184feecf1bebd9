"""One account in two roles of an instruction, each pair of roles tried.

Only two roles may be anybody's: who pays (whoever signs), and the system program where nothing is
made. Not here: accounts of strangers and look-alikes (`test_program_cases`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("solders", reason="the extra `chain` is not installed")

from tests.program_cases import BASES, stage
from tests.program_scenes import DECLARED
from tests.program_suite import CASES
from tests.program_world import World, program_file

#: Every instruction: each has cases, and with them a scene.
NAMES = sorted({case.instruction for case in CASES})
#: Who pays may be any account that signs; `system_program` is looked for where something is made.
ANYBODY = {"payer", "system_program"}


def pairs(name: str) -> Iterator[tuple[str, str]]:
    """A role, and the role whose account takes it too."""
    roles = [account.name for account in DECLARED[name].accounts]
    yield from ((one, other) for one in roles for other in roles if one != other)


@pytest.mark.parametrize("is_new", [False, True], ids=["a record", "no record yet"])
@pytest.mark.parametrize("name", NAMES)
def test_no_account_stands_in_two_roles(name: str, is_new: bool) -> None:
    world = World(program_file())
    honest = BASES[name].scene()
    if is_new:
        honest.claim_record = honest.deposit_record = None
    stage(world, honest, set())
    taken = []
    for role, by in pairs(name):
        scene = BASES[name].scene()
        if role in ANYBODY or scene.keys[role] == scene.keys[by]:
            continue
        scene.keys[role] = scene.keys[by]
        if world.send(scene.instructions(), scene.tables).error is None:
            taken.append((role, by))

    assert taken == []
    # As it is, the same chain takes the instruction: nothing was refused for another reason.
    needs_record = is_new and name in {"cover", "exit", "request_exit", "cancel_exit"}
    refused = world.send(honest.instructions(), honest.tables).error
    assert refused == ("InvalidRecord" if needs_record else None)
