"""Which jobs end their hosts, and which hosts fail their jobs. Pure.

In:   a job's attempts with their operators; what became of the jobs that nodes ran.
Out:  whether a job is given up for good; whether a node gets no jobs for a while, and why.
Not here: saving either (lifecycle, standing), telling anybody (operations).
Rules, for jobs:
  1. An attempt counts whose agent fell silent or whose worker crashed. `KILLED_OPERATORS_MAX`
     operators, or `KILLED_ATTEMPTS_MAX` attempts where there are fewer, and the job is given up:
     one operator alone, with however many nodes, cannot end a stranger's job sooner.
Rules, for hosts, against submitters who would drain a competitor's:
  2. A failure counts only once another operator has completed the same job and its result passed
     verification. A job that fails everywhere, a command, a job that nobody checks: none counts.
  3. A limit that the submitter set below the default says nothing about the host that met it.
  4. One submitter counts `STRIKES_PER_SUBMITTER_MAX` times; there must be `STRIKING_SUBMITTERS_MIN`
     of them, and completers of two operators unless we have recomputed the wrong results ourselves.
  5. They must be half of what the node did lately: honest work outweighs a campaign.
  6. Never more than a quarter of the nodes at once: what fails everywhere is not the hosts' fault.
Not covered: a submitter with several wallets who pays for most of a node's work and has accomplices
among the operators can make it rest; it costs him the price of every such job, and the node is
back after a test.
Source: Sidekiq's poison pills, BOINC's daily result quota and consecutive valid results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from coordinator.limits import (
    DRAIN_FIRST_MS,
    DRAIN_MAX_MS,
    DRAIN_MEMORY_MS,
    EXECUTION_S_DEFAULT,
    KILLED_ATTEMPTS_MAX,
    KILLED_OPERATORS_MAX,
    MEMORY_MB_DEFAULT,
    OUTCOMES_PER_NODE,
    OUTPUT_BYTES_MAX,
    STRIKES_MIN,
    STRIKES_PER_SUBMITTER_MAX,
    STRIKING_SUBMITTERS_MIN,
)
from coordinator.protocol.spec import Limits
from coordinator.store.values import NodeDrain

#: Ends of attempts that may have been the job's doing: the host, or its worker, is gone.
KILLS: Final = frozenset({"lease_lost", "worker_crashed"})
#: Ends of attempts that may have been the host's doing.
FAULTS: Final = frozenset(
    {
        "rejected", "agent_error", "worker_crashed", "lease_lost", "sandbox_unavailable",
        "execution_timeout", "out_of_memory", "output_too_large",
    }
)  # fmt: skip
#: Faults that we have found ourselves, by recomputing.
PROVEN: Final = "rejected"


def hosts_killed(kills: Iterable[bytes]) -> int:
    """How many hosts a job has ended, or 0 while that is no reason to give it up.

    Args:
        kills: The operator of each attempt that ended in one of `KILLS`.
    """
    operators = list(kills)
    is_poison = len(set(operators)) >= KILLED_OPERATORS_MAX or len(operators) >= KILLED_ATTEMPTS_MAX
    return len(operators) if is_poison else 0


def is_hosts_fault(code: str, limits: Limits) -> bool:
    """Whether an attempt that ended so counts against its host once another one completes it."""
    if code not in FAULTS:
        return False
    match code:
        case "execution_timeout":
            return limits.execution_s >= EXECUTION_S_DEFAULT
        case "out_of_memory":
            return limits.memory_mb >= MEMORY_MB_DEFAULT
        case "output_too_large":
            return limits.output_bytes >= OUTPUT_BYTES_MAX
    return True


class Strike(msgspec.Struct, frozen=True):
    """A failure of a node that another operator has put to shame."""

    node: int
    submitter: bytes
    #: How the node's attempt ended.
    code: str
    #: Whose node completed the job.
    completer: bytes


class Hosts:
    """What the nodes did lately, in memory: a restart forgets it, and forgives a little."""

    def __init__(self) -> None:
        #: Strikes, and None for each job that went well; the oldest are forgotten.
        self._outcomes: dict[int, deque[Strike | None]] = {}

    def is_watched(self, node: int) -> bool:
        """Whether a success of the node is of interest: it has failures that count."""
        return node in self._outcomes

    def note_success(self, node: int) -> None:
        """A verified result of the node was paid."""
        outcomes = self._outcomes.get(node)
        # Of a node without strikes nothing is kept: it is most of them.
        if outcomes is not None:
            outcomes.append(None)
            if not any(outcomes):
                del self._outcomes[node]

    def note_strike(self, strike: Strike) -> str:
        """A failure counts; why the node is to be drained, or `""`."""
        outcomes = self._outcomes.setdefault(strike.node, deque(maxlen=OUTCOMES_PER_NODE))
        outcomes.append(strike)
        return reason_to_drain(outcomes)

    def forget(self, node: int) -> None:
        """The node begins anew."""
        self._outcomes.pop(node, None)


def reason_to_drain(outcomes: Iterable[Strike | None]) -> str:
    """Why a node with these outcomes gets no more jobs, or `""`."""
    lately = list(outcomes)
    strikes = [outcome for outcome in lately if outcome is not None]
    by_submitter: dict[bytes, int] = {}
    for strike in strikes:
        by_submitter[strike.submitter] = by_submitter.get(strike.submitter, 0) + 1
    counted = sum(min(count, STRIKES_PER_SUBMITTER_MAX) for count in by_submitter.values())
    if counted < STRIKES_MIN or len(by_submitter) < STRIKING_SUBMITTERS_MIN:
        return ""
    if 2 * len(strikes) < len(lately) or not _is_proven(strikes):
        return ""
    codes = ", ".join(sorted({strike.code for strike in strikes}))
    return (
        f"{len(strikes)} of its last {len(lately)} jobs failed here ({codes}) "
        "and were completed elsewhere"
    )


def _is_proven(strikes: Iterable[Strike]) -> bool:
    """Two completers who owe each other nothing agree, or we have recomputed what was wrong."""
    others = list(strikes)
    return len({strike.completer for strike in others}) > 1 or all(
        strike.code == PROVEN for strike in others
    )


def may_drain(drained: int, online: int) -> bool:
    """Whether one more node may be drained; an only node is never."""
    return online > 1 and drained < max(1, online // 4)


def drain(node: int, before: NodeDrain | None, now_ms: int, reason: str, ms: int = 0) -> NodeDrain:
    """A node's drain: twice as long as the one before, unless that is long ago.

    Args:
        node: The node.
        before: Its last drain, if there was one.
        now_ms: The time.
        reason: For the operator.
        ms: How long, if that was decided elsewhere.
    """
    is_recent = before is not None and now_ms < before.began_ms + DRAIN_MEMORY_MS
    count = before.count + 1 if before is not None and is_recent else 1
    rest_ms = ms or min(DRAIN_FIRST_MS << min(count - 1, 16), DRAIN_MAX_MS)
    return NodeDrain(node, now_ms, now_ms + rest_ms, count, reason)


def due(drains: Mapping[int, NodeDrain], now_ms: int) -> list[int]:
    """The drained nodes whose time is over: a test job says whether they are well."""
    return [node for node, drained in drains.items() if drained.until_ms <= now_ms]
