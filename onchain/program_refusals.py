"""The program's own refusals: from a number to its name, and to the sentence of the page.

In:   a `Fault` of a transaction of ours.
Out:  `ProgramRefused`, whose `name` is that of `docs/program.md`, "Errors".
Not covered: which program it was: numbers from 6000 are any Anchor program's, so the caller says
which instructions were calls of ours.
"""

from __future__ import annotations

from collections.abc import Container

from onchain.chain_errors import Fault, TransactionError
from onchain.program.refusals import FIRST_CODE, REFUSALS


class ProgramRefused(TransactionError):
    """The settlement program would not do what it was asked."""

    def __init__(self, name: str, sentence: str, number: int) -> None:
        super().__init__(f"{name}: {sentence}")
        #: Its name on the page, such as `StaleEpoch`.
        self.name = name
        self.sentence = sentence
        self.number = number


def refusal(number: int) -> ProgramRefused | None:
    """The refusal of that number; None where the program has none."""
    if not FIRST_CODE <= number < FIRST_CODE + len(REFUSALS):
        return None
    found = REFUSALS[number - FIRST_CODE]
    return ProgramRefused(found.name, found.message, number)


def refusal_in(fault: Fault | None, ours: Container[int]) -> ProgramRefused | None:
    """The program's refusal that made a transaction fail; None where something else did.

    Args:
        fault: Why it failed.
        ours: Which of its instructions called the settlement program, counted from 0 and with those
            that set its budget.
    """
    if fault is None or fault.custom is None or fault.instruction not in ours:
        return None
    return refusal(fault.custom)
