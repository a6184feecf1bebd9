"""The house at work: carries out effects, matches jobs with agents, watches the time.

Everything here is an index in memory over the rows: which jobs wait, which nodes are here, who
watches what. A restart rebuilds it from the store.
In:   effects after each commit, what the links hear, the clock.
Out:  events for the writer, orders for the links.
Not here: sockets and messages (agent_link, submitter_link), decisions (lifecycle).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from coordinator import events as ev
from coordinator.clock import Clock
from coordinator.deadlines import (
    AFTER_RESTART_S,
    Attempt,
    attempt_of,
    demands_of,
    seconds_left,
    time_is_up,
    waiting_of,
)
from coordinator.drains import Drains
from coordinator.jobs import FINAL
from coordinator.limits import DRAIN_S, OPEN_JOBS_MAX
from coordinator.live_logs import LiveLogs
from coordinator.log import get_log
from coordinator.matching import Matching
from coordinator.metrics import Metrics
from coordinator.open_links import OpenLinks
from coordinator.ports import AgentPort, Watchers
from coordinator.pricing import Rules
from coordinator.protocol.errors import Refusal
from coordinator.receipts_due import ReceiptsDue
from coordinator.recent import Recent
from coordinator.registry import Registry
from coordinator.scheduler import Capability, Demand, Scheduler, Waiting
from coordinator.sending import Senders
from coordinator.store.interface import Reader
from coordinator.store.values import Job, JobState, Output
from coordinator.verifier import Verifier
from coordinator.workloads.catalogue import TIMED
from coordinator.writer import Writer

log = get_log(__name__)

#: How often leases and deadlines are looked at.
TICK_S = 0.5
#: How often last heartbeats are written down.
SEEN_EVERY_S = 15.0
#: How often expired challenges, sessions and tokens are forgotten.
EXPIRY_EVERY_S = 60.0
#: How often withheld buckets are looked at, and with nothing withheld.
RELEASE_EVERY_S = 60.0
RELEASE_EVERY_S_AT_ONCE = 1.0
#: Ends of waits that are kept before those of jobs that wait no longer are looked for.
QUEUE_ENDS_MIN = 1024


class Operations:
    """The index and what moves it."""

    def __init__(self, *, rules: Rules, clock: Clock, metrics: Metrics) -> None:
        self.rules = rules
        self.clock = clock
        self.metrics = metrics
        self.scheduler = Scheduler()
        self.registry = Registry()
        self.recent = Recent()
        self.agents: dict[int, AgentPort] = {}
        self.drains = Drains(self._tell)
        #: What the nodes here can take, the drained ones too.
        self._capabilities: dict[int, Capability] = {}
        self.watchers = Watchers()
        self.live_logs = LiveLogs()
        self.matching = Matching(self.scheduler, clock, metrics, self._wait)
        self.scheduler.held_demands = lambda node: (
            demands_of(self._attempts, self.registry.holds(node)),
            self.matching.on_their_way(node),
        )
        self.open_links = OpenLinks()
        self.senders = Senders()
        self.is_draining = False
        self.writer: Writer
        self.verifier: Verifier
        #: Jobs that effects told of while the queue is being refilled; None once it is.
        self.moved: set[int] | None = None
        #: Open attempts.
        self._attempts: dict[tuple[int, int], Attempt] = {}
        #: Attempts whose lease is over and whose loss is on its way to the disk.
        self._told_lost: set[tuple[int, int]] = set()
        self._queue_ends: list[tuple[int, int]] = []
        self._receipts_due = ReceiptsDue(clock, self._send_receipts)
        #: The time of the effects that are being carried out.
        self._now, self._now_ms = clock.monotonic(), clock.wall_ms()
        #: Called with the time at each tick.
        self.on_tick: list[Callable[[float], None]] = []
        self._obey: Mapping[type[ev.Effect], Callable[[Any], None]] = {
            ev.JobQueued: self._queue,
            ev.JobSent: self._send,
            ev.AttemptOver: self._end_attempt,
            ev.JobChanged: self._note_change,
            ev.ResultChecked: self._note_checked,
            ev.VerificationDue: self._verify,
            ev.PlaceFree: lambda effect: self.matching.free(effect.node),
            ev.ReceiptsReady: self._hand_out,
            ev.HostFailed: self._note_strike,
            ev.NodeDrained: self._set_drained,
            ev.AccessEnded: self._end_access,
        }

    # ---- a restart -----------------------------------------------------------------------------

    def restore(self, reader: Reader) -> None:
        """Know the open attempts before any agent speaks: leases anew. The queue: `refill`."""
        now_ms, now = self.clock.wall_ms(), self.clock.monotonic()
        self.moved = set()
        held = []
        for job in reader.held_jobs():
            held.append((job.id, job.fence, job.node))
            try:
                self._note_attempt(job, now, now_ms, at_least_s=AFTER_RESTART_S)
            except Refusal:
                self.writer.tell(ev.AttemptLost(job.id, job.fence, "abandoned"))
        self.registry.restore(held, now)
        self.drains.restore(reader.node_drains())

    def take_back(self, job: Job, outputs: tuple[Output, ...]) -> None:
        """A job that waited when the last process ended, unless an effect has told of it since."""
        assert self.moved is not None, "restore comes first"
        if job.id in self.moved:
            return
        if job.state is JobState.QUEUED:
            self._add_waiting(job, self.clock.wall_ms(), at_least_s=AFTER_RESTART_S)
        else:
            self.verifier.add(ev.VerificationDue(job, outputs, root=b""))
        self.matching.wake()

    def place(self, demands: Sequence[Demand]) -> tuple[int, ...]:
        """Nodes for jobs that are about to be submitted; 0 for one that has to wait its turn."""
        if self.is_draining or self.moved is not None:
            # Older jobs may wait that are not in the index yet.
            return (0,) * len(demands)
        return self.matching.place(demands)

    # ---- effects -------------------------------------------------------------------------------

    def carry_out(self, effects: Sequence[ev.Effect]) -> None:
        """Obey, in order; called on Trio's thread after the commit."""
        if self.moved is not None:
            self.moved.update(ev.jobs_in(effects))
        self._now, self._now_ms = self.clock.monotonic(), self.clock.wall_ms()
        for effect in effects:
            self._obey[type(effect)](effect)
        if effects:
            self.matching.wake()

    def _queue(self, queued: ev.JobQueued) -> None:
        self._add_waiting(queued.job, self._now_ms, queued.avoid)

    def _add_waiting(
        self, job: Job, now_ms: int, avoid: int = 0, *, at_least_s: float = 0.0
    ) -> None:
        try:
            self._wait(waiting_of(job, now_ms, avoid=avoid, at_least_s=at_least_s), now_ms)
        except Refusal:  # a kind of another version: it ends, and its hold returns
            self.writer.tell(ev.QueueTimedOut(job.id))

    def _wait(self, waiting: Waiting, now_ms: int) -> None:
        self.scheduler.add(waiting, now_ms)
        heapq.heappush(self._queue_ends, (waiting.until_ms, waiting.job))
        if len(self._queue_ends) > 2 * len(self.scheduler) + QUEUE_ENDS_MIN:
            # Most jobs wait for milliseconds, though they may for hours: those ends are not kept.
            self._queue_ends = [end for end in self._queue_ends if self.scheduler.waits(end[1])]
            heapq.heapify(self._queue_ends)

    def _note_attempt(self, job: Job, now: float, now_ms: int, *, at_least_s: float = 0.0) -> int:
        """Enter an attempt into the registry; the seconds that it may run."""
        out = attempt_of(job, self.rules, now_ms)
        left_s = seconds_left(job, out, now_ms, at_least_s=at_least_s)
        self._attempts[(job.id, job.fence)] = out
        self.registry.take(job.node, job.id, job.fence, seconds=left_s, now=now)
        return out.limit_s

    def _send(self, sent: ev.JobSent) -> None:
        job = sent.job
        self.scheduler.remove(job.id)
        limit_s = self._note_attempt(job, self._now, self._now_ms)
        waited_ms = job.assigned_ms - max(job.created_ms, job.not_before_ms)
        self.metrics.queue_seconds.observe(waited_ms / 1000)
        agent = self.agents.get(job.node)
        # An agent that has not said what it holds will not name this attempt: it is lost then.
        if agent is not None and agent.is_ready:
            agent.send_job(job, limit_s)

    def _end_attempt(self, over: ev.AttemptOver) -> None:
        self._attempts.pop((over.job, over.fence), None)
        self._told_lost.discard((over.job, over.fence))
        if self.registry.let_go(over.node, over.job, over.fence):
            self.matching.end(over.node, (over.job, over.fence))
        agent = self.agents.get(over.node)
        if over.stop and agent is not None:
            agent.stop(over.job, over.fence, over.code)

    def _verify(self, due: ev.VerificationDue) -> None:
        self._note_run(due.job)
        self.recent.note_outputs(due.job, due.outputs)
        self.verifier.add(due)

    def _note_checked(self, checked: ev.ResultChecked) -> None:
        self._note_run(checked.job)
        self.metrics.verdict_reached(checked.state)
        if checked.state != "rejected":
            self.recent.note_outputs(checked.job, checked.outputs)

    def _note_run(self, job: Job) -> None:
        run_ms = self._now_ms - job.assigned_ms
        self.metrics.run_seconds.observe(max(0, run_ms) / 1000)

    def _hand_out(self, ready: ev.ReceiptsReady) -> None:
        self.recent.note_receipts(ready)
        self._receipts_due.note(ready)

    def _send_receipts(self, node: int, batches: Sequence[ev.ReceiptsReady]) -> None:
        agent = self.agents.get(node)
        if agent is not None and agent.is_ready:
            agent.send_receipts(batches)

    def _note_change(self, changed: ev.JobChanged) -> None:
        job = changed.job
        if job.state is not JobState.QUEUED:
            self.scheduler.remove(job.id)
        if job.state in FINAL:
            self._count_finished(job)
            self.drains.note_end(job)
            self.live_logs.end(job.id)
        self.watchers.tell(job)

    def note_progress(self, job: int, fence: int, progress: float | None, text: str) -> None:
        """Hear from the attempt's agent how far it is, and more of its log."""
        said = self.live_logs.hear(job, fence, progress, text, self.clock.monotonic())
        if said is not None:
            self.watchers.tell_progress(job, progress, said)

    def _count_finished(self, job: Job) -> None:
        match job.state:
            case JobState.COMPLETED:
                self.metrics.job_finished("completed")
                self.metrics.job_seconds.observe((job.finished_ms - job.created_ms) / 1000)
            case JobState.CANCELLED:
                self.metrics.job_finished("cancelled")
            case _:
                is_poison = job.code == "quarantined"
                self.metrics.job_finished("quarantined" if is_poison else "failed")
        if job.assigned_ms and job.kind in TIMED:
            # Other kinds have ended before they were verified.
            self.metrics.run_seconds.observe((job.finished_ms - job.assigned_ms) / 1000)

    # ---- nodes ---------------------------------------------------------------------------------

    @property
    def attempts_open(self) -> int:
        """Attempts that nodes hold."""
        return len(self._attempts)

    @property
    def is_full(self) -> bool:
        """Whether the house has as many open jobs as it takes."""
        open_jobs = len(self.scheduler) + len(self._attempts) + len(self.verifier)
        return open_jobs >= OPEN_JOBS_MAX

    def join(self, node: int, agent: AgentPort) -> int:
        """A node has connected: a newer connection supersedes the older one. Its number."""
        older = self.agents.get(node)
        self.agents[node] = agent
        self._forget_node(node)
        if older is not None:
            older.end(Refusal("superseded"))
        return self.registry.connect(node, self.clock.monotonic())

    def set_capability(self, node: int, capability: Capability) -> None:
        """The node may be given jobs."""
        self._capabilities[node] = capability
        drained = self.drains.of(node)
        if drained is None:
            self._offer(node)
        else:
            self.agents[node].send_standing(drained)

    def _offer(self, node: int) -> None:
        """Match the node from now on."""
        self.matching.set_node(node, self._capabilities[node], self.registry.held(node))

    def _tell(self, event: ev.Event, then: Callable[[ev.Outcome], None]) -> None:
        self.writer.tell(event, then)

    def _note_strike(self, failed: ev.HostFailed) -> None:
        self.drains.note_strike(failed.strike, online=len(self._capabilities))

    def _set_drained(self, effect: ev.NodeDrained) -> None:
        node, drained = effect.node, effect.drain
        self.drains.note_committed(node, drained)
        if node in self.agents:
            self.agents[node].send_standing(drained)
        if drained is not None:
            self.matching.drop_node(node)
        elif node in self._capabilities:
            self._offer(node)

    def _forget_node(self, node: int) -> None:
        self.matching.drop_node(node)
        self._capabilities.pop(node, None)
        self.drains.forget_probe(node)

    def leave(self, node: int, connection: int) -> None:
        """A connection has closed."""
        heard = self.registry.last_heard().get(node)
        if self.registry.disconnect(node, connection, self.clock.monotonic()):
            if heard is not None:
                self.writer.tell(ev.NodesSeen(((node, self._wall_ms_of(heard)),)))
            self.agents.pop(node, None)
            self._forget_node(node)

    def _end_access(self, ended: ev.AccessEnded) -> None:
        for bearer_hash in ended.sessions:
            self.open_links.end(bearer_hash)
        of_wallet = {node for node, link in self.agents.items() if link.wallet == ended.wallet}
        for node in of_wallet.union(ended.nodes):
            self._evict(node)

    def _evict(self, node: int) -> None:
        """The node was revoked: it ends, and what it holds goes to others at once."""
        self.settle_resume(node, set())
        agent = self.agents.get(node)
        if agent is not None:
            agent.end(Refusal("token_revoked"))
            agent.leave()

    def settle_resume(self, node: int, held: set[tuple[int, int]]) -> None:
        """What we thought the node holds and it does not is lost at once."""
        for job, fence in self.registry.holds(node) - held:
            self.writer.tell(ev.AttemptLost(job, fence, "abandoned"))

    # ---- time ----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Match and watch the time, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run)
            nursery.start_soon(self.verifier.run)
            nursery.start_soon(self._match)
            nursery.start_soon(self._tick)
            nursery.start_soon(self._repeat, SEEN_EVERY_S, self._note_seen)
            nursery.start_soon(self._receipts_due.run)
            nursery.start_soon(self.senders.run)
            nursery.start_soon(
                self._repeat, EXPIRY_EVERY_S, lambda: self.writer.tell(ev.ExpiryDue())
            )
            every_s = RELEASE_EVERY_S if self.rules.withhold_ms else RELEASE_EVERY_S_AT_ONCE
            nursery.start_soon(self._repeat, every_s, self._release)

    async def _repeat(self, every_s: float, action: Callable[[], None]) -> None:
        while True:
            await trio.sleep(every_s)
            action()

    def _release(self) -> None:
        def then(outcome: ev.Outcome) -> None:
            # One event moves a bounded number of buckets: go on while there are more.
            if outcome.value:
                self._release()

        self.writer.tell(ev.ReleaseDue(), then)

    async def _match(self) -> None:
        while True:
            await self.matching.due()
            if not self.is_draining and self.writer.halted is None:
                self.matching.match(self.writer.tell)

    async def _tick(self) -> None:
        while True:
            await trio.sleep(TICK_S)
            now, now_ms = self.clock.monotonic(), self.clock.wall_ms()
            for call in self.on_tick:
                call(trio.current_time())
            self._end_leases(now)
            self._end_queued(now_ms)
            self.drains.try_again(self._capabilities, now_ms)
            due_ms = self.scheduler.next_due_ms()
            if due_ms is not None and due_ms <= now_ms:
                self.matching.wake()

    def _end_leases(self, now: float) -> None:
        for _node, attempt in self.registry.overdue(now):
            # Told once: if the store fails, the writer keeps what nobody waits for.
            if attempt not in self._told_lost:
                self._told_lost.add(attempt)
                self.metrics.leases_expired.inc()
                self.writer.tell(ev.AttemptLost(*attempt, "lease_lost"))
        for attempt in self.registry.out_of_time(now):
            found = self._attempts.get(attempt)
            if found is not None:
                self.writer.tell(time_is_up(*attempt, found, self.clock.wall_ms()))

    def _end_queued(self, now_ms: int) -> None:
        while self._queue_ends and self._queue_ends[0][0] <= now_ms:
            _, job = heapq.heappop(self._queue_ends)
            until_ms = self.scheduler.until_ms(job)
            # The end of an earlier wait says nothing about a job that came back and waits anew.
            if until_ms is not None and until_ms <= now_ms:
                is_total = self.scheduler.total_ms(job) <= now_ms
                self.writer.tell(ev.TotalTimedOut(job) if is_total else ev.QueueTimedOut(job))

    def _note_seen(self) -> None:
        heard = self.registry.last_heard().items()
        seen = tuple((node, self._wall_ms_of(at)) for node, at in heard)
        if seen:
            self.writer.tell(ev.NodesSeen(seen))

    def _wall_ms_of(self, monotonic: float) -> int:
        return self.clock.wall_ms() - int((self.clock.monotonic() - monotonic) * 1000)

    async def drain(self, seconds: float = DRAIN_S) -> None:
        """Match no more, tell the agents, wait for what is out and can end, up to `seconds`."""
        self.is_draining = True
        for agent in list(self.agents.values()):
            agent.drain(int(seconds))
        with trio.move_on_after(seconds):
            while self.writer.halted is None and self._is_expecting():  # noqa: ASYNC110 (once)
                await trio.sleep(0.05)
        self._receipts_due.flush()

    def _is_expecting(self) -> bool:
        comes = self._attempts and self.agents  # from nobody, where no agent is connected
        return bool(comes) or not (self.verifier.is_idle and self.writer.is_idle)

    async def finish(self) -> None:
        """Wait until what was told is on the disk, unless that takes nothing."""
        while not ((it := self.writer).is_idle or it.failure or it.halted):  # noqa: ASYNC110 (once)
            await trio.sleep(0.01)
