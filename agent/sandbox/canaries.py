"""The self-test at start-up: attack a jail of our own, then say which level this host has.

Covered:     24 attacks (`attacks.py`) and a memory bomb of files and processes; they hold or the
             level falls. Under half a second (2 shared cores).
Not covered: that what held today holds after the operator changed the host: start the agent anew.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping
from importlib import resources
from typing import Final

import msgspec
import trio

from agent.sandbox.bubblewrap import View, interpreter_paths
from agent.sandbox.host import POOL_SLOTS, Order, Sandbox, find_sandbox
from agent.sandbox.jail import Ending
from agent.sandbox.level import SandboxReport, grade, namespace_fixes
from agent.sandbox.limits import JailLimits
from coordinator.limits import KIB, MIB
from coordinator.protocol.errors import Refusal

#: Time for each of the two starts.
_CANARY_S: Final = 5.0
_OUTPUT_BYTES_MAX: Final = 64 * KIB
_SCRIPT_PATH: Final = "/run/attacks.py"
_SYSTEM_PYTHON: Final = "/usr/bin/python3"
#: Slots of the pool that no job has.
_CANARY_SLOT: Final = POOL_SLOTS - 1
_BOMB_SLOT: Final = POOL_SLOTS - 2
#: A file in scratch and then a process: each is below the bound, together they are above it. One
#: victim on purpose: of four at a time, some took the kernel 2 s to see off (measured).
_BOMB_BYTES: Final = 32 * MIB
_BOMB: Final = "head -c 14m /dev/zero > /tmp/file; head -c 24m /dev/zero | tail -c 24m > /dev/null"
_PYTHON_FIX: Final = (
    "the worker runs without a sandbox, since its Python cannot be read there ({complaint}): make "
    "the environment in a folder that everyone may read, such as /var/lib/hypernode (mode 0755)"
)


async def probe() -> SandboxReport:
    """Which level of isolation this host has; under 2 s."""
    report, _ = await probe_host()
    return report


async def probe_host(
    *, path: str | None = None, python: str = sys.executable
) -> tuple[SandboxReport, Sandbox | None]:
    """The report, and the sandbox itself where it may be used for jobs of strangers.

    Args:
        path: Where programs are searched, as in `PATH`.
        python: The worker's interpreter.
    """
    try:
        sandbox = find_sandbox(path=path)
    except Refusal as refusal:
        return SandboxReport(0, 0, (refusal.sentence,)), None
    got, complaint = await attack_jail(sandbox, python, View(readable=interpreter_paths()))
    remarks: tuple[str, ...] = ()
    is_worker_inside = got is not None
    if got is None:
        worker_complaint = complaint
        got, complaint = await attack_jail(sandbox, _SYSTEM_PYTHON, View())
        remarks = (_PYTHON_FIX.format(complaint=worker_complaint),)
    if got is None:
        remarks = namespace_fixes() or (f"bubblewrap 0.8 or newer must work here: {complaint}",)
    is_bounded = got is not None and await _is_memory_bounded(sandbox)
    report = grade(
        got, is_memory_bounded=is_bounded, is_worker_inside=is_worker_inside, remarks=remarks
    )
    return report, sandbox if report.level else None


async def attack_jail(
    sandbox: Sandbox, python: str, view: View
) -> tuple[Mapping[str, str] | None, str]:
    """Run the canaries; what each got, or why they could not run."""
    script = resources.files("agent.sandbox").joinpath("attacks.py").read_bytes()
    abstract = f"hypernode-canary-{secrets.token_hex(8)}"
    with (
        tempfile.NamedTemporaryFile("w", prefix="canary-") as secret,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as local,
    ):
        secret.write("secret of the host")
        secret.flush()
        # Everyone may read it: what holds must be the sandbox, not the file's mode.
        os.fchmod(secret.fileno(), 0o644)
        local.bind("\0" + abstract)
        local.listen()
        facts = {"secret": secret.name, "port": tcp.getsockname()[1], "abstract": abstract}
        words = (python, "-I", _SCRIPT_PATH, json.dumps(facts))
        limits = JailLimits(execution_s=_CANARY_S, memory_bytes=512 * MIB)
        order = Order(words, limits, view, {_SCRIPT_PATH: script})
        try:
            output, _ = await _run(sandbox, order, _CANARY_SLOT)
        except Refusal as refusal:
            return None, refusal.sentence
    try:
        return msgspec.json.decode(output, type=dict[str, str]), ""
    except msgspec.DecodeError:
        lines = output.decode(errors="replace").strip().splitlines()
        return None, lines[-1][:200] if lines else "no answer"


async def _is_memory_bounded(sandbox: Sandbox) -> bool:
    if sandbox.home is None:
        return False
    limits = JailLimits(execution_s=_CANARY_S, memory_bytes=_BOMB_BYTES)
    order = Order(("/bin/sh", "-c", _BOMB), limits)
    _, ending = await _run(sandbox, order, _BOMB_SLOT)
    return ending.out_of_memory


async def _run(sandbox: Sandbox, order: Order, slot: int) -> tuple[bytes, Ending]:
    """Start, read all that comes within time, end."""
    jail = sandbox.start(order, slot=slot)
    output = bytearray()
    try:
        with trio.move_on_after(order.limits.execution_s):
            while len(output) < _OUTPUT_BYTES_MAX:
                piece = await jail.output.receive_some(_OUTPUT_BYTES_MAX)
                if not piece:
                    break
                output += piece
    finally:
        ending = await jail.end()
    return bytes(output), ending
