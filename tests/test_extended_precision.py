"""After programs have run on the chain in process, the processor computes as before."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from onchain.extended_precision import give_back
from tests.claim_counter import Counter
from tests.test_action_routes import counter

__all__ = ["counter"]


def computes_as_ever() -> bool:
    with np.errstate(all="ignore"):
        third = np.longdouble(1) / 3
    return bool(third * 3 == 1) and math.fmod(-0.0, 1.0) == 0


async def test_a_token_account_that_was_made_leaves_the_registers_as_they_were(
    counter: Counter,
) -> None:
    assert computes_as_ever()
    assert msgspec.convert("-0.0", int, strict=False) == 0


def test_giving_back_what_nobody_took_does_nothing() -> None:
    give_back()

    assert computes_as_ever()
