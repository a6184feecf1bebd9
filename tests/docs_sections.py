"""The parts of the pages in `docs/` that the tree itself says: tables of metrics, and more.

In:   the registries of the coordinator and of the agent.
Out:  Markdown. `python -m tests.docs_sections --write` puts it into the pages.
Why generated: as README's sections (`readme_sections`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from agent.config import AgentSettings
from agent.metrics import AgentMetrics
from coordinator.alerts import AGENT_RULES, RULES
from coordinator.metrics import Metrics
from tests import kernel_tables, program_tables
from tests.dashboard import dashboard
from tests.readme_sections import marked, settings_table
from tests.tree import ROOT, read


class Metric(NamedTuple):
    """One documented metric."""

    name: str
    type: str
    labels: tuple[str, ...]
    said: str


def metrics_of(registry: CollectorRegistry) -> list[Metric]:
    """Every metric of a registry under the name that a page shows (`_total`, `_info`), by name."""
    return sorted(_metrics(registry))


def _metrics(registry: CollectorRegistry) -> Iterator[Metric]:
    for collector in list(registry._collector_to_names):
        own = tuple(getattr(collector, "_labelnames", ()))
        for family in collector.collect():
            labels = tuple(getattr(family, "_labelnames", own))
            ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
            if family.type == "info":
                labels = tuple(family.samples[0].labels)
            kind = "gauge" if family.type == "info" else family.type
            yield Metric(family.name + ending, kind, labels, family.documentation)


def table_of(registry: CollectorRegistry) -> str:
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in metrics_of(registry):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.type} | {labels} | {metric.said} |")
    return "\n".join(rows)


def prometheus_rules() -> str:
    """`deploy/prometheus/alerts.yml`: the rules of the house, in Prometheus' form."""
    lines = [
        "# Alert rules of a HYPERNODE coordinator; each has its page in docs/alerts.md.",
        "# Made from coordinator/alerts.py by `python -m tests.docs_sections --write`.",
        "groups:",
    ]
    for group, rules in groupby((*RULES, *AGENT_RULES), key=lambda rule: rule.group):
        lines += [f"  - name: hypernode-{group}", "    rules:"]
        for rule in rules:
            lines += [
                f"      - alert: {rule.name}",
                f"        expr: {json.dumps(rule.expression)}",
                f"        for: {rule.for_s}s",
                f"        labels: {{severity: {rule.severity}}}",
                "        annotations:",
                f"          summary: {json.dumps(rule.summary)}",
                f"          runbook_url: {json.dumps(rule.page)}",
            ]
    return "\n".join(lines) + "\n"


def alerts_table() -> str:
    rows = ["| alert | severity | fires after | what is so |", "| --- | --- | --- | --- |"]
    rows += [
        f"| [{rule.name}](#{rule.name.lower()}) | {rule.severity} |"
        f" {f'{rule.for_s} s' if rule.for_s else 'at once'} | {rule.summary} |"
        for rule in (*RULES, *AGENT_RULES)
    ]
    return "\n".join(rows)


#: Page → its generated sections.
PAGES: Final[dict[Path, dict[str, Callable[[], str]]]] = {
    Path("docs/metrics.md"): {
        "coordinator metrics": lambda: table_of(Metrics().registry),
        "agent metrics": lambda: table_of(AgentMetrics().registry),
    },
    Path("docs/alerts.md"): {"alerts": alerts_table},
    Path("docs/kernels.md"): kernel_tables.TABLES,
    Path("docs/program.md"): program_tables.TABLES,
    Path("docs/operation.md"): {
        "agent settings": lambda: settings_table(AgentSettings, Path("agent/config.py"))
    },
}
#: Whole files.
FILES: Final[dict[Path, Callable[[], str]]] = {
    Path("deploy/prometheus/alerts.yml"): prometheus_rules,
    Path("deploy/grafana/hypernode.json"): dashboard,
}


def main(arguments: list[str]) -> None:
    for path, whole in FILES.items():
        if "--write" in arguments:
            (ROOT / path).write_text(whole(), encoding="utf-8")
    for path, sections in PAGES.items():
        page = read(path)
        for name, section in sections.items():
            page = marked(name).sub(section().replace("\\", r"\\"), page)
            if "--write" not in arguments:
                sys.stdout.write(f"<!-- {name} -->\n{section()}\n<!-- end of {name} -->\n\n")
        if "--write" in arguments:
            (ROOT / path).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
