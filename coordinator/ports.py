"""What the house knows of its peers: agents that take orders, and watchers who want to be told.

Not here: sockets and messages (agent_link, submitter_link).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from coordinator.events import ReceiptsReady
from coordinator.jobs import FINAL
from coordinator.protocol.errors import Refusal
from coordinator.protocol.messages import Papers, PapersKept
from coordinator.store.values import Job, Node, NodeDrain


class Watcher(Protocol):
    """Who wants to know what becomes of a job."""

    def on_change(self, job: Job) -> None: ...
    def on_progress(self, job: int, progress: float | None, text: str) -> None:
        """Hear how far a running job is (0 to 1, or unknown), and more of its log."""
        ...


class AgentPort(Protocol):
    """What the house asks of a connected agent."""

    @property
    def wallet(self) -> bytes:
        """The operator's."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether it has said what it holds, so that jobs may be sent."""
        ...

    def send_job(self, job: Job, execution_s: int) -> None: ...
    def stop(self, job: int, fence: int, code: str) -> None: ...
    def send_receipts(self, batches: Sequence[ReceiptsReady]) -> None: ...
    def drain(self, seconds: int) -> None: ...
    def send_standing(self, drained: NodeDrain | None) -> None:
        """Tell it that it gets no jobs for a while, and why; or that it gets jobs again."""
        ...

    def end(self, refusal: Refusal) -> None:
        """Take nothing more from it, and close its connection with this code."""
        ...

    def leave(self) -> None: ...


class PapersPort(Protocol):
    """A connected agent that keeps earnings papers."""

    node: Node
    #: What it has; None: it takes none.
    papers: PapersKept | None

    @property
    def wallet(self) -> bytes:
        """The operator's."""
        ...

    def send_papers(self, papers: Papers, after: PapersKept) -> None:
        """Send these; what it has `after` them."""
        ...


class Watchers:
    """Who watches which job."""

    def __init__(self) -> None:
        self._of_job: dict[int, dict[Watcher, None]] = {}

    def watch(self, job: int, watcher: Watcher) -> None:
        """Tell `watcher` of the job until it is final, or forgotten."""
        self._of_job.setdefault(job, {})[watcher] = None

    def forget(self, job: int, watcher: Watcher) -> None:
        watchers = self._of_job.get(job)
        if watchers is not None:
            watchers.pop(watcher, None)
            if not watchers:
                del self._of_job[job]

    def tell_progress(self, job: int, progress: float | None, text: str) -> None:
        """Pass on what an agent says of a running job."""
        for watcher in tuple(self._of_job.get(job, ())):
            watcher.on_progress(job, progress, text)

    def tell(self, job: Job) -> None:
        """The job has changed; nobody watches it any more once it is final."""
        watchers = self._of_job.get(job.id)
        if watchers is None:
            return
        for watcher in tuple(watchers):
            watcher.on_change(job)
        if job.state in FINAL:
            self._of_job.pop(job.id, None)
