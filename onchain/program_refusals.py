"""The program's own refusals: from a number to its name, and to the sentence of the page.

In:   a `Fault` of a transaction of ours.
Out:  `ProgramRefused`, whose `name` is that of `docs/program.md`, "Errors".
Not covered: numbers from 6000 in instructions that a wallet put in among ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from onchain.chain_errors import Fault, TransactionError, TransactionRefused
from onchain.program.refusals import CODES, FIRST_CODE, REFUSALS

#: How many instructions `Recipe` puts before its own: the limit, and a price where there is one.
BUDGET_INSTRUCTIONS: Final = (1, 2)


class Calls(Protocol):
    """What was in a transaction; `transactions.Recipe` is one."""

    @property
    def instructions(self) -> Sequence[Any]:
        """Instructions as solders has them."""
        ...


class ProgramRefused(TransactionError):
    """The settlement program would not do what it was asked."""

    def __init__(
        self,
        name: str,
        sentence: str,
        number: int,
        again_at: int | None = None,
        now_s: int | None = None,
    ) -> None:
        super().__init__(f"{name}: {sentence}")
        #: Its name on the page, such as `StaleEpoch`.
        self.name = name
        self.sentence = sentence
        self.number = number
        #: Unix s when it is worth asking again; None where no moment is known.
        self.again_at = again_at
        #: The chain's time when it was refused, Unix s; None where it is not known.
        self.now_s = now_s


def refusal_named(
    name: str, again_at: int | None = None, *, now_s: int | None = None, detail: str = ""
) -> ProgramRefused:
    """The refusal of that name.

    Args:
        name: As the page has it.
        again_at: Unix s when it is worth asking again, on the chain's clock.
        now_s: What that clock shows now.
        detail: Names and amounts that the page's sentence cannot know.
    """
    number = CODES[name]
    sentence = REFUSALS[number - FIRST_CODE].message
    if detail:
        sentence = f"{sentence}: {detail}"
    return ProgramRefused(name, sentence, number, again_at, now_s)


def refusal(number: int) -> ProgramRefused | None:
    """The refusal of that number; None where the program has none."""
    if not FIRST_CODE <= number < FIRST_CODE + len(REFUSALS):
        return None
    return refusal_named(REFUSALS[number - FIRST_CODE].name)


def refusal_in(fault: Fault | None, recipe: Calls, program: bytes) -> ProgramRefused | None:
    """The program's refusal that made a transaction fail; None where something else did.

    Args:
        fault: Why it failed.
        recipe: What was in the transaction.
        program: The settlement program's address.
    """
    if fault is None or fault.custom is None or fault.instruction is None:
        return None
    # One or two instructions before ours set the budget; which, the fault does not say. No other
    # program that we call has numbers from 6000, so a neighbour cannot be taken for ours.
    ours = {
        at + before
        for at, each in enumerate(recipe.instructions)
        if bytes(each.program_id) == program
        for before in BUDGET_INSTRUCTIONS
    }
    return refusal(fault.custom) if fault.instruction in ours else None


@contextmanager
def explained(recipe: Calls, program: bytes) -> Iterator[None]:
    """Turn a `TransactionRefused` that is the program's own into a `ProgramRefused`."""
    try:
        yield
    except TransactionRefused as error:
        found = refusal_in(error.fault, recipe, program)
        if found is None:
            raise
        raise found from error
