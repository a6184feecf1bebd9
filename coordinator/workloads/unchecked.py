"""Kinds whose results nobody computes again: paid by time, in a sandbox, receipt *unverified*.

Why: their work is not known beforehand, so the coordinator's clock measures it; and what they
compute is the submitter's own matter.
"""

from __future__ import annotations

from typing import ClassVar, Final, NoReturn

from coordinator.protocol.spec import Policy, Unverified
from coordinator.workloads.workload import P, Work, Workload

#: Ends of a job that are its own doing: it ran, its time is paid, and it is not run again.
PAID_FAILURES: Final = frozenset(
    {"exit_nonzero", "execution_timeout", "output_too_large", "out_of_memory", "kernel_failed"}
)
#: `blocks` is 0: whoever asks for one is wrong.
_NO_BLOCKS: Final = "a job of this kind has no blocks"


class Unchecked(Workload[P]):
    """A kind that is timed and not verified."""

    sandbox = 1
    default_policy: ClassVar[Policy] = Unverified()
    is_timed = True

    def work(self, params: P) -> Work:  # noqa: ARG002 - an interface
        return Work(flop=0, bytes=0)

    def blocks(self, params: P) -> int:  # noqa: ARG002 - an interface
        return 0

    def reference(self, *_: object) -> NoReturn:
        raise AssertionError(_NO_BLOCKS)

    def extract(self, *_: object) -> NoReturn:
        raise AssertionError(_NO_BLOCKS)

    def disagreement(self, *_: object) -> NoReturn:
        raise AssertionError(_NO_BLOCKS)
