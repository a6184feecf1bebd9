"""What Prometheus reads."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from coordinator.metrics import LAG_INTERVAL_S, Metrics
from coordinator.store.values import BookSums, JobState, Totals


def lines(metrics: Metrics) -> set[str]:
    return set(metrics.exposition().decode().splitlines())


def test_what_was_counted_is_exposed_under_its_name() -> None:
    metrics = Metrics(version="1.2.3")
    metrics.jobs_submitted.inc(3)
    metrics.job_finished("completed")
    metrics.result_rejected("stale")
    metrics.connection_refused("busy")
    metrics.ws_message("heartbeat", "in", 40)
    metrics.ws_message("ack", "out", 14)
    metrics.auth_failed("token_spent")
    metrics.rate_limited("address")
    metrics.commit_seconds.observe(0.0004)
    metrics.http_answered(200)

    assert {
        "hypernode_jobs_submitted_total 3.0",
        'hypernode_jobs_finished_total{outcome="completed"} 1.0',
        'hypernode_results_rejected_total{reason="stale"} 1.0',
        'hypernode_connections_refused_total{reason="busy"} 1.0',
        'hypernode_ws_messages_total{dir="in",type="heartbeat"} 1.0',
        'hypernode_ws_bytes_total{dir="out",type="ack"} 14.0',
        'hypernode_auth_failures_total{reason="token_spent"} 1.0',
        'hypernode_rate_limited_total{scope="address"} 1.0',
        'hypernode_store_commit_seconds_bucket{le="0.0005"} 1.0',
        'hypernode_http_requests_total{status="200"} 1.0',
        "hypernode_ledger_imbalance 0.0",
    } <= lines(metrics)
    assert 'version="1.2.3"' in metrics.exposition().decode()


def test_what_is_looked_at_now_and_then_is_set_under_its_name() -> None:
    metrics = Metrics()
    jobs = {JobState.QUEUED: 6, JobState.COMPLETED: 9}
    metrics.set_totals(Totals(jobs, nodes=3, transfers=41))
    metrics.set_nodes({"online": 2, "offline": 1})
    metrics.set_counts({"agents": 2})
    metrics.set_books(BookSums({"hold": 5, "faucet": -7}, overdrawn=1))
    metrics.set_reasons(["draining"])

    assert {
        'hypernode_jobs{state="queued"} 6.0',
        'hypernode_jobs{state="running"} 0.0',
        'hypernode_nodes{state="online"} 2.0',
        'hypernode_nodes{state="silent"} 0.0',
        'hypernode_open{what="agents"} 2.0',
        "hypernode_ledger_entries_total 41.0",
        "hypernode_ledger_imbalance 2.0",
        "hypernode_ledger_overdrawn 1.0",
        'hypernode_ledger_balance_units{account="faucet"} -7.0',
        "hypernode_ready 0.0",
        'hypernode_not_ready{reason="draining"} 1.0',
        'hypernode_not_ready{reason="read_only"} 0.0',
    } <= lines(metrics)


def test_ages_grow_and_are_infinite_where_there_is_nothing() -> None:
    now_ms = 1_000_000
    metrics = Metrics(wall_ms=lambda: now_ms)
    assert {
        "hypernode_backup_age_seconds +Inf",
        "hypernode_tls_certificate_expiry_timestamp_seconds +Inf",
    } <= lines(metrics)

    metrics.backup_made(now_ms)
    metrics.backup_made(now_ms - 500_000)
    metrics.certificate_expires(2_000.5)
    now_ms += 60_000

    assert {
        "hypernode_backup_age_seconds 60.0",
        "hypernode_tls_certificate_expiry_timestamp_seconds 2000.5",
    } <= lines(metrics)


def test_a_verdict_against_a_result_is_a_rejected_result() -> None:
    metrics = Metrics()
    metrics.verdict_reached("accepted")
    metrics.verdict_reached("rejected")

    assert {
        'hypernode_verdicts_total{verdict="accepted"} 1.0',
        'hypernode_verdicts_total{verdict="rejected"} 1.0',
        'hypernode_results_rejected_total{reason="rejected"} 1.0',
    } <= lines(metrics)


def test_only_a_want_of_proof_is_a_failure_of_authentication() -> None:
    metrics = Metrics()
    for code in ("deadline", "token_spent", "superseded"):
        metrics.ws_closed(code)

    assert 'hypernode_ws_closed_total{reason="deadline"} 1.0' in lines(metrics)
    failed = [line for line in lines(metrics) if line.startswith("hypernode_auth_failures_total{")]
    assert failed == ['hypernode_auth_failures_total{reason="token_spent"} 1.0']


def test_no_peers_text_becomes_a_label() -> None:
    metrics = Metrics()
    metrics.auth_failed("5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty")

    assert 'hypernode_auth_failures_total{reason="other"} 1.0' in lines(metrics)
    assert b"5FHneW46" not in metrics.exposition()


def test_two_houses_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.jobs_submitted.inc()

    assert "hypernode_jobs_submitted_total 0.0" in lines(other)


async def test_an_idle_loop_has_no_lag(autojump_clock: MockClock) -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.watch_loop)
        await trio.sleep(10 * LAG_INTERVAL_S)
        nursery.cancel_scope.cancel()

    assert metrics.loop_lag_s == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
async def test_a_task_that_holds_the_loop_is_seen_as_lag() -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.watch_loop)
        await wait_all_tasks_blocked()
        time.sleep(LAG_INTERVAL_S + 0.1)  # noqa: ASYNC251 (the fault that is measured)
        await trio.sleep(0.02)
        nursery.cancel_scope.cancel()

    assert metrics.loop_lag_s > 0.05
