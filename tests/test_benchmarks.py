"""Records that one can believe, and a benchmark that still runs."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from wsproto.frame_protocol import FrameProtocol

from benchmarks import compare, cpu, figures, keep, peers, rounds
from benchmarks.__main__ import main as benchmarks_main
from benchmarks.alarm import Alarm
from benchmarks.cpu import cpu_s
from benchmarks.frames import BINARY, PING, TEXT, BadFrame, Frames, frame, masked
from benchmarks.house import audit
from benchmarks.hub import Hub, Link, LinkLost
from benchmarks.keep import why_busy
from benchmarks.paced import percentile
from benchmarks.record import Record, SimulatorRefused, read, record, where, write
from benchmarks.schedulers import command, driver, tasks
from benchmarks.wire import LightSubmitter, WrongAnswer, results_of, sample_jobs
from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode
from coordinator.store.sqlite import open_sqlite
from coordinator.workloads.hashsearch import HashSearch
from tests.tree import ROOT

KEY = b"\x01\x80\xff\x7a"


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    here = where("python -m benchmarks nothing", tmp_path)
    records = [
        record(here, "one", "things / s", [3.0, 1.0, 2.00004], n=12, note="three slices"),
        record(here, "two", "ms", [0.5], n=1),
    ]

    write(tmp_path / "records.json", records)

    assert read(tmp_path / "records.json") == records
    assert records[0].value == 2.0
    assert records[0].spread == (1.0, 3.0)


def test_a_record_tells_neither_where_nor_whose_it_is(tmp_path: Path) -> None:
    here = where("python -m benchmarks nothing", tmp_path)

    text = msgspec.json.encode(here).decode()

    assert here.machine.filesystem != "unknown"
    assert str(tmp_path) not in text
    assert str(ROOT) not in text


def test_the_cuda_simulator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_ENABLE_CUDASIM", "1")

    with pytest.raises(SimulatorRefused):
        where("python -m benchmarks nothing")


# ---- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "value"), [(0, 1), (1, 1), (50, 50), (98.5, 99), (99, 99), (99.5, 100), (100, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    values = [float(each) for each in range(100, 0, -1)]

    assert percentile(values, percent) == value


def test_the_p99_of_few_values_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


async def test_an_alarm_goes_off_after_its_moment_and_soon() -> None:
    late = []
    with Alarm() as alarm:
        for _ in range(20):
            moment = trio.current_time() + 0.0013
            await alarm.until(moment)
            late.append(trio.current_time() - moment)
        await alarm.until(trio.current_time() - 1.0)

    assert min(late) >= -1e-6
    assert min(late) < 0.002


async def test_an_alarm_can_be_cancelled_and_set_again() -> None:
    with Alarm() as alarm:
        with trio.move_on_after(0.01) as scope:
            await alarm.until(trio.current_time() + 10)
        assert scope.cancelled_caught
        with trio.fail_after(1):
            await alarm.until(trio.current_time() + 0.001)


def test_cpu_time_of_a_process_holds_its_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.15: pass"
    before = cpu_s([os.getpid()])

    subprocess.run([sys.executable, "-c", burn], check=True)

    assert cpu_s([os.getpid()]) - before > 0.1


def records_of(*, others: float = 0.0) -> list[Record]:
    here = where("python -m benchmarks nothing")
    return [record(here, "one", "ms", [1.0], n=1, others=others)]


def test_a_busy_machine_is_told() -> None:
    assert why_busy(records_of()) == ""
    assert "60% of a core" in why_busy(records_of(others=0.6))
    assert "20% of a core all the while" in why_busy(records_of(), others=0.2)


def twice(old: list[float], new: list[float], unit: str = "tasks / s") -> compare.Line:
    here = where("python -m benchmarks nothing")
    before, after = (record(here, "one", unit, values, n=1) for values in (old, new))
    return compare.Line(before, after)


@pytest.mark.parametrize(
    ("old", "new", "unit", "verdict"),
    [
        ([10, 11, 12], [13, 14, 15], "tasks / s", "better"),
        ([10, 11, 12], [12, 14, 15], "tasks / s", "same"),
        ([10, 11, 12], [7, 8, 9], "round trips / CPU-s", "worse"),
        ([10, 11, 12], [7, 8, 9], "ms", "better"),
        ([10, 11, 12], [13, 14, 15], "KiB", "worse"),
        ([1, 2], [3, 4], "CPU-ms an agent", "worse"),
        ([1, 2], [3, 4], "agents / s", "better"),
        ([1, 2], [3, 4], "ratio", "better"),
        ([10], [12], "ms", "same"),
        ([10], [13], "ms", "worse"),
        ([10], [7], "s", "better"),
    ],
)
def test_a_difference_counts_beyond_the_spread(
    old: list[float], new: list[float], unit: str, verdict: str
) -> None:
    assert twice(old, new, unit).verdict == verdict


def test_two_folders_of_records_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = where("python -m benchmarks nothing")
    for name, values in (("old", [10.0, 11.0]), ("new", [5.0, 6.0])):
        (tmp_path / name).mkdir()
        records = [record(here, "rate", "tasks / s", values, n=1)]
        records.append(record(here, f"only {name}", "ms", [1.0], n=1))
        write(tmp_path / name / "some.json", records)
    names = [str(tmp_path / "old"), str(tmp_path / "new")]

    assert benchmarks_main(["compare", *names]) == 0
    assert benchmarks_main(["compare", *names, "--strict"]) == 1
    assert benchmarks_main(["compare", str(tmp_path / "nothing"), names[1]]) == 2

    out = capsys.readouterr().out
    assert "0.52x  worse" in out
    assert "1 of the new records have no old one" in out


def test_figures_are_drawn_from_records_alone(tmp_path: Path) -> None:
    assert figures.figures(tmp_path) == ""
    here = where("python -m benchmarks dispatch", tmp_path)
    records = [
        record(here, "dispatch batched", "round trips / CPU-s", [12_345, 12_001, 13_002], n=9),
        record(here, "dispatch paced 200 / s, p99", "ms", [4.567], n=9),
        record(here, "dispatch batched : node, 1 a message", "ratio", [0.5, 0.25, 0.75], n=3),
        record(here, "something that README does not show", "ms", [1.0], n=1),
    ]
    write(tmp_path / "dispatch.json", records)

    lines = figures.figures(tmp_path).splitlines()

    assert lines[0].startswith("`./run bench dispatch`: ")
    assert here.commit in lines[0]
    assert [line.split("|")[2].strip() for line in lines if line.startswith("| ")][1::1] == [
        "---", "12,300 round trips / CPU-s (12,000 to 13,000)",
        "0.5 times (0.25 to 0.75)", "", "---", "4.57 ms",
    ]  # fmt: skip


def test_readme_shows_no_record_twice() -> None:
    names = [name for table in figures.TABLES for name, _said in table.rows]

    assert len(set(names)) == len(names)


@pytest.mark.slow
def test_a_run_to_be_kept_does_not_begin_on_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keep, "_LOOK_S", 0.01)
    monkeypatch.setattr(cpu.Others, "cores", lambda _self: 0.8)

    assert benchmarks_main(["storm", "--agents", "1", "--keep"]) == 1

    assert "not begun: others use 80% of a core" in capsys.readouterr().err
    assert not keep.why_not_begun(argparse.Namespace(keep=False, even_if_busy=False))
    assert not keep.why_not_begun(argparse.Namespace(keep=True, even_if_busy=True))


def test_records_of_a_busy_machine_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(keep, "RECORDS", tmp_path / "records")
    options = argparse.Namespace(json=False, keep=True, even_if_busy=False, others=cpu.Others())

    assert keep.finish("some", records_of(others=0.9), options) == 1
    assert not (tmp_path / "records").exists()
    assert "not kept" in capsys.readouterr().err

    options.even_if_busy = True
    assert keep.finish("some", records_of(others=0.9), options) == 0
    assert read(tmp_path / "records" / "some.json")[0].others == 0.9


# ---- frames and links -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 125, 126, 2047, 2048, 2051, 65_535, 65_536])
def test_a_frame_is_what_an_independent_parser_reads(size: int) -> None:
    data = bytes(number * 7 % 256 for number in range(size))
    server = FrameProtocol(client=False, extensions=[])

    server.receive_bytes(frame(BINARY, data, KEY))

    parts = list(server.received_frames())
    payloads = [bytes(part.payload) for part in parts]  # type: ignore[arg-type]
    assert b"".join(payloads) == data
    assert parts[-1].message_finished
    assert masked(masked(data, KEY), KEY) == data


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_stream_is_cut_into_messages_wherever_it_is_broken(step: int) -> None:
    server = FrameProtocol(client=False, extensions=[])
    sent = [b"", b"a" * 125, b"b" * 126, b"c" * 70_000]
    stream = b"".join(server.send_data(data, fin=True) for data in sent) + server.ping(b"hey")
    frames = Frames()

    found = [
        each for at in range(0, len(stream), step) for each in frames.feed(stream[at : at + step])
    ]

    assert found == [*((BINARY, data) for data in sent), (PING, b"hey")]


def test_what_no_server_may_send_ends_a_run() -> None:
    with pytest.raises(BadFrame):
        list(Frames().feed(frame(TEXT, b"masked", KEY)))
    with pytest.raises(BadFrame):
        list(Frames().feed(bytes((TEXT, 4)) + b"half"))


class Listener(Link):
    """Keeps what it hears."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[bytes] = []

    def on_message(self, opcode: int, data: bytes) -> None:
        self.heard.append(data)


@asynccontextmanager
async def hub_at_work() -> AsyncIterator[Hub]:
    hub = Hub()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        yield hub
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_the_hub_speaks_with_a_real_server_and_loses_nothing(tmp_path: Path) -> None:
    sent = [bytes([number]) * (number * 4001) for number in range(1, 60)]
    async with peers.echo_server(tmp_path) as (_pid, url), hub_at_work() as hub:
        link = await hub.dial(url, Listener())
        for data in sent:
            link.send_binary(data)
        with trio.fail_after(30):
            while len(link.heard) < len(sent):  # noqa: ASYNC110 - links are plain
                await trio.sleep(0.01)

    assert link.heard == sent


@pytest.mark.slow
async def test_a_server_that_hangs_up_ends_the_run(tmp_path: Path) -> None:
    with pytest.RaisesGroup(LinkLost, flatten_subgroups=True):
        async with hub_at_work() as hub:
            async with peers.echo_server(tmp_path) as (_pid, url):
                await hub.dial(url, Listener())
            await trio.sleep(30)


# ---- peers ------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_the_echo_is_measured_by_what_comes_back(tmp_path: Path) -> None:
    async with peers.echo_server(tmp_path) as server, hub_at_work() as hub:
        side = await peers.echo_side(hub, server, 100, 2, b"same size as ours")
        sample = await rounds.turn(side, 0.3, 0.0)
        side.close()

    assert sample.done > 100
    assert sample.done % 100 == 0
    assert sample.server_s > 0


def test_an_echo_of_something_else_ends_the_run() -> None:
    link = peers.EchoLink(b"what was said", 1)

    with pytest.raises(WrongAnswer):
        link.on_message(BINARY, b"what was not")


@pytest.mark.slow
async def test_the_dispatcher_on_node_hands_out_jobs_and_takes_their_results(
    tmp_path: Path,
) -> None:
    try:
        async with peers.node_server(tmp_path) as server, hub_at_work() as hub:
            single = await peers.node_side(hub, server, 1, 4)
            batched = await peers.node_side(hub, server, 100, 1)
            samples = [await rounds.turn(side, 0.3, 0.0) for side in (single, batched, single)]
            single.close()
            batched.close()
    except peers.PeerMissing as missing:
        pytest.skip(str(missing))

    assert all(sample.done > 10 for sample in samples)
    assert samples[1].done % 100 == 0


@pytest.mark.slow
async def test_the_dispatcher_on_node_refuses_a_result_that_nobody_owes(tmp_path: Path) -> None:
    try:
        with pytest.RaisesGroup(
            pytest.RaisesExc(LinkLost, match="1008 no such job"), flatten_subgroups=True
        ):
            async with peers.node_server(tmp_path) as (_pid, url), hub_at_work() as hub:
                link = await hub.dial(url, Listener())
                link.send_text(b'{"type":"register","token":"none"}')
                link.send_text(b'{"type":"job_result","id":"another one"}')
                await trio.sleep(30)
    except* peers.PeerMissing as missing:
        pytest.skip(str(missing.exceptions[0]))


def test_a_dispatcher_that_gives_too_few_jobs_ends_the_run() -> None:
    link = peers.NodeLink(2)

    with pytest.raises(WrongAnswer, match="2 are due"):
        link.on_message(TEXT, b'{"type":"jobs","jobs":[{"id":"1","kind":"hashsearch"}]}')


# ---- our own peers ----------------------------------------------------------------------------


def tell(submitter: LightSubmitter, message: m.AnyMessage, data: bytes = b"") -> None:
    said = encode(message, data)
    if isinstance(said, str):
        submitter.on_message(TEXT, said.encode())
    else:
        submitter.on_message(BINARY, said)


def result_of(job: str, number: int, *, is_paid: bool = True) -> tuple[m.JobOutput, bytes]:
    receipt = m.ReceiptBatch(1, 1, "00" * 32, "signature", [])
    data = number.to_bytes(8, "little") + bytes(8)
    outputs = [m.Array("uint64", [0], 0, 0), m.Array("uint64", [1, 2], 16, 0)]
    return m.JobOutput(job, outputs, receipt if is_paid else None), data


class Unplugged(LightSubmitter):
    """A submitter whose words go nowhere."""

    __slots__ = ()

    def flush(self) -> None:
        self._out.clear()


@pytest.fixture
def submitter() -> LightSubmitter:
    """One that has submitted search 7, and knows it as `job_7`."""
    submitter = Unplugged("bearer", iter([7]).__next__)
    submitter.submit(1, 0.0)
    return submitter


KNOWN = m.Submitted([m.SubmissionAnswer("7", id="job_7")], ref=1)


async def test_a_right_result_with_its_receipt_is_counted(submitter: LightSubmitter) -> None:
    tell(submitter, KNOWN)
    tell(submitter, m.Update([m.JobUpdate("job_7", "completed")]))
    tell(submitter, *result_of("job_7", 7))

    assert (submitter.results, submitter.open, len(submitter.latencies)) == (1, 0, 1)


async def test_a_result_may_come_before_the_answer_to_its_submission(
    submitter: LightSubmitter,
) -> None:
    tell(submitter, m.Update([m.JobUpdate("job_7", "completed")]))
    tell(submitter, *result_of("job_7", 7))
    assert submitter.results == 0

    tell(submitter, KNOWN)

    assert (submitter.results, submitter.open, len(submitter.latencies)) == (1, 0, 1)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (result_of("job_7", 8), "of another one"),
        (result_of("job_7", 7, is_paid=False), "without its receipt"),
        ((m.Update([m.JobUpdate("job_7", "failed", "rejected")]),), "failed: rejected"),
        ((m.Error("too many", "busy"),), "busy"),
    ],
)
async def test_a_run_ends_at_the_first_thing_that_is_wrong(
    submitter: LightSubmitter, said: tuple[m.AnyMessage, bytes], complaint: str
) -> None:
    tell(submitter, KNOWN)

    with pytest.raises(WrongAnswer, match=complaint):
        tell(submitter, *said)


def test_a_refused_submission_ends_the_run(submitter: LightSubmitter) -> None:
    with pytest.raises(WrongAnswer, match="over_budget"):
        tell(submitter, m.Submitted([m.SubmissionAnswer("7", code="over_budget")], ref=1))


def test_results_of_light_agents_are_as_long_as_they_look() -> None:
    message, data = results_of(sample_jobs(3))

    assert len(message.results) == 3
    assert len(data) == 3 * 16


# ---- rounds -----------------------------------------------------------------------------------


class FakeSide:
    """Does `speed` things a second and uses `load` of a core, by Trio's clock."""

    what = "fake"

    def __init__(self, name: str, speed: float, load: float, log: list[str]) -> None:
        self.name = name
        self._speed, self._load, self._log = speed, load, log

    @property
    def done(self) -> int:
        return round(self._speed * trio.current_time())

    def server_s(self) -> float:
        return self._load * trio.current_time()

    def check(self) -> None:
        self._log.append(f"check {self.name}")

    def start(self) -> None:
        self._log.append(f"start {self.name}")

    async def stop(self) -> None:
        self._log.append(f"stop {self.name}")


@pytest.fixture
def said() -> list[str]:
    return []


async def test_sides_take_turns_one_at_a_time(said: list[str], autojump_clock: object) -> None:
    sides = [FakeSide("a", 100, 0.5, said), FakeSide("b", 100, 0.25, said)]

    samples = await rounds.interleaved(sides, rounds=2, seconds=2.0, warm_up_s=0.5)

    steps = ("start", "check", "stop")
    assert said == [f"{step} {name}" for name in "abab" for step in steps]
    assert [sample.done for sample in samples["a"]] == [200, 200]
    assert [sample.per_cpu_s for sample in samples["b"]] == [400, 400]
    assert rounds.ratios(samples, "b", "a") == [2.0, 2.0]


def test_a_ratio_is_of_one_round() -> None:
    def sample(done: int) -> rounds.Sample:
        return rounds.Sample(done, wall_s=1.0, server_s=1.0, generator_s=0.0)

    samples = {"a": [sample(10), sample(40)], "b": [sample(5), sample(10)]}

    assert rounds.ratios(samples, "a", "b") == [2.0, 4.0]


def test_a_load_that_may_be_the_limit_is_told(said: list[str]) -> None:
    side = FakeSide("a", 1, 1, said)
    lazy = rounds.Sample(1, wall_s=1.0, server_s=0.7, generator_s=0.5)
    busy = rounds.Sample(1, wall_s=1.0, server_s=0.7, generator_s=0.95)

    assert "may be what limits" not in rounds.note_of(side, [lazy])
    assert "may be what limits" in rounds.note_of(side, [busy])


# ---- schedulers -------------------------------------------------------------------------------


def test_the_task_is_our_search_over_one_nonce() -> None:
    workload = HashSearch()
    for number in (1, 77, 12_345):
        params = workload.decode(b'{"prefix":"","start":%d,"count":1,"target_bits":200}' % number)
        _hits, best = workload.reference(params, 0)

        assert tasks.search(number) == [int(each) for each in best.reshape(2)]


@pytest.mark.parametrize(
    "answers", [[], [tasks.search(1)], [tasks.search(2), tasks.search(1)], [[1, 0], [2, 99]]]
)
def test_wrong_or_missing_answers_end_a_run(answers: list[list[int]]) -> None:
    with pytest.raises(tasks.WrongResult):
        tasks.compare([1, 2], answers)


class Inline:
    """A scheduler that runs tasks where they are asked for; `lie` makes one of them wrong."""

    processes = (1, 2)

    def __init__(self, lie: int = 0) -> None:
        self._lie = lie
        self.batches: list[int] = []

    def many(self, numbers: list[int], batch: int) -> list[list[int]]:
        self.batches.append(batch)
        return [self.one(number) for number in numbers]

    def one(self, number: int) -> list[int]:
        return [number, 257] if number == self._lie else tasks.search(number)


class Ear:
    """Keeps what a driver says."""

    def __init__(self) -> None:
        self.said: list[driver.Answer] = []

    def say(self, answer: driver.Answer) -> None:
        self.said.append(answer)


def test_a_driver_does_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"singles":3}\n{"seconds":0.001,"batch":7}\n'))
    scheduler, ear = Inline(), Ear()

    driver.drive(scheduler, ear)

    hello, singles, many = ear.said
    assert hello.scheduler == [1, 2]
    assert len(singles.latencies) == 3
    assert many.done % driver.CHUNK == 0
    assert many.seconds >= 0.001
    assert set(scheduler.batches) == {7}


@pytest.mark.parametrize("order", ['{"singles":3}', '{"seconds":0.001}'])
def test_a_driver_ends_at_a_lie(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(order))

    with pytest.raises(tasks.WrongResult):
        driver.drive(Inline(lie=2), Ear())


def test_a_scheduler_that_is_not_installed_is_named() -> None:
    kind = command.Kind("other", "on_other", package="no_such_package")
    redis = command.Kind("other", "on_other", program="no-such-program")

    assert "not installed" in kind.missing()
    assert "no-such-program is missing" in redis.missing()
    assert not command.Kind("ours", "on_ours").missing()


# ---- whole runs -------------------------------------------------------------------------------


def measured(tmp_path: Path, *words: str) -> list[Record]:
    """The records of a short run, whose audit found nothing wrong."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--folder", str(tmp_path), "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(tmp_path.iterdir()) == []
    return msgspec.json.decode(done.stdout, type=list[Record])


@pytest.mark.slow
def test_dispatch_measures_a_real_coordinator_whose_books_balance(tmp_path: Path) -> None:
    per_cpu, rate = measured(tmp_path, "dispatch", "--only", "batched", "--seconds", "1")

    assert per_cpu.unit == "round trips / CPU-s"
    assert rate.n == per_cpu.n > 100


@pytest.mark.slow
def test_restart_kills_a_coordinator_on_a_filled_database_and_audits_it(tmp_path: Path) -> None:
    words = ("restart", "--finished", "2000", "--open", "1500", "--kills", "1")
    ready, queue, memory, size = measured(tmp_path, *words)

    assert (ready.unit, queue.unit, memory.unit, size.unit) == ("s", "s", "MiB", "MiB")
    assert 0 < queue.value < ready.value + 30


@pytest.mark.slow
def test_idle_weighs_agents_that_have_registered(tmp_path: Path) -> None:
    records = {each.name: each for each in measured(
        tmp_path, "idle", "--agents", "200", "--seconds", "1.5"
    )}  # fmt: skip

    assert 5 < records["idle agent, memory"].value < 100
    assert records["idle agent, a heartbeat"].n == pytest.approx(30, abs=4)


@pytest.mark.slow
def test_a_storm_loses_no_job(tmp_path: Path) -> None:
    records = {each.name: each for each in measured(tmp_path, "storm", "--agents", "50")}

    assert records["storm of 50 agents, away, p99"].n == 50
    assert records["storm of 50 agents, until every job has its result"].n > 100
    assert "no job lost" in records["storm of 50 agents, away, p50"].note


@pytest.mark.slow
def test_a_map_gives_every_result_and_weighs_both_sides(tmp_path: Path) -> None:
    rate, coordinator, _, client, grown = measured(tmp_path, "map", "--inputs", "600")

    assert (rate.unit, rate.n) == ("results / s", 600)
    assert 20 < coordinator.value < 1000
    assert 20 < client.value < 1000
    assert abs(grown.value) < 100


@pytest.mark.slow
def test_an_audit_finds_what_a_run_left_behind(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path / "market.db")
    store.close()

    with pytest.raises(RuntimeError, match="0 jobs completed"):
        audit(tmp_path / "market.db")


@pytest.mark.slow
def test_ours_is_measured_as_the_other_schedulers_are(tmp_path: Path) -> None:
    found = measured(
        tmp_path, "schedulers", "--only", "ours, light", "--seconds", "0.2", "--rounds", "1"
    )

    records = {each.name.removeprefix("schedulers ours, light agents, "): each for each in found}
    assert records["batch 100"].value > 10
    assert records["batch 100, everything"].value < records["batch 100, scheduler"].value
    assert records["one task, p50"].value <= records["one task, p99"].value
