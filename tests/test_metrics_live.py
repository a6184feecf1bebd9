"""A live house's page of numbers, before and after real work: each metric by name, type, movement.

Rules:
  1. Every metric that `docs/metrics.md` names is on the page, with the type that it names.
  2. Every one of them moves as `AFTER` says, or is in `STILL` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from agent.task import Task
from coordinator import watch
from coordinator.limits import REQUESTS_BURST
from coordinator.protocol.arrays import AnyArray
from hypernode.errors import Rejected
from tests.docs_sections import PAGES
from tests.house import HonestRunner, House, Market, agent_at, open_market, search
from tests.peer import dialled
from tests.readme_sections import marked
from tests.tree import read

#: Sample (name and labels as on the page) → value.
Page = dict[str, float]
#: What must be so of (before, after).
Check = Callable[[float, float], bool]


def _rises(before: float, after: float) -> bool:
    return after > before


def _is_there(_before: float, after: float) -> bool:
    return after > 0


def _is_zero(_before: float, after: float) -> bool:
    return after == 0


#: One sample of each metric, and how it moves while `work` is done.
AFTER: Final[dict[str, Check]] = {
    'hypernode_auth_failures_total{reason="unauthenticated"}': _rises,
    "hypernode_backup_age_seconds": _is_there,
    "hypernode_backup_interval_seconds": _is_there,
    "hypernode_build_info": _is_there,
    "hypernode_connections": _is_there,
    'hypernode_connections_refused_total{reason="malformed"}': _rises,
    "hypernode_dispatch_seconds_count": _rises,
    'hypernode_http_requests_total{status="401"}': _rises,
    "hypernode_job_queue_seconds_count": _rises,
    "hypernode_job_run_seconds_count": _rises,
    "hypernode_job_seconds_count": _rises,
    'hypernode_jobs{state="completed"}': _rises,
    'hypernode_jobs_finished_total{outcome="cancelled"}': _rises,
    "hypernode_jobs_submitted_total": _rises,
    'hypernode_ledger_balance_units{account="earned"}': _rises,
    "hypernode_ledger_check_age_seconds": lambda _, after: 0 <= after < 60,
    "hypernode_ledger_entries_total": _rises,
    "hypernode_ledger_imbalance": _is_zero,
    "hypernode_ledger_overdrawn": _is_zero,
    'hypernode_nodes{state="online"}': _is_there,
    'hypernode_nodes{state="offline"}': _rises,
    'hypernode_not_ready{reason="read_only"}': _is_zero,
    "hypernode_oldest_waiting_seconds": _is_there,
    'hypernode_open{what="submitters"}': _is_there,
    'hypernode_rate_limited_total{scope="address"}': _rises,
    "hypernode_ready": _is_there,
    'hypernode_results_rejected_total{reason="rejected"}': _rises,
    "hypernode_store_batch_events_sum": _rises,
    "hypernode_store_commit_seconds_count": _rises,
    "hypernode_store_database_bytes": _is_there,
    "hypernode_store_free_bytes": _is_there,
    "hypernode_store_wal_bytes": _is_there,
    "hypernode_tls_certificate_expiry_timestamp_seconds": lambda _, after: after == float("inf"),
    'hypernode_verdicts_total{verdict="rejected"}': _rises,
    'hypernode_ws_bytes_total{dir="in",type="results"}': _rises,
    'hypernode_ws_closed_total{reason="malformed"}': _rises,
    'hypernode_ws_messages_total{dir="out",type="jobs"}': _rises,
    "process_cpu_seconds_total": _rises,
    "process_max_fds": _is_there,
    "process_open_fds": _is_there,
    "process_resident_memory_bytes": _is_there,
    "process_start_time_seconds": _is_there,
    "process_virtual_memory_bytes": _is_there,
}
#: Metrics that do not move in an hour of good luck, and where they do.
STILL: Final = {
    "hypernode_event_loop_lag_seconds": "tests/test_metrics.py holds the loop",
    "hypernode_internal_errors_total": "a failure of ours; tests/test_watch.py makes some",
    "hypernode_leases_expired_total": "a lease lasts 45 s; tests/test_operations.py waits for it",
    "hypernode_store_commit_failures_total": "tests/test_watch.py fills a disk",
    **dict.fromkeys(
        (
            *("hypernode_epochs", "hypernode_root_age_seconds", "hypernode_unrooted_units"),
            *("hypernode_backed_units", "hypernode_reserve_units", "hypernode_loss_units"),
            *("hypernode_spending_stopped", "hypernode_chain_disagreements_total"),
        ),
        "nothing is settled here; tests/test_settlement_http.py",
    ),
    **dict.fromkeys(
        (
            *("hypernode_settlement_look_age_seconds", "hypernode_settlement_epoch"),
            *("hypernode_settlement_pending_epoch", "hypernode_settlement_stopped"),
            *("hypernode_settlement_failing", "hypernode_settlement_unexplained_units"),
        ),
        "no chain is read here; tests/test_settlement.py",
    ),
    "hypernode_settlement_papers_total": "nobody is sent papers here; tests/test_pushing.py",
    **dict.fromkeys(
        (
            *("hypernode_sponsored_claims_total", "hypernode_sponsor_balance_lamports"),
            *("hypernode_sponsor_spent_lamports", "hypernode_sponsor_budget_lamports"),
        ),
        "nobody is sponsored here; tests/test_sponsored.py",
    ),
}


class LyingRunner(HonestRunner):
    """Whatever it is asked, it has found nothing."""

    def compute(self, task: Task) -> list[AnyArray]:
        return [np.zeros_like(array) for array in super().compute(task)]


def samples(text: str) -> Page:
    found: Page = {}
    for family in text_string_to_metric_families(text):
        for each in family.samples:
            labels = ",".join(f'{k}="{v}"' for k, v in sorted(each.labels.items()))
            is_info = each.name.endswith("_info")
            found[each.name + (f"{{{labels}}}" if labels and not is_info else "")] = each.value
    return found


async def scrape(house: House) -> str:
    async with house.http() as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    return answer.text


async def work(market: Market) -> None:
    """A day in a minute: good jobs, a lie, a job nobody can take, a bad key, a flood."""
    client, house = market.client, market.house
    for job in [await client.submit("hashsearch", search(), budget="1") for _ in range(5)]:
        await job.result()
    async with agent_at(house, LyingRunner(), "montecarlo"):
        lie = await client.submit("montecarlo", OPTION, budget="1", retries=0)
        with pytest.raises(Rejected):
            await lie.result()
    withdrawn = await client.submit("render", {"width": 8, "height": 8}, budget="1")
    await withdrawn.cancel()
    await client.submit("render", {"width": 8, "height": 8}, budget="1")
    async with house.http("x" * 43) as http:
        for _ in range(REQUESTS_BURST + 30):
            await http.get("/api/account")
    await _break_the_wire(house)


async def _break_the_wire(house: House) -> None:
    stream = await trio.open_tcp_stream("127.0.0.1", house.port)
    async with stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        assert b"400" in await stream.receive_some()
    async with dialled(house) as peer:
        await peer.say("{")
        assert (await peer.end()).codes == ["malformed"]


OPTION: Final = {
    "spot": 100.0, "strike": 105.0, "rate": 0.03, "volatility": 0.2, "maturity_years": 1.0,
    "option": "call", "paths": 65_536,
}  # fmt: skip


@pytest.fixture(scope="module")
def documented() -> dict[str, str]:
    """Name → type of each metric of the page."""
    page = read(Path("docs/metrics.md"))
    table = marked("coordinator metrics").search(page)
    assert table is not None
    return dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", table[0], re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_generated_part_of_a_page_is_what_the_tree_says(page: Path) -> None:
    """If it is not: `python -m tests.docs_sections --write`."""
    for name, section in PAGES[page].items():
        written = marked(name).search(read(page))
        assert written is not None, name
        assert written[0].splitlines() == section().splitlines()


def test_every_documented_metric_is_watched_here_or_said_to_be_still(
    documented: dict[str, str],
) -> None:
    bases = {re.sub(r"_(count|sum)$|\{.*", "", re.sub(r"\{.*", "", name)) for name in AFTER}

    assert bases | set(STILL) == set(documented)
    assert not bases & set(STILL)


@pytest.mark.slow
async def test_each_metric_is_there_with_its_type_and_moves(
    documented: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FIGURES_EVERY_S", 0.05)
    monkeypatch.setattr(watch, "BOOKS_EVERY_S", 0.05)
    async with open_market(tmp_path) as market:
        before = samples(await scrape(market.house))
        await work(market)
        await trio.sleep(0.3)
        # The flood used up this address's requests.
        await trio.sleep(1.0)
        text = await scrape(market.house)

    types = {
        line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")
    }
    assert {name: types.get(name) for name in documented} == documented
    after = samples(text)
    wrong = {
        name: (before.get(name, 0.0), after.get(name))
        for name, is_so in AFTER.items()
        if name not in after or not is_so(before.get(name, 0.0), after[name])
    }
    assert wrong == {}
