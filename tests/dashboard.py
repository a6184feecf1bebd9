"""The Grafana dashboard, made from a table: `deploy/grafana/hypernode.json`.

In:   rows of panels: a title, a unit, expressions with their legends.
Out:  JSON that Grafana imports; it asks for the Prometheus data source at import.
Why generated: a dashboard that people edit by hand is a thousand lines that nobody reviews.
Not covered: Grafana itself; the tests read the JSON and every expression in it.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

#: Columns of Grafana's grid, and the size of a panel on it.
GRID: Final = 24
WIDTH: Final = 8
HEIGHT: Final = 7
STAT_WIDTH: Final = 4
STAT_HEIGHT: Final = 4


class Panel(NamedTuple):
    """A graph, or one number where `is_stat`."""

    title: str
    unit: str
    #: Expression → legend, with `{{label}}` for a label.
    lines: dict[str, str]
    is_stat: bool = False


def _rate(metric: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}[5m]))" if by else f"sum(rate({metric}[5m]))"


def _quantiles(metric: str, *quantiles: float) -> dict[str, str]:
    return {
        f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[5m])))": f"p{q * 100:g}"
        for q in quantiles
    }


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Now": (
        Panel("Ready", "bool_yes_no", {"min(hypernode_ready)": ""}, is_stat=True),
        Panel("Nodes online", "short", {'sum(hypernode_nodes{state="online"})': ""}, is_stat=True),
        Panel("Queued", "short", {'sum(hypernode_jobs{state="queued"})': ""}, is_stat=True),
        Panel("Oldest waiting", "s", {"max(hypernode_oldest_waiting_seconds)": ""}, is_stat=True),
        Panel("Ledger imbalance", "short", {"max(hypernode_ledger_imbalance)": ""}, is_stat=True),
        Panel("Last backup", "s", {"max(hypernode_backup_age_seconds)": ""}, is_stat=True),
    ),
    "Jobs": (
        Panel(
            "Open jobs", "short",
            {'sum by (state) (hypernode_jobs{state=~"queued|assigned|running|verifying"})':
             "{{state}}"},
        ),
        Panel(
            "Ended a second", "ops",
            {_rate("hypernode_jobs_finished_total", "outcome"): "{{outcome}}"},
        ),
        Panel("Submission to payment", "s", _quantiles("hypernode_job_seconds", 0.5, 0.9, 0.99)),
        Panel("Waiting for dispatch", "s", _quantiles("hypernode_job_queue_seconds", 0.5, 0.99)),
        Panel("Running", "s", _quantiles("hypernode_job_run_seconds", 0.5, 0.99)),
        Panel("Match to commit", "s", _quantiles("hypernode_dispatch_seconds", 0.5, 0.99)),
        Panel(
            "Results rejected a second", "ops",
            {_rate("hypernode_results_rejected_total", "reason"): "{{reason}}"},
        ),
        Panel(
            "Verdicts a second", "ops",
            {_rate("hypernode_verdicts_total", "verdict"): "{{verdict}}"},
        ),
        Panel(
            "Under way", "short",
            {'sum by (what) (hypernode_open{what=~"attempts|verifications|events"})': "{{what}}"},
        ),
    ),
    "Nodes and peers": (
        Panel("Nodes", "short", {"sum by (state) (hypernode_nodes)": "{{state}}"}),
        Panel(
            "Connections", "short",
            {"sum(hypernode_connections)": "all",
             'sum by (what) (hypernode_open{what=~"agents|submitters"})': "{{what}}"},
        ),
        Panel("Messages a second", "ops", {_rate("hypernode_ws_messages_total", "dir"): "{{dir}}"}),
        Panel("Bytes a second", "Bps", {_rate("hypernode_ws_bytes_total", "dir"): "{{dir}}"}),
        Panel(
            "Refused a second", "ops",
            {_rate("hypernode_auth_failures_total", "reason"): "proof: {{reason}}",
             _rate("hypernode_rate_limited_total", "scope"): "too often: {{scope}}",
             _rate("hypernode_connections_refused_total", "reason"): "door: {{reason}}"},
        ),
        Panel(
            "Leases expired a second", "ops", {_rate("hypernode_leases_expired_total"): "leases"}
        ),
    ),
    "Money": (
        Panel(
            "Balances, HYPER", "short",
            {"sum by (account) (hypernode_ledger_balance_units) / 1e6": "{{account}}"},
        ),
        Panel("Movements a second", "ops", {_rate("hypernode_ledger_entries_total"): "entries"}),
        Panel(
            "Books", "short",
            {"max(hypernode_ledger_imbalance)": "imbalance",
             "max(hypernode_ledger_overdrawn)": "overdrawn accounts"},
        ),
    ),
    "Settlement": (
        Panel(
            "Not rooted, HYPER", "short",
            {"max(hypernode_unrooted_units) / 1e6": "earned, no root covers it",
             "max(hypernode_backed_units) / 1e6": "backed",
             "max(hypernode_reserve_units) / 1e6": "reserve",
             "max(hypernode_loss_units) / 1e6": "loss"},
        ),
        Panel("Age of the last root", "s", {"max(hypernode_root_age_seconds)": "last activation"}),
        Panel("Epochs", "short", {"sum by (state) (hypernode_epochs)": "{{state}}"}),
        Panel(
            "No credit is spent", "short",
            {"max by (reason) (hypernode_spending_stopped)": "{{reason}}",
             _rate("hypernode_chain_disagreements_total", "code"): "disagreements: {{code}}"},
        ),
        Panel(
            "Papers for agents", "ops",
            {_rate("hypernode_settlement_papers_total", "kind"): "{{kind}}",
             _rate("hypernode_agent_papers_refused_total"): "refused by agents"},
        ),
        Panel(
            "Sponsor, SOL", "short",
            {"max(hypernode_sponsor_balance_lamports) / 1e9": "on its key",
             "max(hypernode_sponsor_spent_lamports) / 1e9": "spent in 24 h",
             "max(hypernode_sponsor_budget_lamports) / 1e9": "may be spent"},
        ),
        Panel(
            "Sponsored claims a second", "ops",
            {_rate("hypernode_sponsored_claims_total", "state"): "{{state}}"},
        ),
    ),
    "Store": (
        Panel("Commit", "s", _quantiles("hypernode_store_commit_seconds", 0.5, 0.99)),
        Panel(
            "Events in a commit", "short",
            {"sum(rate(hypernode_store_batch_events_sum[5m]))"
             " / sum(rate(hypernode_store_batch_events_count[5m]))": "mean"},
        ),
        Panel(
            "Bytes", "bytes",
            {"max(hypernode_store_database_bytes)": "database",
             "max(hypernode_store_wal_bytes)": "write-ahead log",
             "min(hypernode_store_free_bytes)": "free"},
        ),
    ),
    "Process": (
        Panel(
            "CPU, cores", "short", {'rate(process_cpu_seconds_total{job="hypernode"}[5m])': "cpu"}
        ),
        Panel(
            "Memory", "bytes", {'process_resident_memory_bytes{job="hypernode"}': "resident"}
        ),
        Panel("Loop lag", "s", {"max(hypernode_event_loop_lag_seconds)": "worst of 15 s"}),
    ),
    "Agents": (
        Panel(
            "GPU busy", "percentunit",
            {"hypernode_agent_gpu_utilization_ratio": "{{instance}} {{gpu}}"},
        ),
        Panel(
            "GPU temperature", "celsius",
            {"hypernode_agent_gpu_temperature_celsius": "{{instance}} {{gpu}}"},
        ),
        Panel("GPU power", "watt", {"hypernode_agent_gpu_power_watts": "{{instance}} {{gpu}}"}),
        Panel(
            "Jobs a second", "ops", {_rate("hypernode_agent_jobs_total", "outcome"): "{{outcome}}"}
        ),
        Panel("Unsent results", "short", {"hypernode_agent_unsent_results": "{{instance}}"}),
        Panel("Sandbox level", "short", {"hypernode_agent_sandbox_level": "{{instance}}"}),
    ),
}  # fmt: skip


def dashboard() -> str:
    """The JSON."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(_row(title, y, len(panels) + 1))
        x, y = 0, y + 1
        tall = STAT_HEIGHT
        for panel in row:
            width, height = (STAT_WIDTH, STAT_HEIGHT) if panel.is_stat else (WIDTH, HEIGHT)
            if x + width > GRID:
                x, y = 0, y + height
            panels.append(_panel(panel, {"x": x, "y": y, "w": width, "h": height}, len(panels) + 1))
            x, tall = x + width, height
        y += tall
    return json.dumps({**_FRAME, "panels": panels}, indent=1) + "\n"


_SOURCE: Final = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
_FRAME: Final[dict[str, Any]] = {
    "__inputs": [
        {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource",
         "pluginId": "prometheus", "pluginName": "Prometheus"},
    ],
    "title": "HYPERNODE", "uid": "hypernode", "tags": ["hypernode"], "schemaVersion": 39,
    "editable": True, "refresh": "15s", "time": {"from": "now-6h", "to": "now"},
    "templating": {"list": []}, "annotations": {"list": []},
}  # fmt: skip


def _row(title: str, y: int, number: int) -> dict[str, Any]:
    grid = {"x": 0, "y": y, "w": GRID, "h": 1}
    return {"id": number, "type": "row", "title": title, "gridPos": grid, "collapsed": False,
            "panels": []}  # fmt: skip


def _panel(panel: Panel, grid: dict[str, int], number: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat" if panel.is_stat else "timeseries",
        "title": panel.title,
        "gridPos": grid,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": expression, "legendFormat": legend,
             "datasource": _SOURCE}
            for index, (expression, legend) in enumerate(panel.lines.items())
        ],
    }  # fmt: skip
