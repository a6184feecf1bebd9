"""What the coordinator answers about itself and about nodes. Times are seconds, amounts HYPER.

As in `answers`: what only a newer coordinator knows is ignored, what an older one does not say has
a default, and a test marries these to the coordinator's own `status_views`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hypernode.answers import Answer


class Minute(Answer, frozen=True):
    """The last minute; None where nothing is known."""

    finished: float | None = None
    failed: float | None = None
    p50: float | None = None
    p99: float | None = None


class Peers(Answer, frozen=True):
    connections: int = 0
    agents: int = 0
    submitters: int = 0
    attempts: int = 0
    verifications: int = 0
    events: int = 0


class Books(Answer, frozen=True):
    is_balanced: bool | None = None
    imbalance: str = "0"
    overdrawn: int = 0
    check_age: float | None = None
    balances: Mapping[str, str] = msgspec.field(default_factory=dict)


class Store(Answer, frozen=True):
    database_bytes: int = 0
    wal_bytes: int = 0
    free_bytes: int = 0
    commit_p99: float | None = None
    backup_age: float | None = None
    failure: str = ""


class Process(Answer, frozen=True):
    cpu_ratio: float | None = None
    memory_bytes: float | None = None
    open_files: float | None = None
    loop_lag: float | None = None


class Alert(Answer, frozen=True):
    name: str
    severity: str = ""
    is_firing: bool = False
    for_seconds: int = 0
    summary: str = ""
    page: str = ""


class Detail(Answer, frozen=True):
    """For administrators."""

    oldest_waiting: float = 0.0
    last_minute: Minute = Minute()
    peers: Peers = Peers()
    books: Books = Books()
    store: Store = Store()
    process: Process = Process()
    certificate_expires: str | None = None
    rejected: Mapping[str, int] = msgspec.field(default_factory=dict)
    alerts: list[Alert] = msgspec.field(default_factory=list)


class CoordinatorInfo(Answer, frozen=True):
    """The coordinator as a whole."""

    #: `ok draining failing`.
    status: str
    reasons: tuple[str, ...] = ()
    version: str = ""
    uptime: int = 0
    #: By state.
    jobs: Mapping[str, int] = msgspec.field(default_factory=dict)
    nodes: Mapping[str, int] = msgspec.field(default_factory=dict)
    detail: Detail | None = None


class FleetNodeInfo(Answer, frozen=True):
    """One node, for its operator and for administrators."""

    id: str
    wallet: str = ""
    hostname: str = ""
    #: `online starting silent offline`.
    state: str = ""
    devices: tuple[str, ...] = ()
    sandbox: int = 0
    worker_sandbox: int = 0
    kinds: tuple[str, ...] = ()
    slots: int = 0
    held: int = 0
    done: int = 0
    failed: int = 0
    earned: str = "0"
    last_seen: str = ""
    #: Why it has nothing to do, by name; "" when it has. `why` is the sentence.
    idle: str = ""
    why: str = ""
    version: str = ""
    remarks: tuple[str, ...] = ()
