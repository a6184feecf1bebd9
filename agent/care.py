"""Looks after the devices at work: reads NVML, hears how tasks end, tries again what fell out.

In:   the GPUs, the runner, the names of the devices.
Out:  which places are out and why; a call whenever that changes.
Not here: the decisions themselves (`health.py`), what follows for jobs (`attempts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import trio

from agent.bells import Bell
from agent.device import Gpus
from agent.disk import in_thread
from agent.health import Health, State
from agent.task import Outcome, Task
from agent.worker import LocalRunner
from coordinator.log import get_log

#: Between two looks at the devices' health.
HEALTH_S: Final = 5.0
#: The codes of a task that failed by the device's fault, or by ours.
_DEVICE_FAULTS: Final = frozenset({"agent_error", "worker_crashed"})
_log = get_log("agent.care")


class Care:
    """The health of every place that has a device."""

    def __init__(self, gpus: Gpus, runner: LocalRunner, names: Mapping[str, str]) -> None:
        """From now on the runner's tasks are heard.

        Args:
            gpus: What NVML shows.
            runner: Where tasks run; workers that do not start there are out from the beginning.
            names: UUID → name of each device.
        """
        self._gpus = gpus
        self._runner = runner
        self._health = {
            number: Health(names[place.device])
            for number, place in enumerate(runner.places)
            if place.backend
        }
        self._ends = Bell()
        #: The places that are being tried again.
        self._trying: set[int] = set()
        runner.on_end = self._heed
        for place, why in runner.lost.items():
            self._health[place].stayed_cold(why, trio.current_time())

    def out(self) -> dict[int, str]:
        """The places that are out, with the reason."""
        return {n: str(health) for n, health in self._health.items() if not health.works}

    def states(self) -> dict[str, tuple[str, str]]:
        """UUID → state and reason of each device."""
        return {
            self._device(number): (health.state, health.reason)
            for number, health in self._health.items()
        }

    def _device(self, number: int) -> str:
        return self._runner.places[number].device

    def _heed(self, place: int, task: Task, outcome: Outcome) -> None:
        """A kernel's task ended."""
        health = self._health[place]
        if outcome.code in _DEVICE_FAULTS:
            health.job_failed(task.job, outcome.detail, trio.current_time())
            self._ends.ring()
        else:
            health.job_ended()

    async def watch(self, tell: Callable[[Collection[int]], None]) -> None:
        """Look after them for ever.

        Args:
            tell: Called whenever a place fell out or came back, with those that are out and whose
                task cannot end.
        """
        told: dict[int, State] = {}
        async with trio.open_nursery() as nursery:
            while True:
                await self._look(nursery)
                now = {n: h.state for n, h in self._health.items() if not h.works}
                if now != told:
                    self._say_changes(told, now)
                    told = now
                    tell([number for number in now if self._health[number].is_gone])
                with trio.move_on_after(HEALTH_S):
                    await self._ends.wait()

    def _say_changes(self, told: Mapping[int, State], now: Mapping[int, State]) -> None:
        for reason in {str(self._health[n]) for n, state in now.items() if told.get(n) != state}:
            _log.error("device out", reason=reason)
        for number in set(told) - set(now):
            _log.info("device back", device=str(self._health[number]))

    async def _look(self, nursery: trio.Nursery) -> None:
        """Read every device; those that are due are tried again, beside this task."""
        readings = await in_thread(self._gpus.readings)
        for number, health in self._health.items():
            reading = readings.get(self._device(number))
            if reading is not None:
                health.see(reading, trio.current_time())
            if health.is_due(trio.current_time()) and number not in self._trying:
                self._trying.add(number)
                nursery.start_soon(self._try_again, number, health)

    async def _try_again(self, number: int, health: Health) -> None:
        device = self._device(number)
        _log.info("device tried again", device=device)
        if health.state == "lost" and not await in_thread(partial(self._gpus.find_again, device)):
            why = "NVML does not find it"
        else:
            why = await self._runner.revive(number)
        if why:
            _log.warning("device still out", device=device, reason=why)
            health.stayed_cold(why, trio.current_time())
        else:
            health.warmed()
        self._trying.discard(number)
        self._ends.ring()
