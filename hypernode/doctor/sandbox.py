"""The sandbox: its parts one by one, then the agent's own self-test, which decides."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from agent.sandbox.canaries import probe
from agent.sandbox.cgroup import FIX as CGROUP_FIX, CgroupHome, find_home
from agent.sandbox.level import SandboxReport, namespace_fixes
from hypernode.doctor.finding import Finding, State, failure, ok, warning
from hypernode.doctor.host import fits

_BUBBLEWRAP_MIN: Final = "0.8"
_INSTALL: Final = "apt-get install bubblewrap util-linux"
_PROC_SYS: Final = Path("/proc/sys")


def check_programs(path: str | None = None) -> Finding:
    """Bubblewrap and prlimit."""
    missing = [name for name in ("bwrap", "prlimit") if shutil.which(name, path=path) is None]
    if missing:
        said = f"{' and '.join(missing)} missing: strangers' jobs are refused"
        return warning("bubblewrap", said, _INSTALL)
    program = shutil.which("bwrap", path=path)
    assert program is not None
    ran = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = ran.stdout.strip().rpartition(" ")[2]
    if not version or not fits(version, f">={_BUBBLEWRAP_MIN}"):
        said = f"bubblewrap is {version or 'of no version that it tells'}"
        return warning("bubblewrap", said, f"install {_BUBBLEWRAP_MIN} or newer: {_INSTALL}")
    return ok("bubblewrap", f"bubblewrap {version}")


def check_namespaces(proc_sys: Path = _PROC_SYS) -> Finding:
    """Whether a setting of the kernel, or AppArmor, forbids what the sandbox is made of."""
    fixes = namespace_fixes(proc_sys)
    if fixes:
        said, _, fix = fixes[0].partition(": ")
        return warning("user namespaces", said, fix)
    return ok("user namespaces", "no setting of the kernel forbids them")


def check_cgroup(home: Callable[[], CgroupHome | None] = find_home) -> Finding:
    """Whether the memory of a whole job can be bounded."""
    found = home()
    if found is None:
        said, _, fix = CGROUP_FIX.partition(": ")
        return warning("cgroup", said, fix)
    return ok("cgroup", f"version {found.version}, at {found.memory}")


async def check_level(
    *, needs_commands: bool, test: Callable[[], Awaitable[SandboxReport]] = probe
) -> Finding:
    """The level that the self-test finds, as the agent does at its start."""
    report = await test()
    said = f"level {report.level} of 2, our own kernels at {report.worker_level}"
    if report.level == 2 and report.worker_level == 2:
        return ok("sandbox", f"{said}: every attack of the self-test was held")
    state: State = "failure" if needs_commands and report.level == 0 else "warning"
    fix = " ".join(report.remarks)
    return failure("sandbox", said, fix) if state == "failure" else warning("sandbox", said, fix)
