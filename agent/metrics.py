"""What Prometheus reads of an agent: made from its `Status` at each look, nothing counted twice.

Rules:
  1. Labels are bounded: outcomes, modes, GPUs by their number. Never a job, a wallet, an address.
  2. What a driver does not tell is not there: no number stands for "unknown".
  3. Off unless the operator gives a port, and then on this machine's own address only.
Not here: the port (`coordinator/metrics_port.py`), what the numbers mean (`status.py`), the
machine's own CPU and disks (Prometheus' node exporter).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.status import DeviceStatus, Status
from coordinator.limits import MIB
from onchain.amounts import parse_hyper

_P: Final = "hypernode_agent_"
_MODES: Final = ("warming up", "working", "paused", "draining")
#: Name, sentence, and where the number stands.
_NUMBERS: Final[dict[str, tuple[str, Callable[[Status], float]]]] = {
    "connected": (
        "1 while the coordinator is connected.", lambda s: float(s.link.state == "online"),
    ),
    "places": ("Jobs that compute at the same time, at most.", lambda s: s.places),
    "running_jobs": ("Jobs that compute now.", lambda s: len(s.runs)),
    "waiting_jobs": ("Jobs that are held and wait for a place.", lambda s: s.jobs.waiting),
    "unsent_results": ("Results that are not acknowledged.", lambda s: s.unsent.results),
    "unsent_bytes": ("Bytes of those results.", lambda s: s.unsent.bytes),
    "outbox_full": ("1 when no job starts for want of room.", lambda s: float(s.unsent.is_full)),
    "disk_failing": (
        "1 when the disk takes no results.", lambda s: float(bool(s.unsent.disk)),
    ),
    "papers_epoch": (
        "Epoch of the newest proof of earnings that is kept; 0: none.", lambda s: s.papers.epoch,
    ),
    "papers_proven_units": (
        "What that proof says that the wallet earned in all, base units.",
        lambda s: parse_hyper(s.papers.proven),
    ),
    "papers_vouched_units": (
        "What the newest voucher says, base units.", lambda s: parse_hyper(s.papers.vouched),
    ),
    "guardians": ("Guardians that are sent this node's receipts.", lambda s: len(s.guardians)),
    "guardians_failing": (
        "Of them, those that take none now.",
        lambda s: sum(bool(each.trouble) for each in s.guardians),
    ),
    "sandbox_level": ("Level of the sandbox for commands, 0 to 2.", lambda s: s.sandbox),
    "worker_sandbox_level": (
        "Level of the sandbox for our own kinds, 0 to 2.", lambda s: s.worker_sandbox,
    ),
}  # fmt: skip
_OUTCOMES: Final[dict[str, Callable[[Status], float]]] = {
    "completed": lambda s: s.jobs.completed,
    "failed": lambda s: s.jobs.failed,
    "cancelled": lambda s: s.jobs.cancelled,
}
#: Of each GPU; None is left out.
_GPU: Final[dict[str, tuple[str, Callable[[DeviceStatus], float | None]]]] = {
    "gpu_utilization_ratio": ("How busy it is, 0 to 1.", lambda d: _part(d.utilization_percent)),
    "gpu_memory_used_bytes": ("Memory in use.", lambda d: _bytes(d.memory_used_mb)),
    "gpu_memory_bytes": ("Memory that it has.", lambda d: _bytes(d.memory_mb)),
    "gpu_temperature_celsius": ("Temperature.", lambda d: d.temperature_celsius),
    "gpu_power_watts": ("Power that it draws.", lambda d: d.power_watts),
    "gpu_works": ("1 while it is given jobs.", lambda d: float(d.state == "works")),
}


def _part(percent: int | None) -> float | None:
    return None if percent is None else percent / 100


def _bytes(megabytes: int | None) -> float | None:
    return None if megabytes is None else megabytes * MIB


class AgentMetrics(Collector):
    """A registry over the latest status."""

    def __init__(self, look: Callable[[], Awaitable[Status]] | None = None) -> None:
        self._look = look
        self._status: Status | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    async def page(self) -> bytes:
        """The numbers of this moment, in Prometheus' text format."""
        assert self._look is not None
        self._status = await self._look()
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Every family; without samples before the first look."""
        status = self._status
        statuses = [] if status is None else [status]
        for name, (said, number) in _NUMBERS.items():
            family = GaugeMetricFamily(_P + name, said)
            for each in statuses:
                family.add_metric([], number(each))
            yield family
        yield self._labelled(
            "build_info", "This build.", "version", [(s.version, 1) for s in statuses]
        )
        modes = [(mode, float(mode == s.mode)) for s in statuses for mode in _MODES]
        yield self._labelled("mode", "1 for what it does now.", "mode", modes)
        jobs = CounterMetricFamily(
            _P + "jobs", "Jobs that ended since the start, by outcome.", labels=["outcome"]
        )
        earned = CounterMetricFamily(
            _P + "earned_units", "What this node earned in all, base units of HYPER."
        )
        refused = CounterMetricFamily(
            _P + "papers_refused", "Proofs and vouchers that did not hold, since the start."
        )
        for each in statuses:
            for outcome, count in _OUTCOMES.items():
                jobs.add_metric([outcome], count(each))
            earned.add_metric([], parse_hyper(each.earned.total))
            refused.add_metric([], each.papers.refused)
        yield from (jobs, earned, refused)
        yield from self._gpus(status)

    def _labelled(
        self, name: str, said: str, label: str, samples: Sequence[tuple[str, float]]
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(_P + name, said, labels=[label])
        for value, number in samples:
            family.add_metric([value], number)
        return family

    def _gpus(self, status: Status | None) -> Iterator[Metric]:
        devices = () if status is None else status.devices
        gpus = [device for device in devices if device.backend == "cuda"]
        for name, (said, number) in _GPU.items():
            samples = [(str(index), number(gpu)) for index, gpu in enumerate(gpus)]
            known = [(index, value) for index, value in samples if value is not None]
            yield self._labelled(name, said, "gpu", known)
