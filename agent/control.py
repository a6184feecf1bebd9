"""One agent under its operator's hand: how it is doing, and drain, pause, resume.

In:   the agent and its machine; a socket in the state directory.
Out:  a `Status`; answers to `hypernode agent status|drain|pause|resume` of another terminal.
Rules:
  1. The socket is a file of mode 0600 in a folder of mode 0700: who may open it is the agent's own
     user, and root. It asks for nothing else.
  2. One request a connection: a line of JSON, answered by one. What is none of the requests is
     answered with its error, and changes nothing.
  3. A socket that a killed agent left behind is replaced: the folder's lock says that it is dead.
Not here: what a drain does (`attempts.py`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import trio

from agent.client import Agent
from agent.config import AgentConfig
from agent.earnings import Earnings
from agent.guardians import Delivery
from agent.machine import Machine, installed_version
from agent.papers import PapersKeeper
from agent.status import DeviceStatus, Earned, Mode, PapersStatus, Status
from coordinator.clock import Clock
from coordinator.limits import KIB
from coordinator.log import get_log
from coordinator.protocol.messages import Device, Telemetry
from onchain.address import encode_address
from onchain.amounts import format_hyper

SOCKET_FILE: Final = "control.sock"
_REQUEST_BYTES_MAX: Final = 1 * KIB
_ANSWER_BYTES_MAX: Final = 1024 * KIB
#: Time for a request, and for its answer to be read.
_ANSWER_S: Final = 5.0
#: Requests at the same time; further ones wait.
_REQUESTS_MAX: Final = 4
_DISCARD_BYTES_MAX: Final = 64 * KIB
_DISCARD_S: Final = 0.5
_log = get_log("agent.control")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator asks of an agent."""

    do: Literal["status", "drain", "stop", "pause", "resume"]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What it answers."""

    status: Status | None = None
    #: Why nothing was done.
    error: str = ""


class NotRunning(Exception):
    """No agent runs with this state directory."""


class Control:
    """What an operator sees of an agent, and may do to it."""

    def __init__(  # noqa: PLR0913 - what is looked at; made in one place
        self,
        config: AgentConfig,
        agent: Agent,
        machine: Machine,
        *,
        clock: Clock,
        earnings: Earnings,
        node_key: bytes,
        papers: PapersKeeper | None = None,
        guardians: Sequence[Delivery] = (),
    ) -> None:
        self._config = config
        self._agent = agent
        self._machine = machine
        self._clock = clock
        self._earnings = earnings
        self._node_key = node_key
        self._papers = papers
        self._guardians = guardians
        self._began = clock.monotonic()
        #: The devices' state at the last look.
        self.telemetry: dict[str, Telemetry] = {}
        self._drains = trio.Event()
        self._stops = trio.Event()

    # ---- to see ---------------------------------------------------------------------------------

    async def look(self) -> Status:
        """The state of this moment, the devices' included."""
        self.telemetry = {state.uuid: state for state in await self._machine.telemetry()}
        return self.status()

    def status(self) -> Status:
        """The same with the devices as they were at the last look."""
        agent, machine, now = self._agent, self._machine, self._clock.monotonic()
        attempts = agent.attempts
        report = machine.report
        return Status(
            version=installed_version() or "unreleased",
            url=self._config.url,
            pid=os.getpid(),
            state_dir=str(self._config.state_dir),
            node_key=encode_address(self._node_key),
            node_id=agent.node_id,
            wallet=self._wallet(),
            mode=self._mode(),
            link=agent.link,
            link_s=now - agent.link.since,
            up_s=now - self._began,
            is_tested=machine.is_tested,
            sandbox=report.level,
            worker_sandbox=report.worker_level,
            remarks=machine.remarks,
            kinds=attempts.kinds,
            places=machine.slots,
            devices=tuple(map(self._device, machine.devices)),
            runs=attempts.running(lambda number: machine.places[number].device),
            jobs=attempts.tally(),
            earned=Earned(
                today=format_hyper(self._earnings.today(self._clock.wall_ms())),
                total=format_hyper(self._earnings.total),
            ),
            unsent=attempts.unsent(),
            papers=PapersStatus() if self._papers is None else self._papers.status,
            guardians=tuple(each.status for each in self._guardians),
        )

    def _wallet(self) -> str:
        return self._earnings.owner or self._agent.wallet

    def _mode(self) -> Mode:
        attempts = self._agent.attempts
        if attempts.is_draining:
            return "draining"
        if attempts.is_paused:
            return "paused"
        return "working" if attempts.is_open else "warming up"

    def _device(self, device: Device) -> DeviceStatus:
        state, reason = self._machine.states().get(device.uuid, ("works", ""))
        now = self.telemetry.get(device.uuid, Telemetry(uuid=device.uuid))
        return DeviceStatus(
            uuid=device.uuid,
            name=device.name,
            backend=device.backend,
            state=state,
            reason=reason,
            memory_mb=device.memory_mb,
            memory_used_mb=now.memory_used_mb,
            utilization_percent=now.utilization_percent,
            temperature_celsius=now.temperature_celsius,
            power_watts=now.power_watts,
        )

    # ---- to do ----------------------------------------------------------------------------------

    def pause(self) -> None:
        """Take no jobs until `resume`: what runs ends, what waits is given back."""
        self._agent.attempts.pause()

    def resume(self) -> None:
        self._agent.attempts.resume_work()

    def toggle(self) -> None:
        """Pause, or resume."""
        if self._agent.attempts.is_paused:
            self.resume()
        else:
            self.pause()

    def drain(self) -> None:
        """Let what runs end, however long it takes, send the results, then end the agent."""
        self._drains.set()

    def stop(self) -> None:
        """End now, as a second signal does."""
        self._stops.set()

    async def heed(self) -> None:
        """Do what `drain` and `stop` ask; returns when the agent is to end at once."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain_when_asked)
            await self._stops.wait()
            nursery.cancel_scope.cancel()

    async def _drain_when_asked(self) -> None:
        await self._drains.wait()
        _log.info("draining", asked_by="the operator")
        await self._agent.drain(float("inf"))

    # ---- the socket -----------------------------------------------------------------------------

    async def serve(self, folder: Path) -> None:
        """Answer requests until cancelled; where no socket can be made, that is said."""
        try:
            with _listening(folder) as listening:
                await self._accept(listening)
        except OSError as error:
            # A full disk, or one that knows no sockets: the agent works all the same.
            _log.warning("no control socket", folder=str(folder), reason=str(error))

    async def _accept(self, listening: trio.socket.SocketType) -> None:
        limit = trio.Semaphore(_REQUESTS_MAX)
        async with trio.open_nursery() as nursery:
            while True:
                await limit.acquire()
                connection, _ = await listening.accept()
                nursery.start_soon(self._answer, connection, limit)

    async def _answer(self, connection: trio.socket.SocketType, limit: trio.Semaphore) -> None:
        request = ""
        try:
            with connection, trio.move_on_after(_ANSWER_S):
                request, answer = await self._do(await _read_line(connection, _REQUEST_BYTES_MAX))
                stream = trio.SocketStream(connection)
                await stream.send_all(msgspec.json.encode(answer) + b"\n")
                await stream.send_eof()
                # Unread bytes would turn the close into a reset, and the answer would be lost.
                await _discard(stream)
        except (OSError, trio.BrokenResourceError) as error:
            _log.debug("asker_left", error=str(error))
        finally:
            limit.release()
            if request == "stop":  # After the answer, since it ends this task too; or without one.
                self.stop()

    async def _do(self, line: bytes) -> tuple[str, Answer]:
        """What was asked, done but for `stop`, and the answer."""
        try:
            do = msgspec.json.decode(line, type=Request).do
        except (msgspec.DecodeError, RecursionError) as error:
            return "", Answer(error=f"this is no request: {error}"[:200])
        if do != "status":
            _log.info("operator asks", what=do)
        if do in {"drain", "pause", "resume"}:
            getattr(self, do)()
            await trio.lowlevel.checkpoint()
        return do, Answer(status=await self.look())


@contextmanager
def _listening(folder: Path) -> Iterator[trio.socket.SocketType]:
    """The socket; made and removed with the block."""
    path = folder / SOCKET_FILE
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening, _near(folder) as near:
        listening.bind(f"{near}/{SOCKET_FILE}")
        # Until here the folder's own mode keeps others out.
        path.chmod(0o600)
        listening.listen(_REQUESTS_MAX)
        listening.setblocking(False)
        try:
            yield trio.socket.from_stdlib_socket(listening)
        finally:
            path.unlink(missing_ok=True)


@contextmanager
def _near(folder: Path) -> Iterator[str]:
    """A short name of the folder: a socket's address has 108 bytes at most."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


async def _discard(stream: trio.SocketStream) -> None:
    """Read what else came, within bounds."""
    left = _DISCARD_BYTES_MAX
    with trio.move_on_after(_DISCARD_S):
        while left > 0 and (piece := await stream.receive_some(left)):
            left -= len(piece)


async def _read_line(connection: trio.socket.SocketType, limit: int) -> bytes:
    line = b""
    while b"\n" not in line and len(line) <= limit:
        piece = await connection.recv(limit + 1)
        if not piece:
            break
        line += piece
    return line[:limit]


def running_below(root: Path) -> list[Path]:
    """State directories beside each other in which an agent listens."""
    return sorted(path.parent for path in root.glob(f"agent-*/{SOCKET_FILE}"))


async def ask(folder: Path, do: str) -> Status:
    """Ask the agent of a state directory.

    Raises:
        NotRunning: there is none, or it does not answer.
    """
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with trio.fail_after(_ANSWER_S), _near(folder) as near:
                await connection.connect(f"{near}/{SOCKET_FILE}")
                await connection.send(msgspec.json.encode(Request(do)) + b"\n")  # type: ignore[arg-type]
                answer = msgspec.json.decode(
                    await _read_line(connection, _ANSWER_BYTES_MAX), type=Answer
                )
        except (OSError, trio.TooSlowError, msgspec.DecodeError) as error:
            raise NotRunning(str(error)) from error
    if answer.status is None:
        raise NotRunning(answer.error)
    return answer.status
