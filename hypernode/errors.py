"""What a submitter's call can raise: one named exception for each code worth catching by itself.

All derive from `HypernodeError`, carry the wire's `code` and a sentence for people. A code without
a name of its own (or one that only a newer coordinator knows) raises `HypernodeError` itself.
Not here: what a job computed wrongly (that is `Rejected`, said by the coordinator, never guessed).
Source: stripe-python `error.py` (named by code), httpx (one small tree).
"""

from __future__ import annotations

from typing import Final

from coordinator.protocol.errors import CODES, HypernodeError

__all__ = [
    "BadReceipt",
    "BadSpec",
    "Busy",
    "FaucetOff",
    "Forbidden",
    "HypernodeError",
    "InsufficientCredit",
    "JobCancelled",
    "JobFailed",
    "KernelRefused",
    "KeyConflict",
    "NotFinished",
    "NotFound",
    "OverBudget",
    "RateLimited",
    "Rejected",
    "Timeout",
    "TooLate",
    "Unauthenticated",
    "UnknownKind",
    "Unreachable",
    "error_of",
    "failure_of",
]


class OverBudget(HypernodeError):
    """The quote exceeds the budget."""


class InsufficientCredit(HypernodeError):
    """The wallet's credit does not cover the budget."""


class KeyConflict(HypernodeError):
    """This key was used before for another job."""


class Unauthenticated(HypernodeError):
    """The coordinator did not accept the proof of who asks."""


class Forbidden(HypernodeError):
    """The session may not do that."""


class NotFound(HypernodeError):
    """There is no such thing, or it is not yours."""


class BadSpec(HypernodeError):
    """The job's specification is not valid."""


class KernelRefused(BadSpec):
    """A kernel is not one of the language, or its arguments are not what it takes."""

    def __init__(self, detail: str, *, file: str = "", line: int = 0) -> None:
        super().__init__("bad_spec", detail)
        #: Where in the user's own text, if it is a matter of the text.
        self.file = file
        self.line = line


class UnknownKind(HypernodeError):
    """There is no such kind of job."""


class RateLimited(HypernodeError):
    """Too many requests, sessions or open jobs: wait a little."""


class Busy(HypernodeError):
    """The coordinator has more work than it can take now, cannot write, or stops."""


class TooLate(HypernodeError):
    """The job has ended, or its result is being verified."""


class NotFinished(HypernodeError):
    """The job has not finished."""


class FaucetOff(HypernodeError):
    """The development faucet is off."""


class Unreachable(HypernodeError):
    """The coordinator cannot be reached."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("unreachable", detail)
        #: The job that goes on without us, where that is known; "" otherwise.
        self.job = ""


class Timeout(HypernodeError):
    """The time that the caller gave is over; the job goes on."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("deadline", detail)
        #: The job that goes on without us, where that is known; "" otherwise.
        self.job = ""


class BadReceipt(HypernodeError):
    """A receipt or an output does not prove what the coordinator says."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_signature", detail)


class JobFailed(HypernodeError):
    """The job failed; `code` says why; nothing was paid for it unless it was a command that ran."""

    def __init__(self, code: str, detail: str = "", *, job: str = "") -> None:
        super().__init__(*_known(code, detail))
        self.job = job
        #: What a command wrote before it failed, if it did; "" otherwise.
        self.log = ""


class Rejected(JobFailed):
    """The result did not pass verification."""


class JobCancelled(JobFailed):
    """The job was cancelled."""


_NAMED: Final[dict[str, type[HypernodeError]]] = {
    "over_budget": OverBudget,
    "insufficient_credit": InsufficientCredit,
    "key_conflict": KeyConflict,
    "forbidden": Forbidden,
    "node_key_taken": Forbidden,
    "not_found": NotFound,
    "bad_spec": BadSpec,
    "bad_amount": BadSpec,
    "unknown_kind": UnknownKind,
    "rate_limited": RateLimited,
    "too_many_sessions": RateLimited,
    "too_many_open_jobs": RateLimited,
    "busy": Busy,
    "draining": Busy,
    "unavailable": Busy,
    "read_only": Busy,
    "too_late": TooLate,
    "not_finished": NotFinished,
    "faucet_off": FaucetOff,
}


def error_of(code: str, sentence: str = "") -> HypernodeError:
    """The exception for a refusal of the coordinator."""
    known, text = _known(code, sentence)
    if known == "unreachable":
        return Unreachable(text)
    if known == "deadline":
        return Timeout(text)
    if known not in _NAMED and CODES[known][1] == 401:
        return Unauthenticated(known, text)
    return _NAMED.get(known, HypernodeError)(known, text)


def failure_of(job: str, state: str, code: str, detail: str) -> JobFailed:
    """The exception for a job that ended without a result."""
    if state == "cancelled" and code in {"", "cancelled"}:
        return JobCancelled("cancelled", detail, job=job)
    if code == "rejected":
        return Rejected(code, detail, job=job)
    return JobFailed(code, detail, job=job)


def _known(code: str, sentence: str) -> tuple[str, str]:
    """A code that this version knows; a newer coordinator's code stays readable in the text."""
    if code in CODES:
        return code, sentence
    return "internal", f"{code}: {sentence}" if code else sentence
