"""The submitter's client against a scripted coordinator, over real sockets of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

import hypernode as hn
from coordinator import views
from coordinator.limits import EXECUTION_S_MAX
from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode
from coordinator.protocol.errors import CODES
from coordinator.protocol.signing import from_seed, save_keypair
from coordinator.protocol.spec import Limits, decode_spec
from hypernode import answers, client as client_module
from hypernode.errors import error_of
from hypernode.inbox import WROTE_AND_FAILED
from hypernode.submission import amount_text, batches, spec_bytes, submissions
from hypernode.wallet_file import NoWallet, default_wallet_path, wallet_of
from hypernode.web import http_url, socket_url
from tests.scripted import (
    COORDINATOR,
    WALLET,
    OnMessage,
    Peer,
    Scripted,
    accepted,
    instantly,
    output_of,
    serving,
)

NUMBERS = np.arange(6.0).reshape(2, 3)


def client_of(script: Scripted, **options: Any) -> hn.AsyncClient:
    return hn.AsyncClient(script.url, WALLET, **{"patience_s": 2.0, "timeout_s": 2.0, **options})


def ending(*updates: tuple[str, str]) -> OnMessage:
    """A script whose jobs go through these states (with codes)."""

    async def script(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            for state, code in updates:
                await peer.send(m.Update([m.JobUpdate("job-1", state, code, "why")]))

    return script


# ---- results ----------------------------------------------------------------------------------


async def test_a_result_is_the_array_that_was_computed_with_its_receipt() -> None:
    async with serving(Scripted(instantly(array=NUMBERS))) as script, client_of(script) as client:
        job = await client.submit("montecarlo", paths=10, budget="0.02")
        result = await job.result()

    assert job.state == "completed"
    assert (result.output == NUMBERS).all()
    assert result.receipt is not None
    assert (result.receipt.verdict, result.paid) == ("accepted", "0.001")
    submitted = next(message for message in script.messages if isinstance(message, m.Submit))
    assert bytes(submitted.jobs[0].spec) == b'{"kind":"montecarlo","params":{"paths":10}}'


async def test_a_large_array_is_fetched_by_its_hash() -> None:
    array = np.arange(10_000, dtype=np.float32)

    async def answer(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.send(*output_of("job-1", array, blobs=True))

    output, _ = output_of("job-1", array, blobs=True)
    path = f"/api/blobs/{output.outputs[0].sha256}"
    async with serving(Scripted(answer)) as script, client_of(script) as client:
        script.routes["GET", path] = [(200, array.tobytes())]
        job = await client.submit("x", budget=1)

        assert ((await job.result()).output == array).all()

        script.routes["GET", path] = [(200, array[::-1].tobytes())]
        with pytest.raises(hn.HypernodeError, match="blob_mismatch"):
            await job.result()


@pytest.mark.parametrize("fault", ["another signer", "other outputs"])
async def test_a_receipt_that_does_not_hold_is_refused(fault: str) -> None:
    async def answer(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            signer = from_seed(bytes(32)) if fault == "another signer" else COORDINATOR
            output, data = output_of("job-1", NUMBERS, signer=signer)
            if fault == "other outputs":
                data = bytes(len(data))
            await peer.send(accepted(message))
            await peer.send(output, data)

    async with serving(Scripted(answer)) as script, client_of(script) as client:
        job = await client.submit("x", budget="1")
        with pytest.raises(hn.BadReceipt):
            await job.result()


@pytest.mark.parametrize(
    ("state", "code", "kind"),
    [
        ("failed", "rejected", hn.Rejected),
        ("failed", "lease_lost", hn.JobFailed),
        ("failed", "code_of_a_newer_version", hn.JobFailed),
        ("cancelled", "", hn.JobCancelled),
        ("cancelled", "queue_timeout", hn.JobFailed),
    ],
)
async def test_a_job_without_result_raises_why(
    state: str, code: str, kind: type[Exception]
) -> None:
    script = Scripted(ending(("running", ""), (state, code)))
    async with serving(script), client_of(script) as client:
        job = await client.submit("x", budget="1")

        with pytest.raises(kind, match="why"):
            await job.result()
        assert await job.wait() == state


async def test_waiting_ends_in_time_and_the_job_goes_on() -> None:
    async with serving(Scripted(ending(("running", "")))) as script, client_of(script) as client:
        job = await client.submit("x", budget="1")
        with pytest.raises(hn.Timeout, match="it goes on"):
            await job.result(timeout_s=0.05)

    assert job.state == "running"


@pytest.mark.slow
async def test_a_result_that_does_not_come_by_itself_is_fetched() -> None:
    script = Scripted(ending(("completed", "")))
    frame = encode(*output_of("job-1", NUMBERS))
    script.routes["GET", "/api/jobs/job-1/result"] = [(200, frame)]
    async with serving(script), client_of(script) as client:
        job = await client.submit("x", budget="1")

        assert ((await job.result()).output == NUMBERS).all()


@pytest.mark.parametrize("code", sorted(WROTE_AND_FAILED))
@pytest.mark.parametrize("way", ["told", "fetched", "nothing kept"])
async def test_a_failed_command_gives_its_log_where_there_is_one(
    code: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LOG_GRACE_S", 0.02)
    log = np.frombuffer(b"what it wrote", dtype=np.uint8)

    async def fail(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.send(m.Update([m.JobUpdate("job-1", "failed", code, "why")]))
            if way == "told":
                await peer.send(*output_of("job-1", log))

    script = Scripted(fail)
    refusal = 409, {"error": "nothing was kept", "code": "not_finished"}
    fetched = 200, encode(*output_of("job-1", log))
    script.routes["GET", "/api/jobs/job-1/result"] = [fetched if way == "fetched" else refusal]
    async with serving(script), client_of(script) as client:
        job = await client.submit("command", command="false", budget="1")
        with pytest.raises(hn.JobFailed) as caught:
            await job.result()

    assert (caught.value.code, job.state) == (code, "failed")
    assert caught.value.log == ("" if way == "nothing kept" else "what it wrote")


async def test_a_session_is_closed_when_the_client_is() -> None:
    account = {"wallet": "w", "credit": "1", "held": "0"}
    script = Scripted(routes={("GET", "/api/account"): [(200, account)]})
    async with serving(script):
        async with client_of(script) as client:
            await client.account()
        async with client_of(script):
            pass  # nothing was asked: there is no session to close

    assert script.requests.count(("DELETE", "/api/session")) == 1


def test_without_a_named_wallet_the_one_of_the_command_line_is_meant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HYPERNODE_KEYPAIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert wallet_of(None) is None

    (tmp_path / "hypernode").mkdir()
    save_keypair(default_wallet_path(), WALLET)
    found = wallet_of(None)
    assert found is not None
    assert found.address == WALLET.address

    monkeypatch.setenv("HYPERNODE_KEYPAIR", str(tmp_path / "nothing.json"))
    with pytest.raises(NoWallet, match="hypernode wallet new"):
        wallet_of(None)


def test_a_result_is_shown_in_one_short_line() -> None:
    text = repr(hn.Result("job-1", (np.zeros((1000, 1000)),)))

    assert text == "Result(job-1: float64(1000, 1000))"


async def test_a_job_submitted_elsewhere_is_found_by_its_id() -> None:
    async def answer(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Watch):
            for job in message.ids:
                await peer.send(*output_of(job, NUMBERS))

    async with serving(Scripted(answer)) as script, client_of(script) as client:
        result = await client.result("job-elsewhere")

    assert (result.output == NUMBERS).all()


async def test_a_job_that_is_unknown_is_not_waited_for() -> None:
    async def refuse(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Watch):
            await peer.send(m.Error("There is no such thing.", "not_found", message.ref))

    async with serving(Scripted(refuse)) as script, client_of(script) as client:
        with pytest.raises(hn.NotFound):
            await client.result("job-unknown")


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("over_budget", hn.OverBudget),
        ("insufficient_credit", hn.InsufficientCredit),
        ("key_conflict", hn.KeyConflict),
        ("bad_spec", hn.BadSpec),
        ("unknown_kind", hn.UnknownKind),
        ("too_many_open_jobs", hn.RateLimited),
        ("busy", hn.Busy),
        ("code_of_a_newer_version", hn.HypernodeError),
    ],
)
async def test_a_refused_submission_raises_its_named_error(
    code: str, kind: type[Exception]
) -> None:
    async def refuse(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            answers = [m.SubmissionAnswer(job.key, code=code, error="no") for job in message.jobs]
            await peer.send(m.Submitted(answers, message.ref))

    async with serving(Scripted(refuse)) as script, client_of(script) as client:
        with pytest.raises(kind, match="no"):
            await client.submit("x", budget="1")


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_an_exception_that_keeps_it(code: str) -> None:
    assert error_of(code, "sentence").code == code


async def test_without_a_wallet_only_public_things_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HYPERNODE_KEYPAIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    price = {"kind": "x", "price": "0.5", "flop": 10}
    script = Scripted(routes={("POST", "/api/quotes"): [(200, [price])]})
    async with serving(script), hn.AsyncClient(script.url) as client:
        assert (await client.quote("x", a=1)).price == "0.5"
        with pytest.raises(hn.Unauthenticated, match="wallet"):
            await client.submit("x", budget="1")


@pytest.mark.parametrize("budget", [0.02, True])
def test_a_budget_that_is_a_float_is_refused(budget: Any) -> None:
    with pytest.raises(TypeError, match="float"):
        amount_text(budget)


@pytest.mark.parametrize("budget", ["1e-3", "-1", "0.0000001", ""])
def test_a_budget_that_is_no_amount_is_refused(budget: str) -> None:
    with pytest.raises(hn.BadSpec):
        amount_text(budget)


@pytest.mark.parametrize("value", [object(), 1j, NUMBERS.astype(complex)])
def test_a_parameter_that_is_no_plain_value_is_refused(value: object) -> None:
    with pytest.raises(hn.BadSpec):
        spec_bytes("x", {"a": value})


def test_timeouts_are_limits_and_stand_above_them() -> None:
    limits = Limits(execution_s=7, memory_mb=64)
    raw = spec_bytes("x", {}, limits=limits, timeout_s=60, queue_timeout_s=90, total_timeout_s=120)

    asked = decode_spec(raw).limits
    assert asked == Limits(execution_s=60, queue_s=90, total_s=120, memory_mb=64)
    # What was not asked for is not in the bytes: the same job has the same hash.
    assert b"limits" not in spec_bytes("x", {}, timeout_s=None)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"timeout_s": 0}, "execution_s"),
        ({"timeout_s": EXECUTION_S_MAX + 1}, "execution_s"),
        ({"queue_timeout_s": -1}, "queue_s"),
        ({"total_timeout_s": 2**60}, "total_s"),
        ({"retries": 10}, "retries"),
    ],
)
def test_a_limit_out_of_its_range_is_refused_by_name_before_it_is_sent(
    options: Any, field: str
) -> None:
    with pytest.raises(hn.BadSpec, match=field):
        spec_bytes("x", {}, **options)


def test_a_specification_takes_numpy_numbers() -> None:
    spec = spec_bytes("x", {"a": np.int32(3), "b": np.array([1.5, 2.0])})

    assert spec == b'{"kind":"x","params":{"a":3,"b":[1.5,2.0]}}'


def test_jobs_are_split_into_messages_that_fit_a_frame() -> None:
    spec = spec_bytes("x", {"a": "y" * 60_000})
    jobs = submissions([spec] * 40, "1", [str(number) for number in range(40)])
    parts = list(batches(jobs))

    assert [job for part in parts for job in part] == jobs
    for part in parts:
        encode(m.Submit(part))


# ---- who asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "twist",
    [
        lambda challenge: challenge.update(message="transfer everything"),
        lambda challenge: challenge["fields"].update(domain="other.example"),
        lambda challenge: challenge["fields"].update(statement="Give all my money away."),
        lambda challenge: challenge.update(nonce="another1"),
    ],
    ids=["another text", "another domain", "another permission", "another nonce"],
)
async def test_nothing_is_signed_but_what_was_asked_for(twist: Any) -> None:
    async with serving(Scripted(twist=twist)) as script, client_of(script) as client:
        with pytest.raises(hn.HypernodeError):
            await client.account()

    assert ("POST", "/api/session") not in script.requests


async def test_an_expired_session_is_opened_anew() -> None:
    account = {"wallet": "w", "credit": "1", "held": "0"}
    async with serving(Scripted(instantly())) as script, client_of(script) as client:
        script.routes["GET", "/api/account"] = [
            (401, {"error": "expired", "code": "session_expired"}),
            (200, account),
        ]
        assert (await client.account()).credit == "1"
        script.bearers.clear()
        await (await client.submit("x", budget="1")).result()

    assert script.requests.count(("POST", "/api/session")) == 3


async def test_a_call_waits_when_it_is_asked_to() -> None:
    account = {"wallet": "w", "credit": "1", "held": "0"}
    script = Scripted()
    script.routes["GET", "/api/account"] = [
        (429, {"error": "slowly", "code": "rate_limited"}),
        (200, account),
    ]
    async with serving(script), client_of(script) as client:
        assert (await client.account()).credit == "1"


# ---- lost connections -------------------------------------------------------------------------


async def test_a_submission_that_a_draining_coordinator_refuses_is_sent_again() -> None:
    """A restart is no submitter's error: the coordinator says goodbye, and is asked anew."""

    async def drain_once(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            if script.count(m.Submit) == 1:
                await peer.send(m.Error("about to stop", "draining", message.ref))
                await peer.drop()
            else:
                await peer.send(accepted(message))
                await peer.send(*output_of("job-1", NUMBERS))

    script = Scripted(drain_once)
    async with serving(script), client_of(script) as client:
        await (await client.submit("x", budget="1")).result()

    first, second = (message for message in script.messages if isinstance(message, m.Submit))
    assert first == second, "the same keys: it is the same submission"


async def test_a_submission_whose_answer_was_lost_is_sent_again_byte_for_byte() -> None:
    async def drop_once(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            if script.count(m.Submit) == 1:
                await peer.drop()
            else:
                await peer.send(accepted(message))
                await peer.send(*output_of("job-1", NUMBERS))

    script = Scripted(drop_once)
    async with serving(script), client_of(script) as client:
        await (await client.submit("x", budget="1")).result()

    first, second = (message for message in script.messages if isinstance(message, m.Submit))
    assert first == second


async def test_open_jobs_are_watched_again_on_a_new_connection() -> None:
    async def drop_then_deliver(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.drop()
        elif isinstance(message, m.Watch):
            assert message.ids == ["job-1"]
            await peer.send(*output_of("job-1", NUMBERS))

    async with serving(Scripted(drop_then_deliver)) as script, client_of(script) as client:
        job = await client.submit("x", budget="1")

        assert ((await job.result()).output == NUMBERS).all()


async def test_a_coordinator_that_is_not_there_is_unreachable_at_once() -> None:
    async with hn.AsyncClient("http://127.0.0.1:9", WALLET) as client:
        with trio.fail_after(1), pytest.raises(hn.Unreachable):
            await client.submit("x", budget="1")


async def test_patience_ends_for_every_waiting_call() -> None:
    async def leave(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            script.is_gone = True
            await peer.drop()

    script = Scripted(leave)
    async with serving(script), client_of(script, patience_s=0.15) as client:
        job = await client.submit("x", budget="1")
        with pytest.raises(hn.Unreachable):
            await job.result()


async def test_a_job_can_be_waited_for_again_after_patience_ended() -> None:
    async def leave(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            script.is_gone = True
            await peer.drop()
        elif isinstance(message, m.Watch):
            await peer.send(*output_of(message.ids[0], NUMBERS))

    script = Scripted(leave)
    async with serving(script), client_of(script, patience_s=0.05) as client:
        job = await client.submit("x", budget="1")
        with pytest.raises(hn.Unreachable):
            await job.result()
        script.is_gone = False

        assert ((await job.result()).output == NUMBERS).all()


# ---- many -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [True, False])
async def test_map_gives_every_result_and_keeps_few_jobs_open(order: bool) -> None:
    many = ({"a": number} for number in range(50))
    async with serving(Scripted(instantly())) as script, client_of(script) as client:
        stream = client.map("x", many, budget="1", order=order, max_in_flight=8)
        values = [int(result.output[0]) async for result in stream]

    assert (values if order else sorted(values)) == list(range(1, 51))
    parts = [len(message.jobs) for message in script.messages if isinstance(message, m.Submit)]
    assert max(parts) <= 8


async def test_map_yields_unordered_results_as_they_come() -> None:
    async def backwards(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            answer = accepted(message)
            await peer.send(answer)
            for number, item in reversed(list(enumerate(answer.jobs))):
                await peer.send(*output_of(item.id, np.array([number])))

    many = [{"a": number} for number in range(4)]
    async with serving(Scripted(backwards)) as script, client_of(script) as client:
        stream = client.map("x", many, budget="1", order=False)
        values = [int(result.output[0]) async for result in stream]

    assert values == [3, 2, 1, 0]


@pytest.mark.parametrize("errors", ["raise", "return"])
async def test_map_raises_or_returns_what_failed(errors: Any) -> None:
    async def odd_ones_fail(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.send(m.Update([m.JobUpdate("job-2", "failed", "rejected", "wrong")]))
            for job in ("job-1", "job-3"):
                await peer.send(*output_of(job, NUMBERS))
        elif isinstance(message, m.Cancel):
            states = [m.JobUpdate(job, "completed", "too_late") for job in message.ids]
            await peer.send(m.Cancelled(states, message.ref))

    got: list[Any] = []
    async with serving(Scripted(odd_ones_fail)) as script, client_of(script) as client:
        try:
            async for result in client.map("x", [{}] * 3, budget="1", errors=errors):
                got.append(result)  # noqa: PERF401 (what came before the error counts)
        except hn.Rejected:
            got.append("raised")

    expected = ["raised"] if errors == "raise" else [hn.Rejected, hn.Result]
    assert [item if item == "raised" else type(item) for item in got[1:]] == expected


async def test_whoever_stops_a_map_early_cancels_what_is_open() -> None:
    async def never_finish(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.send(*output_of("job-1", NUMBERS))
        elif isinstance(message, m.Cancel):
            cancelled.extend(message.ids)
            states = [m.JobUpdate(job, "cancelled") for job in message.ids]
            await peer.send(m.Cancelled(states, message.ref))

    cancelled: list[str] = []
    async with serving(Scripted(never_finish)) as script, client_of(script) as client:
        stream = client.map("x", [{}] * 4, budget="1")
        await anext(stream)
        await stream.aclose()

    assert sorted(cancelled) == ["job-2", "job-3", "job-4"]


async def test_cancelling_a_job_that_ended_is_too_late() -> None:
    async def refuse(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
        elif isinstance(message, m.Cancel):
            states = [m.JobUpdate(job, "", "too_late", "it ended") for job in message.ids]
            await peer.send(m.Cancelled(states, message.ref))

    async with serving(Scripted(refuse)) as script, client_of(script) as client:
        job = await client.submit("x", budget="1")
        with pytest.raises(hn.TooLate, match="it ended"):
            await job.cancel()


async def test_an_error_of_the_body_is_not_wrapped_in_a_group() -> None:
    async with serving(Scripted()) as script:
        with pytest.raises(KeyError):
            async with client_of(script):
                raise KeyError


# ---- blocking ---------------------------------------------------------------------------------


async def test_the_blocking_client_works_from_any_thread() -> None:
    def use(url: str) -> list[int]:
        with hn.Client(url, WALLET) as client:
            job = client.submit("x", budget="1")
            values = [int(job.result().output[0])]
            stream = client.map("x", [{}] * 3, budget="1")
            return values + [int(result.output[0]) for result in stream]

    async with serving(Scripted(instantly())) as script:
        values = await trio.to_thread.run_sync(use, script.url)

    assert values == [1, 2, 3, 4]


async def test_the_blocking_client_raises_the_same_errors_and_opens_again_after_close() -> None:
    def use(url: str) -> None:
        client = hn.Client(url, WALLET)
        for _ in range(2):
            with pytest.raises(hn.NotFound):
                client.job("job-unknown")
            client.close()

    async with serving(Scripted()) as script:
        await trio.to_thread.run_sync(use, script.url)


# ---- agreement with the coordinator -----------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "http", "socket"),
    [
        ("http://h:1", "http://h:1", "ws://h:1/ws"),
        ("https://h/", "https://h", "wss://h/ws"),
        ("wss://h", "https://h", "wss://h/ws"),
        ("127.0.0.1:3001", "http://127.0.0.1:3001", "ws://127.0.0.1:3001/ws"),
    ],
)
def test_an_address_may_be_written_for_http_or_websocket(url: str, http: str, socket: str) -> None:
    assert (http_url(url), socket_url(url)) == (http, socket)


@pytest.mark.parametrize("url", ["ftp://h", "http://", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        http_url(url)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (answers.JobInfo, views.JobView),
        (answers.NodeInfo, views.NodeView),
        (answers.Account, views.AccountView),
        (answers.Challenged, views.Challenged),
        (answers.OpenedSession, views.OpenedSession),
        (answers.IssuedToken, views.IssuedToken),
    ],
)
def test_an_answer_has_the_fields_that_the_coordinator_sends(ours: Any, theirs: Any) -> None:
    def names(kind: Any) -> set[str]:
        return {field.encode_name for field in msgspec.structs.fields(kind)}

    assert names(ours) <= names(theirs)
