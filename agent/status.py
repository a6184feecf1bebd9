"""How an agent is doing, as one value: for its dashboard, for `hypernode agent status`, for tests.

In:   the agent at work.
Out:  a `Status`, JSON as it stands. Nothing in it is secret.
Not here: how it looks (`hypernode/cli/agent_screen.py`), who may ask (`control.py`).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

#: `warming up`: kernels compile; `offline`: waiting for the next try.
LinkState: TypeAlias = Literal["connecting", "online", "offline"]
Mode: TypeAlias = Literal["warming up", "working", "paused", "draining"]


class Link(msgspec.Struct, frozen=True, rename="camel"):
    """The connection to the coordinator."""

    state: LinkState = "connecting"
    #: Why it is offline.
    reason: str = ""
    #: Since when it is in this state, s on Trio's clock.
    since: float = 0.0
    #: Before the next try, s.
    retry_s: float = 0.0
    #: The coordinator said that it stops soon.
    is_draining: bool = False
    #: Why the coordinator sends this node no jobs for a time; empty if it does.
    standing: str = ""


class DeviceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One device; what its driver does not tell is None."""

    uuid: str
    name: str
    backend: str
    #: `works`, or a state of `health.State`, and why.
    state: str = "works"
    reason: str = ""
    memory_mb: int = 0
    memory_used_mb: int | None = None
    utilization_percent: int | None = None
    temperature_celsius: int | None = None
    power_watts: int | None = None


class RunStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One job that computes now."""

    place: int
    #: UUID of the device; empty for a command's place.
    device: str
    job: str
    kind: str
    seconds: float
    limit_s: float
    progress: float | None = None


class Jobs(msgspec.Struct, frozen=True, rename="camel"):
    """What became of jobs since this agent started."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    #: The last one that ended: kind, status or code, seconds.
    last: str = ""
    #: Held, and waiting for a place.
    waiting: int = 0


class Earned(msgspec.Struct, frozen=True, rename="camel"):
    """HYPER as decimal text."""

    today: str = "0"
    total: str = "0"


class PapersStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What its owner can claim by without the coordinator; HYPER as decimal text."""

    #: Epoch of the newest proof; 0: none.
    epoch: int = 0
    #: What that proof and the newest voucher say that the wallet earned in all.
    proven: str = "0"
    vouched: str = "0"
    #: Papers that did not hold, since the start.
    refused: int = 0


class GuardianStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One guardian that is sent this node's receipts."""

    url: str
    #: Receipts of this node that it has.
    kept: int = 0
    #: Why it takes none now; empty if it does.
    trouble: str = ""


class Unsent(msgspec.Struct, frozen=True, rename="camel"):
    """Results that the coordinator has not acknowledged."""

    results: int = 0
    bytes: int = 0
    is_full: bool = False
    #: Why the disk does not take results now; empty if it does.
    disk: str = ""


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """One moment of one agent."""

    version: str
    url: str
    pid: int
    state_dir: str
    node_key: str
    node_id: str
    wallet: str
    mode: Mode
    link: Link
    #: How long the link is in its state, and the agent at work, s.
    link_s: float
    up_s: float
    #: Whether the sandbox was tested: its levels are 0 before.
    is_tested: bool
    sandbox: int
    worker_sandbox: int
    #: What is missing, each with its fix.
    remarks: tuple[str, ...]
    kinds: tuple[str, ...]
    places: int
    devices: tuple[DeviceStatus, ...]
    runs: tuple[RunStatus, ...]
    jobs: Jobs
    earned: Earned
    unsent: Unsent
    papers: PapersStatus = PapersStatus()
    guardians: tuple[GuardianStatus, ...] = ()
