"""The nodes that get no jobs for a while, as the house keeps them in mind: drained, tried, back.

In:   drains as they were committed, strikes, the ends of jobs, the clock.
Out:  events for the writer: a node is failing, a test job is due, a node is well.
Rules:
  1. A drained node ends what it holds and is matched with nothing new.
  2. When its time is over and it is here, it gets test jobs, one after the other; `PROBES_MIN` in a
     row and it is well, a failed one and it is drained anew, for longer. One that was lost on the
     way says nothing.
Not here: whether a node is drained and for how long (quarantine), its rows (standing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeAlias

from coordinator import events as ev, quarantine
from coordinator.jobs import LOSSES
from coordinator.ledger import HOUSE
from coordinator.limits import PROBES_MIN
from coordinator.log import get_log
from coordinator.protocol.spec import Unverified, decode_spec
from coordinator.scheduler import Capability
from coordinator.store.values import Job, JobState, NodeDrain
from coordinator.workloads.catalogue import get

log = get_log(__name__)

#: Ends of a test job that say nothing about the node.
LOST_ON_THE_WAY: Final = LOSSES
#: Test jobs by kind, the first that a node runs: a search takes some milliseconds and is verified.
_PROBES: Final = {
    "hashsearch": b'{"prefix":"70726f6265","start":%d,"count":4096,"target_bits":16}',
    "montecarlo": (
        b'{"spot":100.0,"strike":100.0,"rate":0.02,"volatility":0.2,"maturity_years":1.0,'
        b'"option":"call","paths":4096,"seed":%d}'
    ),
    # 1 times 1: the inputs stand behind the parameters.
    "matmul": (
        b'{"m":1,"k":1,"n":1},"inputs":{"a":{"dtype":"float32","shape":[1,1],"data":"AACAPw=="},'
        b'"b":{"dtype":"float32","shape":[1,1],"data":"AACAPw=="}}'
    ),
    "kernel": (
        b'{"source":"@kernel\\ndef probe(i, out: Out[i64]):\\n    out[i] = i + %d\\n",'
        b'"outputs":{"out":[64]},"extent":[64]}'
    ),
    "render": b'{"width":32,"height":32,"seed":%d}',
    # All that a seed client runs; nobody can verify it, but it must end well.
    "command": b'{"command":"true # %d"}',
}
_PROBE: Final = (
    b'{"kind":"%s","params":%s,"limits":{"execution_s":60,"queue_s":60},'
    b'"resources":{"sandbox":0},"retries":0}'
)


#: Hands an event to the writer; the function hears what came of it.
Tell: TypeAlias = Callable[[ev.Event, Callable[[ev.Outcome], None]], None]


class Drains:
    """The index of drained nodes."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._drains: dict[int, NodeDrain] = {}
        self._hosts = quarantine.Hosts()
        #: Test jobs that are out, by node, and those passed so far.
        self._tried: set[int] = set()
        self._passed: Counter[int] = Counter()
        #: Nodes whose drain is on its way to the disk.
        self._failing: set[int] = set()

    def restore(self, drains: Iterable[NodeDrain]) -> None:
        """The drains that were not over when the coordinator stopped."""
        self._drains = {drained.node: drained for drained in drains}

    def __len__(self) -> int:
        """Nodes that are drained now."""
        return len(self._drains)

    def of(self, node: int) -> NodeDrain | None:
        """The node's drain, if it is drained."""
        return self._drains.get(node)

    def note_committed(self, node: int, drained: NodeDrain | None) -> None:
        """A drain was written, or ended."""
        self._hosts.forget(node)
        self._failing.discard(node)
        self._tried.discard(node)
        self._passed.pop(node, None)
        if drained is None:
            self._drains.pop(node, None)
            log.info("node is back", node=node)
        else:
            self._drains[node] = drained
            log.warning(
                "node drained",
                node=node,
                reason=drained.reason,
                seconds=(drained.until_ms - drained.began_ms) // 1000,
                in_a_row=drained.count,
            )

    def note_strike(self, strike: quarantine.Strike, *, online: int) -> None:
        """A node failed what another operator completed."""
        if strike.node in self._drains or strike.node in self._failing:
            return
        reason = self._hosts.note_strike(strike)
        if not reason:
            return
        if quarantine.may_drain(len(self._drains) + len(self._failing), online):
            self._failing.add(strike.node)
            self._decide(ev.NodeFailing(strike.node, reason))
        else:
            log.warning("node not drained: too many are", node=strike.node, reason=reason)

    def note_end(self, job: Job) -> None:
        """A job is final."""
        if job.node in self._tried and job.submitter == HOUSE:
            # Where it decides, no other test job is due until the decision is on the disk.
            if not self._note_probe(job):
                self._tried.discard(job.node)
        elif job.state is JobState.COMPLETED and self._hosts.is_watched(job.node):
            is_verified = not isinstance(decode_spec(job.spec).verify, Unverified)
            if is_verified and not get(job.kind).is_timed:
                self._hosts.note_success(job.node)

    def _note_probe(self, job: Job) -> bool:
        """Take a test job's end into account; whether it decides."""
        drained = self._drains.get(job.node)
        if drained is None or job.code in LOST_ON_THE_WAY:
            return False
        if job.state is not JobState.COMPLETED:
            reason = f"{drained.reason}; a test job: {job.code}"[:500]
            self._decide(ev.NodeFailing(job.node, reason))
            return True
        self._passed[job.node] += 1
        if self._passed[job.node] < PROBES_MIN:
            return False
        self._decide(ev.NodeWell(job.node))
        return True

    def try_again(self, here: dict[int, Capability], now_ms: int) -> None:
        """Test jobs for the nodes whose time is over and that are here."""
        for node in quarantine.due(self._drains, now_ms):
            if node in here and node not in self._tried:
                self._tried.add(node)
                due = ev.TestJobDue(node, probe_for(here[node], now_ms), is_paid=False)
                self._tell(due, partial(self._forget_refused, node))

    def _decide(self, event: ev.NodeFailing | ev.NodeWell) -> None:
        self._tell(event, partial(self._forget_refused, event.node))

    def _forget_refused(self, node: int, outcome: ev.Outcome) -> None:
        """The store did not take it: the next strike or test job decides again."""
        if outcome.refusal is not None:
            self._failing.discard(node)
            self._tried.discard(node)

    def forget_probe(self, node: int) -> None:
        """The node has left: whatever test job it had is lost."""
        self._tried.discard(node)


def probe_for(capability: Capability, number: int) -> bytes:
    """The specification of a small job that a node of this capability runs."""
    kind = next((kind for kind in _PROBES if kind in capability.kinds), "command")
    params = _PROBES[kind]
    return _PROBE % (kind.encode(), params % number if b"%d" in params else params)
