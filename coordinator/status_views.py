"""What the status and the listing of a fleet show, as JSON. Times are seconds, amounts HYPER."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from coordinator.views import Status, View


class MinuteView(View, frozen=True):
    """The last minute; null where nothing is known."""

    #: Jobs that ended, and those of them that failed.
    finished: float | None = None
    failed: float | None = None
    #: From submission to payment.
    p50: float | None = None
    p99: float | None = None


class PeersView(View, frozen=True):
    """Who is connected, and what is under way."""

    connections: int
    agents: int
    submitters: int
    #: Attempts that agents hold.
    attempts: int
    #: Results that wait for their verification.
    verifications: int
    #: Events that wait for the writer.
    events: int


class BooksView(View, frozen=True):
    """The ledger, as it was last added up."""

    is_balanced: bool | None = None
    imbalance: str = "0"
    #: Accounts with more debits than credits.
    overdrawn: int = 0
    check_age: float | None = None
    #: Sum of each class of accounts.
    balances: Mapping[str, str] = msgspec.field(default_factory=dict)


class StoreView(View, frozen=True):
    """The database on its disk."""

    database_bytes: int
    wal_bytes: int
    free_bytes: int
    commit_p99: float | None
    backup_age: float | None
    #: Why the last commit failed, in the engine's own words; "" when it did not.
    failure: str


class ProcessView(View, frozen=True):
    """The process."""

    #: Cores in use: 0.5 is half of one.
    cpu_ratio: float | None
    memory_bytes: float | None
    open_files: float | None
    loop_lag: float | None


class AlertView(View, frozen=True):
    """An alert rule that holds."""

    name: str
    severity: str
    #: False: it holds, but not for long enough yet.
    is_firing: bool
    for_seconds: int
    summary: str
    page: str


class StatusDetail(View, frozen=True):
    """For administrators."""

    oldest_waiting: float
    last_minute: MinuteView
    peers: PeersView
    books: BooksView
    store: StoreView
    process: ProcessView
    #: ISO 8601; null without TLS.
    certificate_expires: str | None
    #: Results that were not paid for since the start, by reason.
    rejected: Mapping[str, int]
    alerts: Sequence[AlertView]


class StatusView(View, frozen=True):
    """The coordinator; `detail` is for administrators and null for others."""

    status: Status
    reasons: tuple[str, ...]
    version: str
    #: Seconds since it started.
    uptime: int
    #: Jobs in the database, by state.
    jobs: Mapping[str, int]
    #: Nodes that ever registered, by state.
    nodes: Mapping[str, int]
    detail: StatusDetail | None


class FleetNode(View, frozen=True):
    """One node, for its operator and for administrators."""

    id: str
    wallet: str
    hostname: str
    #: `online starting silent offline`.
    state: str
    #: Names of its devices.
    devices: tuple[str, ...]
    #: Levels of the sandbox for commands, and for our own kinds.
    sandbox: int
    worker_sandbox: int
    kinds: tuple[str, ...]
    #: Jobs that it takes at the same time, and those that it holds.
    slots: int
    held: int
    #: Attempts that were paid, and that failed or were lost.
    done: int
    failed: int
    #: HYPER, decimal text.
    earned: str
    last_seen: str
    #: Why it has nothing to do now, by name; "" when it has.
    idle: str
    #: The same as a sentence.
    why: str
    version: str = ""
    remarks: tuple[str, ...] = ()
