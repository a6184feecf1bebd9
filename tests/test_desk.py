"""The desk: wishes in, views out, and nothing shown to who may not know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from coordinator.clock import iso
from coordinator.demand import demand_for
from coordinator.desk import (
    job_view,
    node_view,
    output_message,
    parse_amount,
    parse_wallet,
    price_of,
    seed_result,
    wish_of,
)
from coordinator.ledger import HOUSE
from coordinator.limits import KEY_CHARS_MAX, OFFLINE_S, SEED_LOG_CHARS_MAX
from coordinator.metrics import Metrics
from coordinator.operations import Operations
from coordinator.pricing import Rules
from coordinator.protocol.commitment import output_root
from coordinator.protocol.errors import Refusal
from coordinator.protocol.ids import Ids
from coordinator.protocol.messages import Array, Device, Inventory, Submission
from coordinator.protocol.spec import Limits, decode_spec, hash_spec
from coordinator.scheduler import Capability, Scheduler
from coordinator.store.values import Job, JobState, Node, Output
from onchain.address import encode_address
from tests.build import ALICE, NOW_MS, command_spec, montecarlo_spec
from tests.store_values import a_job, a_node

IDS = Ids(bytes(32))
RULES = Rules(price_per_tflop=100, price_per_gib=50)


def submission(spec: bytes | None = None, key: str = "k", budget: str = "1") -> Submission:
    return Submission(key, msgspec.Raw(montecarlo_spec() if spec is None else spec), budget)


def refused(call: Any, *args: Any) -> str:
    with pytest.raises(Refusal) as caught:
        call(*args)
    return caught.value.code


# ---- wishes in --------------------------------------------------------------------------------


def test_a_submission_becomes_a_wish_with_its_price() -> None:
    spec = montecarlo_spec() + b" "
    wish = wish_of(submission(spec, "k" * KEY_CHARS_MAX, "0.006601"), RULES)

    assert (wish.key, wish.kind, wish.spec) == ("k" * KEY_CHARS_MAX, "montecarlo", spec)
    assert (wish.spec_hash, wish.budget, wish.price) == (hash_spec(spec), 6601, 6601)


def test_a_commands_price_is_its_time_and_not_known_before() -> None:
    assert wish_of(submission(command_spec(), budget="0.000001"), RULES).price == 0


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (submission(b"{", "", "x"), "malformed"),
        (submission(b"{", "k" * (KEY_CHARS_MAX + 1), "x"), "malformed"),
        (submission(b"{", budget="x"), "bad_amount"),
        (submission(b"{", budget="-1"), "bad_amount"),
        (submission(b"{", budget="0.0000001"), "bad_amount"),
        (submission(b"{", budget="0"), "bad_spec"),
        (submission(b'{"kind":"sorting"}', budget="0"), "unknown_kind"),
        (submission(budget="0"), "bad_amount"),
        (submission(budget="0.0066"), "over_budget"),
    ],
    ids=str,
)
def test_the_first_fault_of_a_submission_names_its_refusal(wrong: Submission, code: str) -> None:
    assert refused(wish_of, wrong, RULES) == code


def test_wallets_and_amounts_are_read_or_refused_by_name() -> None:
    assert parse_wallet(encode_address(ALICE.address)) == ALICE.address
    assert refused(parse_wallet, "nobody") == "bad_address"
    assert parse_amount("0.02") == 20_000
    assert refused(parse_amount, "2e4") == "bad_amount"


def test_a_price_says_how_many_agents_could_take_the_job_or_why_there_is_none() -> None:
    scheduler = Scheduler()
    kinds = frozenset({"montecarlo"})
    for node in range(3):
        scheduler.set_node(node, Capability(kinds, False, 0, 0, 0, 1, 1), 0)

    price = price_of(montecarlo_spec(), RULES, scheduler)
    assert (price.kind, price.price, price.agents, price.code) == (
        "montecarlo",
        "0.006601",
        3,
        "",
    )
    assert price_of(command_spec(), RULES, scheduler).agents == 0
    none = price_of(b'{"kind":"sorting"}', RULES, scheduler)
    assert (none.price, none.code) == ("", "unknown_kind")
    assert "sorting" in none.error


@pytest.mark.parametrize(
    ("vram_mb", "vram_gib"), [(0, 0), (1, 2), (2048, 2), (2049, 4), (24_576, 24), (24_577, 32)]
)
def test_a_demand_rounds_memory_up_to_a_size_that_devices_have(vram_mb: int, vram_gib: int) -> None:
    spec = b'{"kind":"command","resources":{"gpu":true,"vram_mb":%d}}' % vram_mb
    demand = demand_for(decode_spec(spec))

    assert (demand.vram_gib, demand.gpu, demand.is_timed) == (vram_gib, True, True)
    # A command's own least level, since this one names none.
    assert demand.sandbox == 1


# ---- a seed client's result -------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "success", "ok"])
def test_a_seed_clients_success_has_its_log_as_output(status: str) -> None:
    event = seed_result(7, 3, 5, status, "hé")

    assert event.is_completed
    assert (event.job, event.fence, event.node, event.code, event.detail) == (7, 3, 5, "", "")
    assert event.outputs == (Output(7, 3, 0, "uint8", (3,), "hé".encode(), size=3),)
    assert event.root == output_root(["hé".encode()])


@pytest.mark.parametrize("status", ["failed", "error", "", "COMPLETED", "done?"])
def test_anything_else_is_a_failure_with_the_end_of_its_log(status: str) -> None:
    event = seed_result(7, 3, 5, status, "x" * 600 + "why")

    assert not event.is_completed
    assert (event.code, event.outputs) == ("agent_error", ())
    assert len(event.detail) == 500
    assert event.detail.endswith("why")


def test_a_log_is_cut_at_its_limit_in_bytes() -> None:
    event = seed_result(7, 3, 5, "ok", "é" * SEED_LOG_CHARS_MAX)

    assert event.outputs[0].size == SEED_LOG_CHARS_MAX


# ---- views out --------------------------------------------------------------------------------

DONE = a_job(
    31, ALICE.address, kind="montecarlo", state=JobState.COMPLETED, fence=2, node=4, paid=900,
    fee=22, assigned_ms=NOW_MS + 1_000, finished_ms=NOW_MS + 3_500, code="c", detail="d",
)  # fmt: skip


def test_a_job_is_shown_as_the_seed_shows_it() -> None:
    view = job_view(IDS, DONE)

    assert view.id == IDS.encode("job", 31)
    assert (view.type, view.node_id, view.status) == (
        "montecarlo",
        IDS.encode("node", 4),
        "completed",
    )
    assert (view.duration, view.attempts) == (2.5, 2)
    assert (view.created_at, view.completed_at) == (iso(NOW_MS), iso(NOW_MS + 3_500))


def test_key_detail_and_money_are_for_who_may_know() -> None:
    hidden, shown = job_view(IDS, DONE), job_view(IDS, DONE, is_own=True)

    private = {"key", "code", "detail", "budget", "paid", "fee"}
    assert private.isdisjoint(msgspec.to_builtins(hidden))
    assert private <= msgspec.to_builtins(shown).keys()
    assert (shown.key, shown.code, shown.detail) == ("key-31", "c", "d")
    assert (shown.budget, shown.paid, shown.fee) == ("0.001", "0.0009", "0.000022")


def test_a_job_shows_its_submitter_what_ends_it() -> None:
    limits = Limits(execution_s=60, queue_s=600, total_s=3600)
    job = replace(DONE, spec=montecarlo_spec(retries=4, limits=limits))
    hidden, shown = job_view(IDS, job), job_view(IDS, job, is_own=True)

    times = (shown.execution_timeout, shown.queue_timeout, shown.total_timeout)
    assert (times, shown.retries) == ((60, 600, 3600), 4)
    assert {"totalTimeout", "retries"}.isdisjoint(msgspec.to_builtins(hidden))


@pytest.mark.parametrize(
    ("job", "duration", "is_ended"),
    [
        (a_job(1), None, False),
        (replace(DONE, state=JobState.RUNNING, finished_ms=0), None, False),
        (a_job(1, state=JobState.CANCELLED, finished_ms=NOW_MS + 5), None, True),
        (DONE, 2.5, True),
    ],
    ids=["waiting", "running", "never assigned", "done"],
)
def test_a_duration_is_known_once_an_assigned_job_has_ended(
    job: Job, duration: float | None, *, is_ended: bool
) -> None:
    view = job_view(IDS, job)

    assert view.duration == duration
    assert (view.completed_at is not None) is is_ended


def test_the_houses_own_job_is_a_test() -> None:
    view = job_view(IDS, a_job(1, HOUSE))

    assert (view.type, view.node_id) == ("test", None)


class StillClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def wall_ms(self) -> int:
        return NOW_MS + int((self.now - 1_000) * 1000)

    def monotonic(self) -> float:
        return self.now


async def test_a_node_is_online_while_it_is_heard() -> None:
    clock = StillClock()
    operations = Operations(rules=RULES, clock=clock, metrics=Metrics(version="test"))
    node = a_node(4, earned=1_234_567)
    assert _seen(operations, node) == ("offline", iso(NOW_MS))

    operations.registry.connect(4, clock.now)
    clock.now += 7.25
    assert _seen(operations, node) == ("online", iso(NOW_MS))
    operations.registry.hear(4, clock.now)
    clock.now += 1
    assert _seen(operations, node) == ("online", iso(NOW_MS + 7_250))
    clock.now += OFFLINE_S
    assert _seen(operations, node) == ("offline", iso(NOW_MS + 7_250))


def _seen(operations: Operations, node: Node) -> tuple[str, str]:
    view = node_view(operations, IDS, node)
    return view.status, view.last_heartbeat


async def test_what_a_node_earned_is_an_exact_number() -> None:
    operations = Operations(rules=RULES, clock=StillClock(), metrics=Metrics(version="test"))
    inventory = Inventory(
        [Device("cpu", "a CPU", "cpu")], ["command"], sandbox=2, slots=4, window=8, remarks=["why"]
    )
    node = a_node(4, earned=1_234_567, inventory=msgspec.json.encode(inventory))
    view = node_view(operations, IDS, node)

    assert (view.sandbox, view.kinds, view.remarks) == (2, ("command",), ("why",))
    raw = msgspec.json.encode(view)
    assert b'"earned":1.234567,' in raw
    assert msgspec.json.decode(raw)["id"] == IDS.encode("node", 4)


@given(st.lists(st.tuples(st.binary(max_size=9), st.booleans()), max_size=6))
def test_small_outputs_ride_in_the_message_and_others_are_named(
    parts: list[tuple[bytes, bool]],
) -> None:
    outputs = [
        Output(7, 3, i, "uint8", (len(raw),), b"" if big else raw, b"h" * 32 * big, len(raw))
        for i, (raw, big) in enumerate(parts)
    ]

    arrays, data = output_message(outputs)

    for each, (raw, big) in zip(arrays, parts, strict=True):
        assert (each.bytes, each.sha256) == (len(raw), (b"h" * 32).hex() if big else None)
        if not big:
            assert each.offset is not None
            assert data[each.offset : each.offset + each.bytes] == raw
    assert all(isinstance(each, Array) for each in arrays)
