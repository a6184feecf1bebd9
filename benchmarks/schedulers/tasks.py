"""The task that every scheduler runs, and how its answer is compared.

It is our search over one nonce in five lines of plain Python, so that what is measured is the way
of a task and not the task. No import of ours: workers of other schedulers load this module alone.
"""

from __future__ import annotations

from hashlib import sha256


class WrongResult(Exception):
    """A scheduler gave back something else than the task computes."""


def search(number: int) -> list[int]:
    """The nonce, and how many zero bits its hash begins with."""
    digest = int.from_bytes(sha256(number.to_bytes(8, "little")).digest(), "big")
    return [number, 256 - digest.bit_length()]


def compare(numbers: list[int], answers: list[list[int]]) -> None:
    """Check what came back.

    Raises:
        WrongResult: an answer is missing, or wrong.
    """
    right = [search(number) for number in numbers]
    if answers != right:
        wrong = sum(one != other for one, other in zip(answers, right, strict=False))
        msg = f"{len(answers)} answers to {len(numbers)} tasks, {wrong} of them wrong"
        raise WrongResult(msg)
