from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from agent.client import Agent, connect_stream
from agent.task import Outcome, OutputData, Task
from agent.uploads import UploadFailed
from agent.welcome import Unwelcome
from coordinator.limits import (
    FRAME_BYTES_MAX,
    HEARTBEAT_S,
    IDLE_S,
    RECONNECT_FIRST_S,
    RECONNECT_MAX_S,
)
from coordinator.protocol import messages as m
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.commitment import output_root
from coordinator.protocol.countersigning import Seen, check_seen
from coordinator.protocol.errors import Refusal
from coordinator.protocol.receipts import (
    Receipt,
    SignedRoot,
    build_batch,
    coordinator_text,
    node_text,
    to_wire,
)
from coordinator.protocol.signing import verify
from tests.fakes.scripted_coordinator import (
    HOUSE,
    NODE,
    STRANGER,
    WALLET,
    Host,
    host,
    job,
    outcome,
    token_for,
)
from tests.house import captured_log
from tests.kept_papers import keeper, proof, voucher
from tests.ledger_values import NOW

# ---- registration -------------------------------------------------------------------------------


async def test_the_token_is_shown_at_the_first_session_and_never_again(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        await h.start()
        first = await h.peer()
        await first.open()
        await first.break_off()
        second = await h.peer()
        await second.open()

        assert first.registers[0].token == token_for()
        assert second.registers[0].token == ""


async def test_a_restarted_agent_needs_no_token(autojump_clock: MockClock) -> None:
    async with host() as h:
        agent = await h.start()
        await (await h.peer()).open()
        await wait_all_tasks_blocked()
        await agent.drain(1.0)
        await h.start(token="")
        peer = await h.peer()

        assert (await peer.open()).attempts == []
        assert peer.registers[0].token == ""


async def test_an_agent_registers_and_beats_before_it_is_warm(autojump_clock: MockClock) -> None:
    async with host() as h:
        inventory = _wide_inventory()

        async def warm_up() -> m.Inventory:
            await trio.sleep(3 * HEARTBEAT_S)
            return inventory

        await h.start(inventory=warm_up)
        peer = await h.peer()
        await peer.challenge()
        await peer.send(m.Registered("node-1-0123456789abcdef", session_key="bearer"))
        registered_at = trio.current_time()
        for _ in range(2):
            await peer.expect(m.Heartbeat)
            await peer.send(m.Ack())
        found = await peer.expect(m.Inventory)
        resume = await peer.expect(m.Resume)
        await peer.send(m.Resumed(resume.attempts, []))
        await peer.send(m.Jobs([job("a")]))
        done = await peer.expect(m.Results)

        assert registered_at < 1
        assert found == inventory
        assert [result.status for result in done.results] == ["completed"]


async def test_a_second_session_of_a_warm_agent_is_open_at_once(autojump_clock: MockClock) -> None:
    async with host() as h:
        inventory, calls = _wide_inventory(), list[float]()

        async def warm_up() -> m.Inventory:
            calls.append(trio.current_time())
            await trio.sleep(5)
            return inventory

        await h.start(inventory=warm_up)
        first = await h.peer()
        await first.open()
        await first.break_off()
        began = trio.current_time()
        await (await h.peer()).open()

        assert len(calls) == 1
        assert trio.current_time() - began < RECONNECT_FIRST_S + 0.1


async def test_a_host_that_cannot_compute_ends_the_agent_and_says_why(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:

        async def warm_up() -> m.Inventory:
            await trio.sleep(5)
            raise Refusal("agent_error", "the driver is too old")

        agent = Agent(await h.setup(inventory=warm_up))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_register_only, h)
            with pytest.raises(Refusal, match="the driver is too old"):
                await agent.run()


async def _register_only(h: Any) -> None:
    peer = await h.peer()
    await peer.challenge()
    await peer.send(m.Registered("node-1-0123456789abcdef", session_key="bearer"))
    await peer.read_on()
    assert peer.websocket.closed.code == 1000


async def test_a_drain_before_the_host_is_warm_ends_at_once(autojump_clock: MockClock) -> None:
    async with host() as h:
        agent = Agent(await h.setup(inventory=trio.sleep_forever))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            nursery.start_soon(_register_only, h)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await agent.drain()

        assert trio.current_time() - began < 1


async def test_a_peer_that_hangs_up_in_the_handshake_is_tried_again_at_once(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        open_stream, streams = h.open_stream, list[trio.abc.Stream]()

        async def hang_up_first() -> trio.abc.Stream:
            if streams:
                return await open_stream()
            ours, theirs = trio.testing.memory_stream_pair()
            streams.append(ours)
            await theirs.send_stream.aclose()
            return ours

        await h.start(connect=connect_stream(hang_up_first))
        await (await h.peer()).open()

        assert trio.current_time() <= RECONNECT_FIRST_S
        with pytest.raises(trio.ClosedResourceError):
            await streams[0].send_all(b"x")


async def test_a_forgotten_node_key_is_introduced_again_by_the_token(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        await h.start()
        first = await h.peer()
        await first.open()
        await first.break_off()
        second = await h.peer()
        await second.challenge()
        await second.send(m.Error("who are you?", code="unauthenticated"))
        third = await h.peer()
        await third.open()

        assert second.registers[0].token == ""
        assert third.registers[0].token == token_for()


async def refused(h: Any, code: str, **changes: Any) -> Unwelcome:
    agent = Agent(await h.setup(**changes))
    caught: list[Unwelcome] = []

    async def run() -> None:
        with pytest.raises(Unwelcome) as info:
            await agent.run()
        caught.append(info.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        peer = await h.peer()
        await peer.challenge()
        await peer.send(m.Error("no", code=code))
    return caught[0]


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("token_spent", "registered another node key"),
        ("token_expired", "new token"),
        ("token_revoked", "new token"),
        ("token_wrong_node", "node key"),
        ("node_key_taken", "another wallet"),
    ],
)
async def test_a_refusal_for_good_ends_the_agent_with_its_code_and_the_fix(
    code: str, fix: str, autojump_clock: MockClock
) -> None:
    async with host() as h:
        error = await refused(h, code)

        assert error.code == code
        assert fix in str(error)
        assert len(h.opened_at) == 1


async def test_an_unknown_node_key_without_a_token_ends_the_agent(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        assert (await refused(h, "unauthenticated", token="")).code == "unauthenticated"


@pytest.mark.parametrize("code", ["busy", "draining", "rate_limited", "a_code_of_tomorrow"])
async def test_a_refusal_that_passes_is_tried_again(code: str, autojump_clock: MockClock) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.challenge()
        await peer.send(m.Error("later", code=code))

        assert (await (await h.peer()).open()).attempts == []


async def test_another_coordinators_key_than_the_pinned_one_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = await h.start()
        await (await h.peer()).open()
        await wait_all_tasks_blocked()
        await agent.drain(1.0)
        h.house = STRANGER
        agent = Agent(await h.setup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_hello, h)
            with pytest.raises(Unwelcome, match="pinned"):
                await agent.run()


async def _answer_hello(h: Any) -> None:
    peer = await h.peer()
    with pytest.raises(ConnectionClosed):
        await peer.challenge()


async def test_a_token_for_another_coordinator_is_not_shown(autojump_clock: MockClock) -> None:
    async with host(house=STRANGER) as h:
        agent = Agent(await h.setup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer_hello, h)
            with pytest.raises(Unwelcome) as info:
                await agent.run()

        assert info.value.code == "token_wrong_coordinator"


# ---- jobs and results ---------------------------------------------------------------------------


async def test_a_result_leaves_the_outbox_at_its_ack_and_not_before(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        results, data = await peer.expect_data(m.Results)
        before = ("a", 1) in agent.attempts.outbox
        await peer.ack(results)
        await wait_all_tasks_blocked()

        assert before
        assert len(agent.attempts.outbox) == 0
        assert results.results[0].status == "completed"
        assert data == bytes(8)


async def test_a_stale_ack_drops_the_result_too(autojump_clock: MockClock) -> None:
    async with host() as h:
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await peer.ack(await peer.expect(m.Results), "stale")
        await wait_all_tasks_blocked()

        assert len(agent.attempts.outbox) == 0


async def test_a_job_runs_on_while_the_link_is_lost_and_is_listed_at_the_resume(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        event = h.runner.wait("a")
        await h.start()
        first = await h.peer()
        await first.open()
        await first.send(m.Jobs([job("a"), job("b")]))
        await wait_all_tasks_blocked()
        await first.break_off()
        second = await h.peer()
        resume = await second.open()
        event.set()
        done = [r.job for r in (await second.expect(m.Results)).results]

        assert resume.attempts == [m.Attempt("a", 1), m.Attempt("b", 1)]
        assert "a" in done
        assert h.runner.begun.count(("a", 1)) == 1
        assert h.runner.cancelled == []


async def test_a_result_that_was_not_acknowledged_is_sent_again_by_the_next_process(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await peer.expect(m.Results)
        agent._stop.cancel()
        await h.start()
        again = await h.peer()
        resume = await again.open()
        results = await again.expect(m.Results)

        assert resume.attempts == [m.Attempt("a", 1)]
        assert [(r.job, r.fence) for r in results.results] == [("a", 1)]
        assert h.runner.begun == [("a", 1)]


async def test_an_attempt_that_is_not_kept_is_abandoned(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.runner.wait("a")
        await h.start()
        first = await h.peer()
        await first.open()
        await first.send(m.Jobs([job("a"), job("b")]))
        await wait_all_tasks_blocked()
        await first.break_off()
        second = await h.peer()
        await second.open(keep=False)
        await second.send(m.Jobs([job("c")]))
        results = await second.expect(m.Results)

        assert h.runner.cancelled == [("a", 1)]
        assert [r.job for r in results.results] == ["c"]
        assert h.runner.begun == [("a", 1), ("c", 1)]


async def test_a_finished_result_is_sent_even_if_its_attempt_is_abandoned(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = await h.start()
        first = await h.peer()
        await first.open()
        await first.send(m.Jobs([job("a")]))
        await first.expect(m.Results)
        await first.break_off()
        second = await h.peer()
        await second.open(keep=False)
        await second.ack(await second.expect(m.Results), "stale")
        await wait_all_tasks_blocked()

        assert len(agent.attempts.outbox) == 0


async def test_a_job_that_comes_twice_runs_once(autojump_clock: MockClock) -> None:
    async with host(slots=2) as h:
        event = h.runner.wait("a")
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a"), job("a")]))
        await wait_all_tasks_blocked()
        event.set()
        await peer.expect(m.Results)
        await peer.send(m.Jobs([job("a")]))
        await peer.send(m.Jobs([job("b")]))
        await peer.expect(m.Results)

        assert h.runner.begun == [("a", 1), ("b", 1)]


async def test_a_higher_fence_replaces_the_lower_one(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.runner.wait("a")
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a", 1)]))
        await wait_all_tasks_blocked()
        del h.runner.scripts["a"]
        await peer.send(m.Jobs([job("a", 2), job("a", 1)]))
        results = await peer.expect(m.Results)

        assert h.runner.cancelled == [("a", 1)]
        assert [(r.job, r.fence) for r in results.results] == [("a", 2)]
        assert h.runner.at_once_max == 1


async def test_a_cancelled_attempt_stops_at_once_and_sends_no_result(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.runner.wait("a")
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a"), job("b"), job("c")]))
        await wait_all_tasks_blocked()
        await peer.send(m.CancelAttempts([m.Attempt("a", 1), m.Attempt("b", 1)]))
        results = await peer.expect(m.Results)

        assert h.runner.cancelled == [("a", 1)]
        assert [r.job for r in results.results] == ["c"]


@pytest.mark.parametrize(
    ("reason", "is_sent"),
    [("cancelled", False), ("execution_timeout", False), ("lease_lost", True)],
)
async def test_a_result_that_waits_is_dropped_with_its_attempt_unless_only_the_lease_was_lost(
    reason: str, is_sent: bool, autojump_clock: MockClock
) -> None:
    async with host() as h:
        agent = await h.start()
        first = await h.peer()
        await first.open()
        await first.send(m.Jobs([job("a")]))
        await first.expect(m.Results)
        await first.break_off()
        second = await h.peer()
        resume = await second.register()
        await second.send(m.CancelAttempts([m.Attempt("a", 1)], reason))
        await second.send(m.Resumed(resume.attempts, []))
        await second.send(m.Jobs([job("b")]))
        sent = [r.job for r in (await second.expect(m.Results)).results]

        assert sent == (["a"] if is_sent else ["b"])
        assert (("a", 1) in agent.attempts.outbox) == is_sent


async def test_a_cancelled_result_that_the_disk_has_not_taken_is_dropped_too(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        append, is_full = h.disk.append, True

        def refuse(name: str, data: bytes) -> None:
            if is_full:
                raise OSError(28, "no space")
            append(name, data)

        h.disk.append = refuse  # type: ignore[method-assign]
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a"), job("b")]))
        await wait_all_tasks_blocked()
        await trio.sleep(5)
        await peer.send(m.CancelAttempts([m.Attempt("a", 1)], "cancelled"))
        await wait_all_tasks_blocked()
        is_full = False
        results = await peer.expect(m.Results)

        assert [r.job for r in results.results] == ["b"]


async def test_an_agent_that_is_superseded_ends_and_does_not_come_back(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.runner.wait("a")
        agent = Agent(await h.setup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_superseded, h)
            with pytest.raises(Unwelcome) as info:
                await agent.run()

        assert info.value.code == "superseded"
        assert h.runner.cancelled == [("a", 1)]
        assert len(h.opened_at) == 1


async def _superseded(h: Host) -> None:
    peer = await h.peer()
    await peer.open()
    await peer.send(m.Jobs([job("a"), job("b")]))
    await wait_all_tasks_blocked()
    await peer.send(m.Error("a newer connection", "superseded"))
    await peer.read_on()


async def test_no_more_jobs_run_at_once_than_there_are_slots(autojump_clock: MockClock) -> None:
    async with host(slots=3) as h:
        await h.start()
        peer = await h.peer()
        await peer.open()

        async def sleep(_task: Task, _on_log: Callable[[str], None]) -> Outcome:
            await trio.sleep(0.1)
            return outcome(8)

        names = [f"j{i}" for i in range(8)]
        h.runner.scripts = dict.fromkeys(names, sleep)
        await peer.send(m.Jobs([job(name) for name in names]))
        done: list[str] = []
        while len(done) < 8:
            done += [r.job for r in (await peer.expect(m.Results)).results]

        assert sorted(done) == names
        assert h.runner.at_once_max == 3


async def _code_of(item: m.JobItem, **scripts: Any) -> str:
    async with host() as h:
        h.runner.scripts.update(scripts)
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([item]))
        result = (await peer.expect(m.Results)).results[0]
        assert result.status == "failed"
        return result.code


def _answers(answer: Outcome) -> Any:
    async def script(_task: Task, _on_log: Callable[[str], None]) -> Outcome:
        await trio.lowlevel.checkpoint()
        return answer

    return script


async def _raise(_task: Task, _on_log: Callable[[str], None]) -> Outcome:
    await trio.lowlevel.checkpoint()
    msg = "the driver \x00 crashed \ud800"
    raise RuntimeError(msg)


@pytest.mark.parametrize(
    ("item", "script", "code"),
    [
        (job("a", kind="ray"), None, "unknown_kind"),
        (m.JobItem("a", 1, msgspec.Raw(b'{"kind":7}'), 1), None, "bad_spec"),
        (job("a"), _raise, "agent_error"),
        (job("a"), _answers(Outcome("done")), "agent_error"),
        (job("a"), _answers(Outcome("failed", code="whim")), "agent_error"),
        (job("a"), _answers(outcome(*[1] * 17)), "agent_error"),
        (job("a", output_bytes=8), _answers(outcome(9)), "output_too_large"),
        (job("a"), _answers(Outcome("failed", code="out_of_memory")), "out_of_memory"),
    ],
    ids=["kind", "spec", "raise", "status", "code", "outputs", "bytes", "failed"],
)
async def test_what_cannot_be_run_is_a_failed_result(
    item: m.JobItem, script: Any, code: str, autojump_clock: MockClock
) -> None:
    assert await _code_of(item, **({"a": script} if script else {})) == code


async def test_a_job_that_runs_too_long_is_ended(autojump_clock: MockClock) -> None:
    async def forever(_task: Task, _on_log: Callable[[str], None]) -> Outcome:
        await trio.sleep_forever()
        raise AssertionError

    item = msgspec.structs.replace(job("a"), execution_s=2)
    assert await _code_of(item, a=forever) == "execution_timeout"


async def test_a_command_is_given_back_when_no_slot_is_idle(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.runner.wait("a")
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await wait_all_tasks_blocked()
        await peer.send(m.Jobs([job("x", kind="command")]))
        first = (await peer.expect(m.Results)).results
        await peer.send(m.CancelAttempts([m.Attempt("a", 1)]))
        await wait_all_tasks_blocked()
        await peer.send(m.Jobs([job("y", kind="command")]))
        second = (await peer.expect(m.Results)).results

        assert [(r.job, r.code) for r in first] == [("x", "abandoned")]
        assert [(r.job, r.status) for r in second] == [("y", "completed")]


async def test_progress_is_told_after_a_second_and_logs_with_it(autojump_clock: MockClock) -> None:
    async with host() as h:

        async def talk(_task: Task, on_log: Callable[[str], None]) -> Outcome:
            await trio.sleep(3)
            on_log("half\x00 way \ud800")
            await trio.sleep(3)
            return outcome(8)

        h.runner.scripts["a"] = talk
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        began = trio.current_time()
        started = await peer.expect(m.Progress)
        after_s = trio.current_time() - began
        log = await peer.expect(m.Progress)

        assert started.attempts == [m.ProgressItem("a", 1)]
        assert 1.0 <= after_s <= 2.0
        assert log.attempts == [m.ProgressItem("a", 1, log="half\ufffd way ?")]


async def test_progress_is_told_once_it_is_known_that_the_job_runs(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:

        async def move(task: Task, _on_log: Callable[[str], None]) -> Outcome:
            for step in range(1, 5):
                await trio.sleep(0.7)
                h.runner.tell[task.job](step / 4)
            return outcome(8)

        h.runner.scripts["a"] = move
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        told: list[float | None] = []
        while not told or (told[-1] or 0) < 0.75:
            told += [item.progress for item in (await peer.expect(m.Progress)).attempts]
        result = (await peer.expect(m.Results)).results[0]

        assert told == [0.25, 0.5, 0.75]
        assert result.status == "completed"


async def test_a_job_that_a_limit_ended_has_its_log_in_its_result(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:

        async def until_its_time(task: Task, _on_log: Callable[[str], None]) -> Outcome:
            await trio.sleep(task.execution_s + 0.1)
            log = OutputData("uint8", (5,), b"begun")
            root = output_root([log.data])
            return Outcome("failed", "execution_timeout", "ended after 2 s", (log,), root)

        h.runner.scripts["a"] = until_its_time
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([msgspec.structs.replace(job("a", kind="command"), execution_s=2)]))
        results, data = await peer.expect_data(m.Results)
        (result,) = results.results

        assert (result.status, result.code) == ("failed", "execution_timeout")
        assert result.detail == "ended after 2 s"
        assert [array.bytes for array in result.outputs] == [5]
        assert (data, result.root) == (b"begun", output_root([b"begun"]).hex())


async def test_a_full_disk_delays_a_result_and_loses_none(autojump_clock: MockClock) -> None:
    async with host() as h:
        append, refusals = h.disk.append, [OSError(28, "no space")] * 3

        def fail_first(name: str, data: bytes) -> None:
            if refusals:
                raise refusals.pop()
            append(name, data)

        h.disk.append = fail_first  # type: ignore[method-assign]
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a"), job("b")]))
        done: list[str] = []
        while len(done) < 2:
            done += [r.job for r in (await peer.expect(m.Results)).results]

        assert sorted(done) == ["a", "b"]
        assert refusals == []


# ---- large outputs and frames -------------------------------------------------------------------


async def test_a_large_array_is_uploaded_before_its_result_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.runner.scripts["a"] = _answers(outcome(5000, 16))
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        results, data = await peer.expect_data(m.Results)
        large, small = results.results[0].outputs
        uploaded = h.uploader.blobs[large.sha256 or ""]
        await peer.ack(results)
        await wait_all_tasks_blocked()

        assert uploaded == bytes(5000)
        assert h.uploader.bearers == {"bearer"}
        assert (small.offset, small.bytes, data) == (0, 16, bytes(16))
        assert len(agent.attempts.outbox) == 0
        assert not [name for name in h.disk.files if name.startswith("blob-")]


async def test_an_upload_that_fails_is_tried_again(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.uploader.answers = [UploadFailed("reset"), Refusal("busy"), UploadFailed("reset")]
        h.runner.scripts["a"] = _answers(outcome(5000))
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))

        assert (await peer.expect(m.Results)).results[0].status == "completed"


async def test_an_output_that_the_coordinator_refuses_makes_a_failed_result(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.uploader.answers = [Refusal("quota")]
        h.runner.scripts["a"] = _answers(outcome(5000))
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        result = (await peer.expect(m.Results)).results[0]

        assert (result.status, result.code, result.outputs) == ("failed", "quota", [])


async def test_a_full_outbox_after_an_outage_is_sent_in_frames_within_the_limit(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.is_down = True
        agent = await h.start(inventory=_wide_inventory())
        for number in range(100):
            h.runner.scripts[f"j{number}"] = _answers(outcome(*[4096] * 6))
            agent.attempts.take(job(f"j{number}"))
        await wait_all_tasks_blocked()
        h.is_down = False
        peer = await h.peer()
        await peer.open()
        done: list[str] = []
        while len(done) < 100:
            results, data = await peer.expect_data(m.Results)
            assert all(
                (array.offset or 0) + array.bytes <= len(data)
                for result in results.results
                for array in result.outputs
            )
            done += [result.job for result in results.results]

        assert sorted(done) == sorted(h.runner.scripts)
        assert FRAME_BYTES_MAX // 2 < max(peer.frames) <= FRAME_BYTES_MAX


def _wide_inventory() -> m.Inventory:
    return m.Inventory([m.Device("cpu", "a processor", "cpu")], ["matmul"], 1, slots=1, window=200)


# ---- the link -----------------------------------------------------------------------------------


async def test_heartbeats_keep_a_silent_session_for_an_hour(autojump_clock: MockClock) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        with trio.move_on_after(3000):
            await peer.read_on()

        assert len(h.opened_at) == 1
        assert len(peer.frames) >= 3000 / HEARTBEAT_S - 1


async def test_a_coordinator_that_falls_silent_is_left(autojump_clock: MockClock) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        peer.is_mute = True
        h.nursery.start_soon(peer.read_on)
        began = trio.current_time()
        await h.peer()

        assert IDLE_S <= trio.current_time() - began <= IDLE_S + RECONNECT_FIRST_S + 5


async def test_a_peer_that_breaks_the_wire_is_left_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.websocket.send_message('{"type":"jobs","jobs":7}')

        assert (await (await h.peer()).open()).attempts == []


async def test_an_unreachable_coordinator_is_tried_for_ever_with_longer_waits(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.is_down = True
        await h.start()
        await trio.sleep(600)
        waits = [b - a for a, b in zip(h.opened_at, h.opened_at[1:], strict=False)]
        h.is_down = False

        assert len(waits) >= 600 / RECONNECT_MAX_S
        assert max(waits[:1]) <= RECONNECT_FIRST_S
        assert max(waits) <= RECONNECT_MAX_S
        assert (await (await h.peer()).open()).attempts == []


async def test_a_coordinator_that_stays_away_is_told_once_in_the_systems_words(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        with captured_log() as log:
            h.is_down = True
            agent = await h.start()
            await trio.sleep(250)
            away = [line for line in log.lines() if line["event"] == "disconnected"]
            await trio.sleep(250)
            later = [line for line in log.lines() if line["event"] == "disconnected"]
            offline = agent.link
            h.is_down = False
            await (await h.peer()).open()

        assert len(h.opened_at) > 15
        assert [line["reason"] for line in away] == ["unreachable: connection refused"]
        assert len(later) == 2
        assert (offline.state, offline.reason) == ("offline", "unreachable: connection refused")
        assert agent.link.state == "online"


async def test_a_revoked_node_registers_anew_and_is_told_there_that_it_may_not(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        agent = Agent(await h.setup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_revoke, h)
            with pytest.raises(Unwelcome) as info:
                await agent.run()

        assert info.value.code == "token_revoked"
        assert len(h.opened_at) == 3


async def _revoke(h: Any) -> None:
    peer = await h.peer()
    await peer.open()
    await peer.send(m.Error("revoked", code="token_revoked"))
    for _without_and_with_token in range(2):
        again = await h.peer()
        await again.challenge()
        await again.send(m.Error("revoked", code="token_revoked"))


async def test_a_complaint_does_not_end_the_session(autojump_clock: MockClock) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Error("that was no good", code="malformed"))
        await peer.send(m.Jobs([job("a")]))

        assert [r.job for r in (await peer.expect(m.Results)).results] == ["a"]


# ---- drain --------------------------------------------------------------------------------------


async def test_a_drain_says_first_that_nothing_new_is_taken(autojump_clock: MockClock) -> None:
    """So that nothing more is matched to this host: each match would be an attempt lost."""
    async with host() as h:
        event = h.runner.wait("a")
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await wait_all_tasks_blocked()
        h.nursery.start_soon(agent.drain)
        quiet = await peer.expect(m.Inventory)
        event.set()
        await peer.ack(await peer.expect(m.Results))
        await peer.read_on()

        assert quiet.kinds == []
        assert quiet.devices == (await agent.attempts.inventory()).devices


async def test_a_session_that_opens_during_a_drain_begins_quiet(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.runner.wait("a")
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await wait_all_tasks_blocked()
        h.nursery.start_soon(agent.drain)
        await peer.expect(m.Inventory)
        await peer.websocket.aclose()
        again = await h.peer()
        resume = await again.open()

        assert [attempt.job for attempt in resume.attempts] == ["a"]
        assert again.inventories[-1].kinds == []


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        event = h.runner.wait("a")
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a"), job("b")]))
        await wait_all_tasks_blocked()
        h.nursery.start_soon(agent.drain)
        await peer.expect(m.Inventory)
        given_back = await peer.expect(m.Results)
        await peer.ack(given_back)
        await peer.send(m.Jobs([job("c")]))
        refused_job = await peer.expect(m.Results)
        await peer.ack(refused_job)
        event.set()
        finished = await peer.expect(m.Results)
        await peer.ack(finished)
        await peer.read_on()

        assert [(r.job, r.code) for r in given_back.results] == [("b", "abandoned")]
        assert [(r.job, r.code) for r in refused_job.results] == [("c", "abandoned")]
        assert [(r.job, r.status) for r in finished.results] == [("a", "completed")]
        assert peer.websocket.closed.code == 1000
        assert len(h.opened_at) == 1


async def test_a_drain_gives_back_what_does_not_end_in_time(autojump_clock: MockClock) -> None:
    async with host() as h:
        h.runner.wait("a")
        agent = await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Jobs([job("a")]))
        await wait_all_tasks_blocked()
        h.nursery.start_soon(agent.drain)
        await peer.expect(m.Inventory)
        results = await peer.expect(m.Results)
        await peer.ack(results)
        await peer.read_on()

        assert [(r.job, r.code) for r in results.results] == [("a", "abandoned")]
        assert h.runner.cancelled == [("a", 1)]


async def test_a_drain_without_a_coordinator_ends_and_keeps_the_results(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        h.is_down = True
        agent = Agent(await h.setup())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run)
            await wait_all_tasks_blocked()
            agent.attempts.take(job("a"))
            await wait_all_tasks_blocked()
            await agent.drain(5.0)
        again = Agent(await h.setup())

        assert ("a", 1) in again.attempts.outbox


# ---- receipts -----------------------------------------------------------------------------------


def batch_for(node_key: bytes, house: Any = HOUSE, number: int = 3) -> m.ReceiptBatch:
    receipt = Receipt(
        job=7,
        fence=1,
        coordinator_key=house.address,
        node_key=node_key,
        wallet=WALLET.address,
        submitter=STRANGER.address,
        spec_hash=bytes(32),
        input_root=bytes(32),
        output_root=bytes(32),
        policy="sample",
        verdict="accepted",
        paid=90,
        fee=10,
        cumulative=90,
        time_ms=1,
    ).pack()
    root, _levels = build_batch([receipt])
    signature = house.sign(coordinator_text(house.address, number, 1, root))
    return to_wire(SignedRoot(house.address, number, 1, root, signature), [receipt], [0])


async def test_a_receipt_is_on_disk_before_it_is_counter_signed(autojump_clock: MockClock) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        batch = batch_for(NODE.address)
        await peer.send(m.Receipts([batch]))
        signed = await peer.expect(m.ReceiptsSigned)
        text = node_text(HOUSE.address, 3, 1, bytes.fromhex(batch.root))

        verify(NODE.address, text, decode_base64url(signed.signature))
        assert batch.receipts[0].receipt.encode() in h.disk.files["receipts.jsonl"]


async def test_a_message_of_receipts_is_counter_signed_at_once_or_one_by_one(
    autojump_clock: MockClock,
) -> None:
    batches = [batch_for(NODE.address, number=number) for number in (3, 4, 5)]
    batches.insert(1, batch_for(STRANGER.address, number=9))
    seen = [Seen(each.batch, each.count, bytes.fromhex(each.root)) for each in batches]
    del seen[1]
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Receipts(batches, together=True))
        signed = await peer.expect(m.ReceiptsSigned)
        assert (signed.batch, signed.others) == (3, [4, 5])
        check_seen(NODE.address, HOUSE.address, seen, decode_base64url(signed.signature))

        # An older coordinator does not know of it.
        await peer.send(m.Receipts(batches))
        for each in seen:
            signed = await peer.expect(m.ReceiptsSigned)
            assert (signed.batch, signed.others) == (each.batch, [])
            check_seen(NODE.address, HOUSE.address, [each], decode_base64url(signed.signature))


async def test_what_it_counter_signed_is_on_disk_beside_the_receipts(
    autojump_clock: MockClock,
) -> None:
    batches = [batch_for(NODE.address, number=number) for number in (3, 4)]
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Receipts(batches, together=True))
        signed = await peer.expect(m.ReceiptsSigned)

        *receipts, last = h.disk.files["receipts.jsonl"].split()
        assert [msgspec.json.decode(each, type=m.ReceiptBatch) for each in receipts] == batches
        assert msgspec.json.decode(last, type=m.ReceiptsSigned) == signed


async def test_papers_are_kept_and_the_next_resume_says_which(autojump_clock: MockClock) -> None:
    async with host() as h:
        papers = await keeper(h.disk)
        await h.start(papers=papers)
        first = await h.peer()
        assert (await first.open()).papers == m.PapersKept()
        await first.send(m.Papers(proof(3, 500), voucher(600)))
        await first.send(m.Papers(proof(4, 499)))
        await first.send(m.Receipts([batch_for(NODE.address)]))
        await first.expect(m.ReceiptsSigned)
        await first.break_off()
        second = await h.peer()

        assert (await second.open()).papers == m.PapersKept(3, "0.0006", NOW + 60)
        assert papers.refused == {"proof_below": 1}


async def test_an_agent_without_a_keeper_says_so_and_is_none_the_worse_for_papers(
    autojump_clock: MockClock,
) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        assert (await peer.open()).papers is None
        await peer.send(m.Papers(proof()))
        await peer.send(m.Receipts([batch_for(NODE.address)]))
        await peer.expect(m.ReceiptsSigned)


@pytest.mark.parametrize(
    "batch",
    [batch_for(STRANGER.address), batch_for(NODE.address, STRANGER)],
    ids=["another node", "another coordinator"],
)
async def test_a_receipt_that_does_not_hold_is_neither_kept_nor_signed(
    batch: m.ReceiptBatch, autojump_clock: MockClock
) -> None:
    async with host() as h:
        await h.start()
        peer = await h.peer()
        await peer.open()
        await peer.send(m.Receipts([batch]))
        await peer.send(m.Receipts([batch_for(NODE.address)]))
        await peer.expect(m.ReceiptsSigned)

        assert h.disk.files["receipts.jsonl"].count(b'"receipts":') == 1
