"""From what held to a level, and from what failed to its remedy. Pure.

Rules:
  1. Level 2: every canary held and the memory of a whole job is bounded. Level 1: all but that
     bound. Level 0: anything else.
  2. A remark names the fix; a level below 2 never comes without one.
  3. The worker's level is the sandbox's, or 0 where the agent's Python cannot be read inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.sandbox.cgroup import FIX as CGROUP_FIX

_PROC_SYS: Final = Path("/proc/sys")

#: Setting → its value that forbids user namespaces → what to do about it.
_NAMESPACE_SETTINGS: Final = (
    (
        "kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are off: run `sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    (
        "user/max_user_namespaces",
        "0",
        "user namespaces are off: run `sysctl -w user.max_user_namespaces=15000`",
    ),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        (
            "AppArmor forbids user namespaces (Ubuntu 23.10 and later): allow them to bubblewrap "
            "by a profile /etc/apparmor.d/bwrap with `profile bwrap /usr/bin/bwrap "
            "flags=(unconfined) { userns, }`, then run `systemctl reload apparmor`"
        ),
    ),
)


class SandboxReport(msgspec.Struct, frozen=True):
    """What the start-up self-test found."""

    #: Level for commands and strangers' code, 0 to 2.
    level: int
    #: Level at which our own warm workers run.
    worker_level: int
    #: What is missing, each with its fix; for the operator.
    remarks: tuple[str, ...] = ()


def namespace_fixes(proc_sys: Path = _PROC_SYS) -> tuple[str, ...]:
    """Settings of this host that forbid user namespaces, as fixes."""
    fixes = []
    for name, forbidding, fix in _NAMESPACE_SETTINGS:
        setting = proc_sys / name
        if setting.exists() and setting.read_text().strip() == forbidding:
            fixes.append(fix)
    return tuple(fixes)


def broken(got: Mapping[str, str]) -> tuple[str, ...]:
    """The canaries that did not hold, as remarks."""
    return tuple(
        f"a canary did not hold ({name.replace('_', ' ')}: {what[:80]}); jobs of strangers are "
        "refused: run the newest bubblewrap outside containers that lift its walls"
        for name, what in sorted(got.items())
        if what
    )


def grade(
    got: Mapping[str, str] | None,
    *,
    is_memory_bounded: bool,
    is_worker_inside: bool,
    remarks: tuple[str, ...] = (),
) -> SandboxReport:
    """The level that follows.

    Args:
        got: Canary → what it got; None if no canary could run.
        is_memory_bounded: Whether the memory bomb of many processes was ended.
        is_worker_inside: Whether the agent's own Python runs inside.
        remarks: What was found on the way.
    """
    if not got or any(got.values()):
        return SandboxReport(0, 0, remarks + broken(got or {}))
    level = 2 if is_memory_bounded else 1
    missing = () if is_memory_bounded else (CGROUP_FIX,)
    return SandboxReport(level, level if is_worker_inside else 0, remarks + missing)
