"""Every kernel as PTX and as machine code for every architecture, on a machine without a GPU.

`python -m tests.kernel_ptx` prints, for each kernel, the registers that it takes on each
architecture, and fails where a kernel spills, or computes in f64 without saying so.
Needs: Numba's CUDA target with NVVM (a CUDA toolkit, or the wheel `nvidia-nvvm`, 75 MB, of which
       this makes the folder that Numba looks for), and `ptxas` for the registers.
Why by hand: the wheels are too much to load for every run of the tests, which compile each kernel
       once where NVVM is there (`test_kernel_cuda`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.kernel_corpus import CORPUS


@dataclass(frozen=True)
class Machine:
    """What `ptxas` says of one kernel on one architecture."""

    registers: int
    stack_bytes: int
    spilled_bytes: int

    def __str__(self) -> str:
        more = f"+{self.stack_bytes}" if self.stack_bytes else ""
        return f"{self.registers}{more}" + (f"!{self.spilled_bytes}" if self.spilled_bytes else "")


def find_nvvm(folder: Path) -> None:
    """Give Numba a toolkit of the installed wheel's files, unless the machine has one."""
    spec = find_spec("nvidia")
    wheels = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    libraries = [found for wheel in wheels for found in wheel.glob("**/libnvvm.so*")]
    if not libraries or "CUDA_HOME" in os.environ:
        return
    (bitcode,) = [found for wheel in wheels for found in wheel.glob("**/libdevice.10.bc")]
    (folder / "nvvm/lib64").mkdir(parents=True)
    (folder / "nvvm/lib64/libnvvm.so").symlink_to(libraries[0])
    (folder / "nvvm/libdevice").symlink_to(bitcode.parent)
    os.environ["CUDA_HOME"] = str(folder)


def assemble(ptx: str, architecture: int) -> Machine:
    """Machine code of a kernel, of which only the size is kept.

    Raises:
        subprocess.CalledProcessError: Of PTX that `ptxas` does not take.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        done = subprocess.run(
            ["ptxas", f"-arch=sm_{architecture}", "-v", "-o", os.devnull, file.name],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    said = done.stderr
    return Machine(
        max(map(int, re.findall(r"Used (\d+) registers", said))),
        max(map(int, re.findall(r"(\d+) bytes stack frame", said))),
        sum(map(int, re.findall(r"(\d+) bytes spill", said))),
    )


def in_double(ptx: str) -> bool:
    """Whether anything is computed in f64."""
    return re.search(r"[.]f64\b", ptx) is not None


def row(name: str, machines: Iterable[object]) -> str:
    return " ".join([f"{name:18}", *(f"{machine!s:>8}" for machine in machines)])


def main() -> int:
    """Compile everything; 1 if a kernel is not as it should be."""
    if shutil.which("ptxas") is None:
        print("no ptxas: install a CUDA toolkit, or nvidia-cuda-nvcc and put it on the path")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        find_nvvm(Path(folder))
        # Numba looks for NVVM when it is loaded.
        from agent.kernels.user_cuda import CAPABILITIES, ptx_of  # noqa: PLC0415
        from coordinator.workloads.source import parse_source  # noqa: PLC0415

        architectures = [10 * major + minor for major, minor in CAPABILITIES]
        print(row("registers (+stack)", [f"sm_{number}" for number in architectures]))
        wrong: list[str] = []
        for name, text in CORPUS.items():
            source = parse_source(text)
            texts = [ptx_of(source, capability) for capability in CAPABILITIES]
            machines = [assemble(*each) for each in zip(texts, architectures, strict=True)]
            wrong += [name] if any(machine.spilled_bytes for machine in machines) else []
            double = "f64" if in_double(texts[0]) else ""
            print(row(name, machines), double, flush=True)
        count = f"{len(CORPUS)} kernels, {len(architectures)} architectures"
        print(f"{count}; spilled: {wrong or 'none'}")
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
