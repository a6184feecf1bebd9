"""What an agent runs, and what comes of it: the border between the session and the devices.

`client.py` receives jobs and hands a `Task` to a `Runner`; `worker.py` is the real runner, the
world of the tests has another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import msgspec

from coordinator.protocol.inputs import Input
from coordinator.protocol.messages import JobItem
from coordinator.protocol.spec import decode_spec

#: The one kind that runs in a jail of its own, and that may not wait.
COMMAND: Final = "command"
#: A stranger's own kernel: it runs in a confined child of a zygote.
KERNEL: Final = "kernel"


class InputData(msgspec.Struct, frozen=True):
    """One input array: listed type, shape, and where its raw data are."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    #: Bytes.
    size: int
    #: The data themselves, where they came with the specification.
    data: bytes | None = None
    #: SHA-256 of the data, hexadecimal, where they are a blob.
    sha256: str = ""
    #: The file on this host with the blob's bytes, once they have come.
    path: str = ""


class Task(msgspec.Struct, frozen=True):
    """One attempt, ready to run."""

    #: Public id of the job.
    job: str
    fence: int
    kind: str
    #: The specification, byte for byte.
    spec: bytes
    #: Seconds that it may run.
    execution_s: float
    memory_mb: int
    #: All outputs together, bytes.
    output_bytes: int
    #: Whether it must run on a GPU.
    gpu: bool = False
    #: Memory of the device, MB.
    vram_mb: int = 0
    #: Least compute capability of the device: 90 is 9.0.
    compute_capability: int = 0
    #: Where it runs (`places.py`), once that is decided.
    place: int | None = None
    inputs: tuple[InputData, ...] = ()

    @property
    def is_timed(self) -> bool:
        """Whether it is paid by its time on the coordinator's clock, and so may not wait here."""
        return self.kind in {COMMAND, KERNEL}

    @property
    def blobs(self) -> dict[str, int]:
        """Hash → bytes of the inputs that are to be fetched."""
        return {each.sha256: each.size for each in self.inputs if each.sha256}


def task_of(item: JobItem) -> Task:
    """The task of a job that arrived.

    Raises:
        Refusal: `bad_spec` or `too_large`.
    """
    raw = bytes(item.spec)
    spec = decode_spec(raw)
    return Task(
        job=item.id,
        fence=item.fence,
        kind=spec.kind,
        spec=raw,
        execution_s=float(item.execution_s or spec.limits.execution_s),
        memory_mb=spec.limits.memory_mb,
        output_bytes=spec.limits.output_bytes,
        gpu=spec.resources.gpu,
        vram_mb=spec.resources.vram_mb,
        compute_capability=spec.resources.compute_capability,
        inputs=tuple([_input(name, each) for name, each in spec.inputs.items()]),
    )


def _input(name: str, each: Input) -> InputData:
    return InputData(name, each.dtype, each.shape, each.size, each.data, each.sha256 or "")


class OutputData(msgspec.Struct, frozen=True):
    """One output array: listed type, shape, raw C-order little-endian data."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class Outcome(msgspec.Struct, frozen=True):
    """What became of a task; never an exception for what a job can do wrong."""

    #: `completed`, or `failed` with a code of `coordinator.protocol.errors.CODES`.
    status: str
    code: str = ""
    detail: str = ""
    outputs: tuple[OutputData, ...] = ()
    #: Merkle root of the outputs (`coordinator.protocol.commitment`), 32 bytes.
    root: bytes = b""
    #: Time that the work took here, ms.
    duration_ms: int = 0


#: Hears a command's output as it comes, decoded.
OnLog: TypeAlias = Callable[[str], None]
#: Hears how far a task is, from 0 to 1.
OnProgress: TypeAlias = Callable[[float], None]


class Runner(Protocol):
    """Runs tasks on the devices of this host."""

    @property
    def slots(self) -> int:
        """Tasks that compute at the same time."""
        ...

    async def run(
        self,
        task: Task,
        *,
        on_log: OnLog | None = None,
        on_progress: OnProgress | None = None,
    ) -> Outcome:
        """Run one task, no longer than its time; cancelling the call ends the work at once."""
        ...

    async def aclose(self) -> None:
        """End every worker."""
        ...
