"""The alert rules: sound, explained, made of metrics that exist, quiet in calm, loud in trouble.

Rules:
  1. A rule names metrics of the registry, with labels that they have.
  2. Each rule has its page in `docs/alerts.md`, with its four parts, and each page its rule.
  3. Each rule fires on a state made for it, after its time and not before, and on no calm one.
  4. Where `promtool` is at hand, Prometheus' own evaluation agrees with ours on all of these.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import structlog
from prometheus_client.core import Metric

from agent.metrics import AgentMetrics
from coordinator.alarms import KEEP_S, Alarms
from coordinator.alerts import AGENT_RULES, RULES
from coordinator.metrics import Metrics
from coordinator.promql import BadExpression, parse
from coordinator.promql_values import History, Moment, Value, quantile_of
from tests.docs_sections import FILES, metrics_of
from tests.tree import ROOT, read

EVERY: Final = (*RULES, *AGENT_RULES)
#: Known to Prometheus, not to us.
OUTSIDE: Final = {"up"}
#: Seconds between two looks of these tests.
STEP_S: Final = 60
MINUTES: Final = 20


class Line(NamedTuple):
    """A series that begins somewhere and grows by so much a minute."""

    start: float
    slope: float = 0.0

    def at(self, minutes: float) -> float:
        return self.start + self.slope * minutes


State = dict[str, Line]
BUCKETS: Final = ("0.001", "0.01", "0.1", "0.5", "2.0", "+Inf")


def commits(*slopes: float) -> State:
    """Cumulative buckets of commits, by what each grows by a minute."""
    return {
        f'hypernode_store_commit_seconds_bucket{{le="{bound}"}}': Line(0, slope)
        for bound, slope in zip(BUCKETS, slopes, strict=True)
    }


CALM: Final[State] = {
    "hypernode_ledger_imbalance": Line(0),
    "hypernode_ledger_overdrawn": Line(0),
    "hypernode_ledger_check_age_seconds": Line(30),
    **{
        f'hypernode_not_ready{{reason="{reason}"}}': Line(0)
        for reason in ("starting", "draining", "store_failing", "store_stuck", "read_only")
    },
    'hypernode_spending_stopped{reason="settlement_late"}': Line(0),
    'hypernode_spending_stopped{reason="reserve_exceeded"}': Line(0),
    "hypernode_root_age_seconds": Line(3600, 60),
    "hypernode_unrooted_units": Line(100e6, 1e3),
    "hypernode_backed_units": Line(500e6),
    "hypernode_loss_units": Line(0),
    'hypernode_chain_disagreements_total{code="root_mismatch"}': Line(2),
    "hypernode_store_free_bytes": Line(50e9),
    "hypernode_store_database_bytes": Line(1e9, 1e5),
    "hypernode_store_wal_bytes": Line(16e6),
    **commits(500, 590, 600, 600, 600, 600),
    "hypernode_backup_age_seconds": Line(600),
    "hypernode_backup_interval_seconds": Line(3600),
    "hypernode_settlement_stopped": Line(0),
    "hypernode_settlement_unexplained_units": Line(0),
    "hypernode_settlement_look_age_seconds": Line(20),
    "hypernode_settlement_failing": Line(0),
    "hypernode_sponsor_balance_lamports": Line(5e8, -1e3),
    'up{job="hypernode"}': Line(1),
    "hypernode_ready": Line(1),
    "hypernode_event_loop_lag_seconds": Line(0.01),
    'hypernode_internal_errors_total{where="http"}': Line(3),
    "hypernode_tls_certificate_expiry_timestamp_seconds": Line(5e6),
    "process_open_fds": Line(60),
    "process_max_fds": Line(1024),
    "hypernode_oldest_waiting_seconds": Line(4),
    'hypernode_jobs{state="queued"}': Line(12),
    'hypernode_jobs{state="running"}': Line(4),
    'hypernode_jobs{state="completed"}': Line(1000, 60),
    'hypernode_jobs_finished_total{outcome="completed"}': Line(1000, 60),
    'hypernode_jobs_finished_total{outcome="failed"}': Line(10, 1),
    'hypernode_verdicts_total{verdict="accepted"}': Line(1000, 60),
    'hypernode_verdicts_total{verdict="rejected"}': Line(2, 0.1),
    'hypernode_open{what="verifications"}': Line(3),
    'hypernode_nodes{state="online"}': Line(3),
    'hypernode_nodes{state="offline"}': Line(1),
    "hypernode_leases_expired_total": Line(5, 0.1),
    'hypernode_auth_failures_total{reason="token_spent"}': Line(0, 6),
    'hypernode_rate_limited_total{scope="address"}': Line(0, 60),
    'hypernode_connections_refused_total{reason="busy"}': Line(7),
    'hypernode_agent_connected{instance="rig"}': Line(1),
    'hypernode_agent_disk_failing{instance="rig"}': Line(0),
    'hypernode_agent_outbox_full{instance="rig"}': Line(0),
    'hypernode_agent_gpu_works{gpu="0",instance="rig"}': Line(1),
    'hypernode_agent_jobs_total{instance="rig",outcome="completed"}': Line(9, 20),
    'hypernode_agent_jobs_total{instance="rig",outcome="failed"}': Line(1, 0.1),
}

#: For each rule what has to change for it to fire (other rules may fire with it).
TROUBLE: Final[dict[str, State]] = {
    "HypernodeLedgerImbalance": {"hypernode_ledger_overdrawn": Line(1)},
    "HypernodeLedgerUnchecked": {"hypernode_ledger_check_age_seconds": Line(301, 60)},
    "HypernodeSpendingStopped": {'hypernode_spending_stopped{reason="reserve_exceeded"}': Line(1)},
    "HypernodeRootOld": {"hypernode_root_age_seconds": Line(172_801, 60)},
    "HypernodeReserveShort": {"hypernode_unrooted_units": Line(401e6)},
    "HypernodeLoss": {"hypernode_loss_units": Line(1)},
    "HypernodeChainDisagrees": {
        'hypernode_chain_disagreements_total{code="root_mismatch"}': Line(2, 1)
    },
    "HypernodeSettlerStopped": {"hypernode_settlement_stopped": Line(1)},
    "HypernodePaidUnknown": {"hypernode_settlement_unexplained_units": Line(1)},
    "HypernodeChainUnread": {"hypernode_settlement_look_age_seconds": Line(601, 60)},
    "HypernodeSettlementFails": {"hypernode_settlement_failing": Line(1)},
    "HypernodeSponsorEmpty": {"hypernode_sponsor_balance_lamports": Line(9e6)},
    "HypernodeReadOnly": {'hypernode_not_ready{reason="read_only"}': Line(1)},
    "HypernodeStoreFailing": {'hypernode_not_ready{reason="store_stuck"}': Line(1)},
    "HypernodeDiskFilling": {"hypernode_store_database_bytes": Line(60e9)},
    "HypernodeWalGrowing": {"hypernode_store_wal_bytes": Line(3e8)},
    "HypernodeCommitsSlow": commits(500, 550, 560, 590, 600, 600),
    "HypernodeBackupOld": {"hypernode_backup_age_seconds": Line(7300, 60)},
    "HypernodeDown": {'up{job="hypernode"}': Line(0)},
    "HypernodeNotReady": {"hypernode_ready": Line(0)},
    "HypernodeLoopLags": {"hypernode_event_loop_lag_seconds": Line(0.7)},
    "HypernodeInternalErrors": {'hypernode_internal_errors_total{where="http"}': Line(0, 1)},
    "HypernodeCertificateExpires": {
        "hypernode_tls_certificate_expiry_timestamp_seconds": Line(600_000)
    },
    "HypernodeFilesRunOut": {"process_open_fds": Line(900)},
    "HypernodeQueueWaits": {"hypernode_oldest_waiting_seconds": Line(700, 60)},
    "HypernodeNothingFinishes": {
        'hypernode_jobs_finished_total{outcome="completed"}': Line(1000),
        'hypernode_jobs_finished_total{outcome="failed"}': Line(10),
    },
    "HypernodeJobsFail": {'hypernode_jobs_finished_total{outcome="failed"}': Line(10, 40)},
    "HypernodeResultsRejected": {'hypernode_verdicts_total{verdict="rejected"}': Line(2, 10)},
    "HypernodeVerificationBehind": {'hypernode_open{what="verifications"}': Line(2000)},
    "HypernodeNoNodes": {'hypernode_nodes{state="online"}': Line(0)},
    "HypernodeLeasesExpire": {"hypernode_leases_expired_total": Line(5, 6)},
    "HypernodeAuthFailures": {'hypernode_auth_failures_total{reason="token_spent"}': Line(0, 600)},
    "HypernodeFlood": {'hypernode_rate_limited_total{scope="address"}': Line(0, 6000)},
    "HypernodeConnectionsFull": {'hypernode_connections_refused_total{reason="busy"}': Line(7, 30)},
    "HypernodeAgentDisconnected": {'hypernode_agent_connected{instance="rig"}': Line(0)},
    "HypernodeAgentStuck": {'hypernode_agent_outbox_full{instance="rig"}': Line(1)},
    "HypernodeAgentGpuOut": {'hypernode_agent_gpu_works{gpu="0",instance="rig"}': Line(0)},
    "HypernodeAgentJobsFail": {
        'hypernode_agent_jobs_total{instance="rig",outcome="failed"}': Line(1, 40)
    },
}


class Script:
    """A registry that says what the time wants."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.minutes = 0.0

    def collect(self) -> Iterator[Metric]:
        for series, line in self.state.items():
            name, _, rest = series.partition("{")
            labels = dict(re.findall(r'(\w+)="([^"]*)"', rest))
            metric = Metric(name, "", "untyped")
            metric.add_sample(name, labels, line.at(self.minutes))
            yield metric


def firing(state: State, minutes: float = MINUTES) -> set[str]:
    """What fires after so many minutes of a state, the agents' rules included."""
    script = Script(state)
    alarms = Alarms(script, rules=EVERY)
    for step in range(int(minutes) + 1):
        script.minutes = step
        alarms.look(step * STEP_S)
    return {alarm.rule.name for alarm in alarms.alarms() if alarm.is_firing}


@pytest.fixture(scope="module")
def names() -> dict[str, tuple[str, ...]]:
    """Every sample name of the registry, with its labels."""
    found: dict[str, tuple[str, ...]] = {}
    for metric in (*metrics_of(Metrics().registry), *metrics_of(AgentMetrics().registry)):
        found[metric.name] = metric.labels
        if metric.type == "histogram":
            found[f"{metric.name}_bucket"] = (*metric.labels, "le")
    return found


# ---- the rules themselves ---------------------------------------------------------------------


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_a_rule_is_made_of_metrics_and_labels_that_exist(
    rule: object, names: dict[str, tuple[str, ...]]
) -> None:
    expression = rule.expression  # type: ignore[attr-defined]
    used = parse(expression).names

    assert used - names.keys() <= OUTSIDE
    for name, labels in re.findall(r"(\w+)\{([^}]*)\}", expression):
        if name not in OUTSIDE:
            assert set(re.findall(r"(\w+)[=!]", labels)) <= set(names[name]), name


def test_rules_have_names_of_their_own_and_groups_that_hang_together() -> None:
    groups = [rule.group for rule in EVERY]

    assert len({rule.name for rule in EVERY}) == len(EVERY)
    assert [g for i, g in enumerate(groups) if i == 0 or groups[i - 1] != g] == [
        *dict.fromkeys(groups)
    ]
    assert all(rule.summary.endswith(".") and len(rule.summary) < 100 for rule in EVERY)


def test_each_rule_has_its_page_with_its_four_parts_and_each_page_its_rule() -> None:
    page = read(Path("docs/alerts.md"))
    pages = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)

    assert [name for name, _ in pages] == [rule.name for rule in EVERY]
    for name, text in pages:
        parts = re.findall(r"^\*\*([^*]+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Means", "See it", "Do", "Ends"], name
    anchors = set(re.findall(r"\(#(\w+)\)", page))
    assert anchors <= {name.lower() for name, _ in pages}


def test_prometheus_and_grafana_get_what_the_house_has() -> None:
    """If it does not: `python -m tests.docs_sections --write`."""
    for path, whole in FILES.items():
        assert read(path) == whole()


def test_a_dashboard_is_made_of_metrics_and_labels_that_exist(
    names: dict[str, tuple[str, ...]],
) -> None:
    """All metrics of the coordinator that move are on it, and nothing that is not."""
    agents = {metric.name: metric.labels for metric in metrics_of(AgentMetrics().registry)}
    known = {**agents, **names}
    panels = json.loads(read(Path("deploy/grafana/hypernode.json")))["panels"]
    used: set[str] = set()
    for target in [target for panel in panels for target in panel.get("targets", ())]:
        expression = parse(target["expr"])
        used |= expression.names
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"instance"}
        bases = {re.sub(r"_(sum|count|bucket)$", "", name) for name in expression.names}
        assert bases <= {re.sub(r"_bucket$", "", name) for name in known}
        assert shown <= {label for name in expression.names for label in known.get(name, ())}

    assert used >= {
        name for name in names if name.startswith("hypernode_") and name.endswith("_total")
    } - {
        "hypernode_http_requests_total", "hypernode_internal_errors_total",
        "hypernode_jobs_submitted_total", "hypernode_store_commit_failures_total",
        "hypernode_ws_closed_total", "hypernode_agent_earned_units_total",
    }  # fmt: skip


def test_no_two_panels_of_the_dashboard_lie_upon_each_other() -> None:
    panels = json.loads(read(Path("deploy/grafana/hypernode.json")))["panels"]
    taken: set[tuple[int, int]] = set()
    for grid in [panel["gridPos"] for panel in panels]:
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells

    assert len({panel["id"] for panel in panels}) == len(panels)


# ---- when they fire ---------------------------------------------------------------------------


def test_there_is_trouble_for_every_rule_and_calm_for_every_metric_of_them() -> None:
    named = {series.partition("{")[0] for series in CALM}

    assert [*TROUBLE] == [rule.name for rule in EVERY]
    assert named == set().union(*(parse(rule.expression).names for rule in EVERY))


def test_nothing_fires_on_a_calm_day() -> None:
    assert firing(CALM) == set()


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_a_rule_fires_on_the_state_that_it_is_for_and_not_before_its_time(rule: object) -> None:
    name, for_s = rule.name, rule.for_s  # type: ignore[attr-defined]
    state = {**CALM, **TROUBLE[name]}

    assert name in firing(state, max(MINUTES, for_s / 60 + MINUTES))
    if for_s > STEP_S:
        assert name not in firing(state, for_s / 60 - 1)


def test_an_alert_begins_once_and_ends_once_in_the_log() -> None:
    script = Script({**CALM, **TROUBLE["HypernodeReadOnly"], **TROUBLE["HypernodeWalGrowing"]})
    alarms = Alarms(script)
    with structlog.testing.capture_logs() as lines:
        for minute in range(15):
            script.minutes = minute
            alarms.look(minute * 60)
        script.state = CALM
        for minute in range(15, 17):
            alarms.look(minute * 60)

    assert [(line["log_level"], line["event"], line["alert"]) for line in lines] == [
        ("error", "alert begins", "HypernodeReadOnly"),
        ("warning", "alert begins", "HypernodeWalGrowing"),
        ("info", "alert ends", "HypernodeReadOnly"),
        ("info", "alert ends", "HypernodeWalGrowing"),
    ]
    assert alarms.alarms() == []


def test_what_fires_comes_before_what_is_pending() -> None:
    script = Script({**CALM, **TROUBLE["HypernodeWalGrowing"], **TROUBLE["HypernodeReadOnly"]})
    alarms = Alarms(script)
    for minute in range(2):
        script.minutes = minute
        alarms.look(minute * 60)

    assert [(a.rule.name, a.for_s, a.is_firing) for a in alarms.alarms()] == [
        ("HypernodeReadOnly", 60, True),
        ("HypernodeWalGrowing", 60, False),
    ]


def test_a_real_registry_is_quiet_at_first_and_heard_when_the_books_are_wrong() -> None:
    metrics = Metrics(wall_ms=lambda: 10_000_000)
    metrics.set_reasons(())
    metrics.backup_made(10_000_000)
    metrics.free_bytes.set(1e12)
    metrics.ledger_imbalance.set(-3)
    alarms = Alarms(metrics.registry)

    alarms.look(10_000.0)

    assert [a.rule.name for a in alarms.alarms() if a.is_firing] == ["HypernodeLedgerImbalance"]


# ---- Prometheus' own opinion ------------------------------------------------------------------


def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed")
    return found


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_file() -> None:
    path = ROOT / "deploy/prometheus/alerts.yml"
    ran = subprocess.run(
        [promtool(), "check", "rules", str(path)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(EVERY)} rules found" in ran.stdout


@pytest.mark.slow
def test_promtool_finds_the_same_alerts_in_every_state(tmp_path: Path) -> None:
    """Each state of above, by Prometheus' own engine and by ours: the same set fires."""
    program = promtool()
    states = {"calm": CALM, **{name: {**CALM, **more} for name, more in TROUBLE.items()}}
    at_minutes = 80
    tests = []
    for state in states.values():
        series = [
            {"series": name, "values": f"{line.start:.10g}+{line.slope:.10g}x{at_minutes}"}
            for name, line in state.items()
        ]
        expected = [
            {"labels": f'{{alertname="{name}"}}', "value": 1}
            for name in sorted(firing(state, at_minutes))
        ]
        asked = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"}) > bool 0',
            "eval_time": f"{at_minutes}m",
            "exp_samples": expected,
        }
        tests.append({"interval": "1m", "input_series": series, "promql_expr_test": [asked]})
    file = tmp_path / "tests.yml"
    rules = str(ROOT / "deploy/prometheus/alerts.yml")
    file.write_text(
        json.dumps({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests})
    )

    ran = subprocess.run(
        [program, "test", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


# ---- expressions ------------------------------------------------------------------------------


def ask(text: str, *steps: dict[str, float]) -> Value:
    """Evaluate over samples that are a minute apart."""
    history = History(3600)
    for minute, step in enumerate(steps):
        found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
        for series, value in step.items():
            name, _, rest = series.partition("{")
            found.setdefault(name, {})[frozenset(re.findall(r'(\w+)="([^"]*)"', rest))] = value
        history.add(minute * 60.0, found)
    return parse(text).evaluate(Moment(history, (len(steps) - 1) * 60.0))


ONE: Final = {'a{x="1"}': 1.0, 'a{x="2"}': 2.0, "b": 10.0}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3 - 1e1", -1.0),
        ("6 / 4 > 1", 1.0),
        ("b", {(): 10.0}),
        ("a > 1", {(("x", "2"),): 2.0}),
        ("2 > a", {(("x", "1"),): 1.0}),
        ('a{x!="1"} * 10', {(("x", "2"),): 20.0}),
        ('a{x=~"1|3"}', {(("x", "1"),): 1.0}),
        ('a{x!~"1|3",x!=""}', {(("x", "2"),): 2.0}),
        ("sum(a)", {(): 3.0}),
        ("max(a) - min(a)", {(): 1.0}),
        ("count by (x) (a)", {(("x", "1"),): 1.0, (("x", "2"),): 1.0}),
        ("sum(a) > 1 and b > 1", {(): 3.0}),
        ("sum(a) > 9 or b", {(): 10.0}),
        ("b unless sum(a)", {}),
        ("absent(c)", {(): 1.0}),
        ("absent(b)", {}),
        ("time() + 1", 1.0),
        ("a / a", {(("x", "1"),): 1.0, (("x", "2"),): 1.0}),
    ],
)
def test_an_expression_gives(text: str, wanted: object) -> None:
    found = ask(text, ONE)

    plain = (
        {tuple(sorted(key)): value for key, value in found.items()}
        if isinstance(found, dict)
        else found
    )
    assert plain == wanted


def test_a_counter_that_begins_anew_has_not_fallen() -> None:
    steps = [{"c": value} for value in (10.0, 12.0, 1.0, 4.0)]

    assert ask("increase(c[5m])", *steps) == {frozenset(): 2.0 + 1.0 + 3.0}
    assert ask("rate(c[5m])", *steps) == {frozenset(): 6.0 / 180}
    assert ask("max_over_time(c[2m])", *steps) == {frozenset(): 12.0}
    assert ask("increase(c[5m])", steps[0]) == {}


def test_what_is_older_than_its_time_is_forgotten() -> None:
    history = History(100.0)
    for at in range(0, 300, 50):
        history.add(at, {"c": {frozenset(): float(at)}})

    assert [at for at, _ in history.range("c", 1e9, 250.0)] == [150, 200, 250]
    assert KEEP_S > 900


def test_a_quantile_lies_on_a_line_within_its_bucket() -> None:
    buckets = [(0.1, 50.0), (0.2, 90.0), (float("inf"), 100.0)]

    assert quantile_of(buckets, 0.5) == pytest.approx(0.1)
    assert quantile_of(buckets, 0.7) == pytest.approx(0.15)
    assert quantile_of(buckets, 0.99) == pytest.approx(0.2)
    assert quantile_of(buckets, 0.25) == pytest.approx(0.05)
    assert str(quantile_of([], 0.5)) == str(quantile_of([(1.0, 0.0)], 0.5)) == "nan"


@pytest.mark.parametrize(
    "text",
    [
        "", "a >", "a b", "a{x}", "a{x=1}", "a[5]", "rate(a[5m]", "sum by x (a)", "topk(3, a)",
        "a offset 5m", "a and on(x) b", "histogram_quantile(a)", "'text'", "a > bool 1", "a;b",
    ],
)  # fmt: skip
def test_what_is_not_covered_is_refused(text: str) -> None:
    with pytest.raises(BadExpression):
        parse(text)
