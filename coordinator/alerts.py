"""When people should look: the alert rules, each with its page in `docs/alerts.md`.

Prometheus gets them as `deploy/prometheus/alerts.yml`, which is made from here; a house evaluates
them itself as well (`alarms`), for its log and for `hypernode status`.
Rules for rules:
  1. An alert asks for an act: its page says which. What is only interesting is on a dashboard.
  2. `critical` means now, also at night: money, or nobody is served. `warning` means today.
  3. An expression is written in the part of PromQL that `promql` covers, over metrics of ours.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

Severity: TypeAlias = Literal["critical", "warning"]


class Rule(NamedTuple):
    """One alert."""

    name: str
    group: str
    severity: Severity
    #: How long the expression holds before the alert fires, seconds.
    for_s: int
    expression: str
    #: One sentence for people.
    summary: str

    @property
    def page(self) -> str:
        """Where it is explained."""
        return f"docs/alerts.md#{self.name.lower()}"


_OPEN: Final = 'sum(hypernode_jobs{state=~"queued|assigned|running|verifying"})'
_FINISHED: Final = "sum(increase(hypernode_jobs_finished_total[15m]))"
_FAILED: Final = 'sum(increase(hypernode_jobs_finished_total{outcome="failed"}[15m]))'
_VERDICTS: Final = "sum(increase(hypernode_verdicts_total[15m]))"
_REJECTED: Final = 'sum(increase(hypernode_verdicts_total{verdict="rejected"}[15m]))'
_COMMIT_P99: Final = (
    "histogram_quantile(0.99, sum by (le) (rate(hypernode_store_commit_seconds_bucket[5m])))"
)

RULES: Final = (
    # ---- the books ------------------------------------------------------------------------------
    Rule(
        "HypernodeLedgerImbalance", "books", "critical", 0,
        "hypernode_ledger_imbalance != 0 or hypernode_ledger_overdrawn != 0",
        "Debits and credits differ, or an account is overdrawn: the coordinator is read-only.",
    ),
    Rule(
        "HypernodeLedgerUnchecked", "books", "critical", 60,
        "hypernode_ledger_check_age_seconds > 300",
        "The ledger has not been added up for five minutes.",
    ),
    # ---- settlement ------------------------------------------------------------------------------
    Rule(
        "HypernodeSpendingStopped", "settlement", "critical", 60,
        "max(hypernode_spending_stopped) == 1",
        "No credit is spent: settlement is late, the chain is unread, or the reserve is exceeded.",
    ),
    Rule(
        "HypernodeRootOld", "settlement", "warning", 600,
        "hypernode_root_age_seconds > 172800",
        "No root has become active for two days.",
    ),
    Rule(
        "HypernodeReserveShort", "settlement", "warning", 600,
        "hypernode_unrooted_units > 0.8 * hypernode_backed_units and hypernode_backed_units > 0",
        "Hosts have earned four fifths of what the reserve backs and no root covers it yet.",
    ),
    Rule(
        "HypernodeLoss", "settlement", "critical", 0,
        "hypernode_loss_units > 0",
        "The chain has paid more than was owed: somebody took it, or the books are of an old copy.",
    ),
    Rule(
        "HypernodeChainDisagrees", "settlement", "critical", 0,
        "sum(increase(hypernode_chain_disagreements_total[15m])) > 0",
        "The chain and the books contradict each other.",
    ),
    Rule(
        "HypernodeSettlerStopped", "settlement", "critical", 0,
        "hypernode_settlement_stopped == 1",
        "Books and chain do not belong together: no root is published until people have looked.",
    ),
    Rule(
        "HypernodePaidUnknown", "settlement", "critical", 60,
        "hypernode_settlement_unexplained_units > 0",
        "The chain has paid wallets that these books do not know: a key was stolen, or books lost.",
    ),
    Rule(
        "HypernodeChainUnread", "settlement", "warning", 60,
        "hypernode_settlement_look_age_seconds > 600",
        "The chain has not been read for ten minutes: deposits and claims are not booked.",
    ),
    Rule(
        "HypernodeSettlementFails", "settlement", "warning", 1800,
        "hypernode_settlement_failing == 1",
        "Each round of settlement has ended badly for half an hour.",
    ),
    Rule(
        "HypernodeSponsorEmpty", "settlement", "warning", 300,
        "hypernode_sponsor_balance_lamports < 1e7",
        "The sponsor of claims has under 0.01 SOL: hosts without SOL cannot claim.",
    ),
    # ---- the store ------------------------------------------------------------------------------
    Rule(
        "HypernodeReadOnly", "store", "critical", 0,
        'hypernode_not_ready{reason="read_only"} == 1',
        "The coordinator has stopped itself: nothing is written.",
    ),
    Rule(
        "HypernodeStoreFailing", "store", "critical", 30,
        'hypernode_not_ready{reason=~"store_failing|store_stuck"} == 1',
        "The disk takes no writes: submissions are refused.",
    ),
    Rule(
        "HypernodeDiskFilling", "store", "warning", 300,
        "hypernode_store_free_bytes < 1e9 or hypernode_store_free_bytes"
        " < hypernode_store_database_bytes",
        "Little room is left beside the database: under 1 GB, or too little for a copy of it.",
    ),
    Rule(
        "HypernodeWalGrowing", "store", "warning", 600,
        "hypernode_store_wal_bytes > 268435456",
        "The write-ahead log has passed 256 MiB: something keeps it from being copied back.",
    ),
    Rule(
        "HypernodeCommitsSlow", "store", "warning", 600,
        f"{_COMMIT_P99} > 0.1",
        "One commit in a hundred takes longer than 100 ms.",
    ),
    Rule(
        "HypernodeBackupOld", "store", "warning", 900,
        "hypernode_backup_age_seconds > 2 * hypernode_backup_interval_seconds",
        "The last backup is older than twice the time between two, or there is none.",
    ),
    # ---- the service ----------------------------------------------------------------------------
    Rule(
        "HypernodeDown", "service", "critical", 60,
        'up{job="hypernode"} == 0',
        "The coordinator does not answer Prometheus.",
    ),
    Rule(
        "HypernodeNotReady", "service", "critical", 300,
        "hypernode_ready == 0",
        "The coordinator has taken in no work for five minutes.",
    ),
    Rule(
        "HypernodeLoopLags", "service", "warning", 120,
        "hypernode_event_loop_lag_seconds > 0.5",
        "The event loop stands still for half a second at a time.",
    ),
    Rule(
        "HypernodeInternalErrors", "service", "warning", 0,
        "sum(increase(hypernode_internal_errors_total[10m])) > 0",
        "Something of the coordinator's own failed; its log has the traceback.",
    ),
    Rule(
        "HypernodeCertificateExpires", "service", "warning", 3600,
        "hypernode_tls_certificate_expiry_timestamp_seconds - time() < 604800",
        "The TLS certificate expires within a week.",
    ),
    Rule(
        "HypernodeFilesRunOut", "service", "warning", 300,
        "process_open_fds > 0.8 * process_max_fds",
        "Four fifths of the files and sockets that the process may open are open.",
    ),
    # ---- jobs -----------------------------------------------------------------------------------
    Rule(
        "HypernodeQueueWaits", "jobs", "warning", 300,
        "hypernode_oldest_waiting_seconds > 600",
        "A job has waited for more than ten minutes.",
    ),
    Rule(
        "HypernodeNothingFinishes", "jobs", "critical", 900,
        f"{_OPEN} > 0 and {_FINISHED} == 0",
        "There are open jobs, and none has ended for a quarter of an hour.",
    ),
    Rule(
        "HypernodeJobsFail", "jobs", "warning", 300,
        f"{_FAILED} > 0.2 * {_FINISHED} and {_FAILED} > 10",
        "More than one job in five fails.",
    ),
    Rule(
        "HypernodeResultsRejected", "jobs", "warning", 300,
        f"{_REJECTED} > 0.05 * {_VERDICTS} and {_REJECTED} > 5",
        "More than one result in twenty does not pass verification.",
    ),
    Rule(
        "HypernodeVerificationBehind", "jobs", "warning", 300,
        'hypernode_open{what="verifications"} > 1000',
        "More than a thousand results wait for their verification.",
    ),
    # ---- nodes ----------------------------------------------------------------------------------
    Rule(
        "HypernodeNoNodes", "nodes", "critical", 600,
        'sum(hypernode_nodes{state="online"}) == 0 and sum(hypernode_nodes) > 0',
        "No node is online.",
    ),
    Rule(
        "HypernodeLeasesExpire", "nodes", "warning", 0,
        "increase(hypernode_leases_expired_total[10m]) > 20",
        "More than twenty leases have run out in ten minutes: nodes vanish while they work.",
    ),
    # ---- the doors ------------------------------------------------------------------------------
    Rule(
        "HypernodeAuthFailures", "doors", "warning", 600,
        "sum(rate(hypernode_auth_failures_total[5m])) > 5",
        "More than five proofs or bearers a second do not hold.",
    ),
    Rule(
        "HypernodeFlood", "doors", "warning", 600,
        "sum(rate(hypernode_rate_limited_total[5m])) > 50",
        "More than fifty requests a second are refused for coming too often.",
    ),
    Rule(
        "HypernodeConnectionsFull", "doors", "warning", 0,
        'sum(increase(hypernode_connections_refused_total{reason="busy"}[5m])) > 0',
        "Connections are refused because there are as many as the coordinator takes.",
    ),
)  # fmt: skip

_AGENT_JOBS: Final = "sum by (instance) (increase(hypernode_agent_jobs_total[15m]))"
_AGENT_FAILED: Final = (
    'sum by (instance) (increase(hypernode_agent_jobs_total{outcome="failed"}[15m]))'
)
#: For operators who scrape their agents; a coordinator does not see these metrics.
AGENT_RULES: Final = (
    Rule(
        "HypernodeAgentDisconnected", "agents", "warning", 300,
        "hypernode_agent_connected == 0",
        "An agent has not reached its coordinator for five minutes.",
    ),
    Rule(
        "HypernodeAgentStuck", "agents", "critical", 60,
        "hypernode_agent_disk_failing == 1 or hypernode_agent_outbox_full == 1",
        "An agent starts no job: its disk takes no results, or they are not taken from it.",
    ),
    Rule(
        "HypernodeAgentGpuOut", "agents", "warning", 300,
        "hypernode_agent_gpu_works == 0",
        "A GPU is given no jobs: hot, lost, in error, or it failed several in a row.",
    ),
    Rule(
        "HypernodeAgentJobsFail", "agents", "warning", 0,
        f"{_AGENT_FAILED} > 0.5 * {_AGENT_JOBS} and {_AGENT_FAILED} > 10",
        "More than half of an agent's jobs fail.",
    ),
)  # fmt: skip
