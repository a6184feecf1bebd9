"""One command in a jail of its own: the seed's kind of job.

Covered:     no network, no file of the host but system programs, no key, no environment; wall time,
             memory, processes, scratch and output bounded; nothing survives the command.
Not covered: whether the result is true: a command cannot be verified. See `host.py` too.
The command is read from a file inside the jail, so that it never stands in a process list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from agent.sandbox.host import Order, Sandbox
from agent.sandbox.jail import Ending, Jail
from agent.sandbox.limits import OUTPUT_FACTOR, JailLimits
from coordinator.limits import COMMAND_CHARS_MAX, KIB
from coordinator.protocol.errors import Refusal

#: The seed's own test job; it needs no shell, so that a host without sandbox can run it.
_TEST_JOB: Final = re.compile(r"sleep ([0-9]{1,3})", re.ASCII)
_COMMAND_PATH: Final = "/run/command"
_CHUNK_BYTES: Final = 64 * KIB


class CommandResult(msgspec.Struct, frozen=True):
    """What became of a command."""

    #: Its exit status, 128 + n when signal n ended it; None if it was ended by us.
    exit_status: int | None
    #: `wall`, `output` or `memory` if that limit ended it, otherwise empty.
    killed: str
    #: Output and errors as they came, the first `log_bytes` of them.
    log: bytes
    duration_ms: int


def is_test_job(command: str) -> bool:
    """Whether this is the seed's test job, which is a wait and nothing else."""
    return _TEST_JOB.fullmatch(command) is not None


async def run_command(
    command: str,
    *,
    sandbox: Sandbox | None,
    slot: int,
    limits: JailLimits,
    fix: str = "",
    on_output: Callable[[bytes], None] | None = None,
) -> CommandResult:
    """Run a command; cancelling the call ends everything it started.

    Args:
        command: A line for `/bin/sh`.
        sandbox: What the host offers; None if nothing.
        slot: Which uid of the pool it gets.
        limits: Its bounds.
        fix: What would give this host a sandbox.
        on_output: Called with each kept piece of output as it comes.

    Raises:
        Refusal: `sandbox_unavailable`; `bad_spec` for what is no command line.
    """
    if not command or len(command) > COMMAND_CHARS_MAX or "\0" in command:
        raise Refusal("bad_spec", f"a command has 1 to {COMMAND_CHARS_MAX} characters")
    if sandbox is None:
        return await _run_test_job(command, limits, fix)
    started = trio.current_time()
    order = Order(("/bin/sh", _COMMAND_PATH), limits, files={_COMMAND_PATH: command.encode()})
    jail = sandbox.start(order, slot=slot)
    log = bytearray()
    killed = "wall"
    try:
        with trio.move_on_after(limits.execution_s):
            killed = await _collect(jail, log, limits.log_bytes, on_output)
    finally:
        ending = await jail.end()
    return _judge(ending, killed, bytes(log), int((trio.current_time() - started) * 1000))


async def _collect(
    jail: Jail, log: bytearray, log_bytes: int, on_output: Callable[[bytes], None] | None
) -> str:
    """Read until the command ends, or has said too much."""
    seen = 0
    while piece := await jail.output.receive_some(_CHUNK_BYTES):
        kept = piece[: log_bytes - len(log)]
        log += kept
        if kept and on_output is not None:
            on_output(bytes(kept))
        seen += len(piece)
        if seen > OUTPUT_FACTOR * log_bytes:
            return "output"
    await jail.wait()
    return ""


def _judge(ending: Ending, killed: str, log: bytes, duration_ms: int) -> CommandResult:
    if not killed and ending.out_of_memory and ending.exit_status != 0:
        killed = "memory"
    if not killed and ending.exit_status is None:
        # The command never ran: what came out is bubblewrap's complaint, not the job's output.
        complaint = log.decode(errors="replace").strip()[-200:]
        raise Refusal("sandbox_unavailable", f"the jail did not start: {complaint}")
    return CommandResult(
        exit_status=None if killed else ending.exit_status,
        killed=killed,
        log=log,
        duration_ms=duration_ms,
    )


async def _run_test_job(command: str, limits: JailLimits, fix: str) -> CommandResult:
    """The one command that a host without sandbox runs: a wait, without a shell."""
    match = _TEST_JOB.fullmatch(command)
    if match is None:
        raise Refusal("sandbox_unavailable", fix)
    wanted_s = int(match[1])
    await trio.sleep(min(wanted_s, limits.execution_s))
    is_over = wanted_s > limits.execution_s
    duration_ms = int(min(wanted_s, limits.execution_s) * 1000)
    return CommandResult(None if is_over else 0, "wall" if is_over else "", b"", duration_ms)
