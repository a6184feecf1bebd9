"""The command line: what it prints where, and with which status it ends.

Commands that talk run as processes of their own (they own their signals); the rest runs here.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import structlog
import trio
from rich.console import Console

from coordinator.config import ConfigError
from coordinator.pricing import Rules, check_budget, quote
from coordinator.protocol import messages as m
from coordinator.protocol.errors import Refusal
from coordinator.protocol.inputs import Input
from coordinator.protocol.signing import KeyFileExposed, load_keypair, save_keypair
from coordinator.protocol.spec import decode_spec
from coordinator.workloads.catalogue import KINDS, get
from hypernode.cli.app import run
from hypernode.cli.exit import Exit, Usage, leaf_of, status_of
from hypernode.cli.kinds import EXAMPLES, explaining
from hypernode.cli.output import harmless, table_of
from hypernode.cli.parameters import read_params
from hypernode.cli.results import (
    check_output_kind,
    check_output_path,
    describe,
    save_output,
)
from hypernode.errors import (
    BadSpec,
    JobFailed,
    Rejected,
    Timeout,
    Unauthenticated,
    Unreachable,
    error_of,
)
from hypernode.result import Result
from hypernode.submission import spec_bytes
from onchain.address import encode_address
from onchain.amounts import parse_hyper
from tests.scripted import WALLET, Peer, Scripted, accepted, instantly, output_of, serving
from tests.tree import ROOT

ACCOUNT = {"wallet": encode_address(WALLET.address), "credit": "9.5", "held": "0.5"}
COMMANDS = [
    "demo", "kinds", "submit", "quote", "jobs", "earnings", "faucet", "wallet", "token", "agent",
    "chain", "coordinator", "config", "doctor", "sessions", "nodes", "status",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command that runs in this process may set up the log for a stream of one test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def wallet(tmp_path: Path) -> Path:
    path = tmp_path / "wallet.json"
    save_keypair(path, WALLET)
    return path


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HYPERNODE_")}
    return {**kept, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": "/nonexistent", **more}


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


async def hypernode(*arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    return await trio.run_process(
        [sys.executable, "-m", "hypernode", *arguments],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(**more),
    )


# ---- in this process --------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == Exit.OK
    text = capsys.readouterr().out

    assert "Usage: hypernode" in text
    is_group = command in {"chain", "jobs", "wallet", "config", "sessions", "nodes"}
    assert is_group or "Example: hypernode" in " ".join(text.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["kinds", "nothing"],
        ["submit"],
        ["submit", "x", "--budget", "1", "--param", "paths"],
        ["submit", "x", "--budget", "1", "--params", "[1]"],
        ["submit", "x", "--budget", "1", "-o", "picture.jpg"],
        ["submit", "x", "--budget", "1", "-o", "/nonexistent/picture.png"],
        ["submit", "command", "-p", "command=ls", "--budget", "1", "-o", "/tmp/picture.png"],
        ["coordinator", "--tls-cert", "/nonexistent/c", "--tls-key", "/nonexistent/k"],
        ["token", "-o", "/nonexistent/token"],
        ["jobs", "list", "--url", "ftp://x"],
        ["agent", "--device", "abacus", "--url", "ws://127.0.0.1:9"],
        ["coordinator", "--port", "70000"],
        ["token", "--node-key", "not-an-address"],
    ],
)
def test_a_slip_is_a_usage_error_of_one_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str], wallet: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("HYPERNODE_KEYPAIR", str(wallet))

    assert run(arguments) == Exit.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "rror" in shown.err
    assert "Traceback" not in shown.err
    assert "--help" in shown.err


def test_without_a_wallet_a_command_says_how_to_make_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.delenv("HYPERNODE_KEYPAIR", raising=False)

    assert run(["wallet", "address"]) == Exit.USAGE
    assert "hypernode wallet new" in capsys.readouterr().err


def test_a_new_wallet_is_private_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keys" / "w.json"

    assert run(["wallet", "new", str(path)]) == Exit.OK
    address = capsys.readouterr().out.strip()
    assert address == encode_address(load_keypair(path).address)
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(["wallet", "new", str(path)]) == Exit.USAGE
    assert encode_address(load_keypair(path).address) == address


def test_an_address_is_printed_alone_or_as_json(
    wallet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["wallet", "address", str(wallet)])
    assert capsys.readouterr().out == encode_address(WALLET.address) + "\n"

    run(["wallet", "address", str(wallet), "--json"])
    assert json.loads(capsys.readouterr().out)["address"] == encode_address(WALLET.address)


def test_a_key_file_that_others_may_read_is_refused_in_one_line(
    wallet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wallet.chmod(0o644)

    assert run(["wallet", "address", str(wallet)]) == Exit.FAILED
    assert str(wallet) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Usage("x"), Exit.USAGE),
        (ConfigError("x"), Exit.USAGE),
        (Unauthenticated("bad_signature"), Exit.REFUSED),
        (error_of("forbidden"), Exit.REFUSED),
        (error_of("token_expired"), Exit.REFUSED),
        (error_of("faucet_off"), Exit.FAILED),
        (error_of("over_budget"), Exit.FAILED),
        (Refusal("not_found"), Exit.FAILED),
        (Unreachable(), Exit.UNREACHABLE),
        (Timeout(), Exit.UNREACHABLE),
        (JobFailed("exit_nonzero"), Exit.JOB_FAILED),
        (Rejected("rejected"), Exit.JOB_FAILED),
        (KeyFileExposed("path", "sentence"), Exit.FAILED),
        (FileNotFoundError(2, "No such file", "x"), Exit.FAILED),
    ],
)
def test_an_error_that_people_may_cause_has_a_status(error: Exception, status: Exit) -> None:
    described = status_of(error)

    assert described is not None
    assert described[0] is status


def test_with_json_an_error_is_one_document_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["submit", "x", "--budget", "1", "--params", "[1]", "--json"]) == Exit.USAGE

    shown = capsys.readouterr()
    assert shown.err == ""
    assert json.loads(shown.out)["code"] == "usage"


def test_an_error_of_a_group_is_shown_like_the_error_alone() -> None:
    group = BaseExceptionGroup("outer", [ExceptionGroup("inner", [Unreachable("gone")])])

    ending = status_of(leaf_of(group))

    assert ending is not None
    assert (ending.status, ending.code) == (Exit.UNREACHABLE, "unreachable")


@pytest.mark.parametrize(
    ("path", "said"),
    [("nothing.json", "hypernode wallet new"), (".", "a folder, not a key file")],
)
def test_a_wallet_that_is_none_is_named_with_what_to_do(
    path: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["wallet", "address", "-k", str(tmp_path / path)]) == Exit.FAILED

    shown = capsys.readouterr().err
    assert said in shown
    assert str(tmp_path) in shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_explains_each_of_its_parameters(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["kinds", kind, "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)

    names = [field.name for field in msgspec.structs.fields(get(kind).params_type)]
    assert [one["name"] for one in document["parameters"]] == names
    assert all(one["meaning"] and one["type"] for one in document["parameters"])
    assert document["outputs"]
    assert bool(document["inputs"]) == (kind in {"kernel", "matmul"})
    assert document["check"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_a_job_that_its_budget_pays(kind: str) -> None:
    params, budget, _more = EXAMPLES[kind]
    workload = get(kind)
    decoded = workload.decode(msgspec.json.encode(params))
    inputs = {
        schema.name: Input(schema.dtype, tuple([n or 1 for n in schema.shape]), sha256="0" * 64)
        for schema in workload.inputs(decoded)
    }
    spec = decode_spec(spec_bytes(kind, params, inputs=inputs))

    check_budget(quote(spec, Rules()), parse_hyper(budget))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("render: Expected `int` <= 4096 - at `$.width`", "width: integer from 1 to 4096 expected"),
        ("render: Object missing required field `width`", "render needs width"),
        ("render: Object contains unknown field `widht`", "render has no parameter widht"),
        ("something else", "something else"),
    ],
)
def test_a_refused_parameter_is_explained_by_its_kind(said: str, shown: str) -> None:
    with pytest.raises(BadSpec) as caught, explaining("render"):
        raise BadSpec("bad_spec", said)

    assert caught.value.sentence.startswith(shown)
    assert caught.value.sentence.endswith("see: hypernode kinds render")


def test_a_picture_is_asked_of_kinds_that_make_one_only() -> None:
    check_output_kind(Path("p.png"), "render", EXAMPLES["render"][0])
    check_output_kind(Path("p.png"), "kind_of_a_newer_version", {})
    with pytest.raises(Usage, match="no picture"):
        check_output_kind(Path("p.png"), "montecarlo", EXAMPLES["montecarlo"][0])


@pytest.mark.parametrize("width", [40, 80, 100])
def test_an_id_is_never_folded_and_a_sentence_fits(width: int) -> None:
    long_id = "job-1fffff-9c0d3b1a2e4f5a6b"
    row = (long_id, "completed", "words " * 20)
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table_of(("Job", "Status", "Result"), [row]), crop=False)

    lines = console.export_text().splitlines()
    assert any(long_id in line and "completed" in line for line in lines)
    assert max(len(line.rstrip()) for line in lines) <= max(width, 50)


def test_an_error_of_ours_keeps_its_traceback() -> None:
    assert status_of(ZeroDivisionError()) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e6", 1_000_000),
        ("1.0", 1.0),
        ("call", "call"),
        ('"1"', "1"),
        ("a=b", "a=b"),
        ("", ""),
        ("[1,2]", [1, 2]),
        ("true", True),
    ],
)
def test_a_parameter_is_json_or_else_text(text: str, value: object) -> None:
    read = read_params([f"name={text}"], '{"name": 0, "other": 2}')

    assert read == {"name": value, "other": 2}
    assert type(read["name"]) is type(value)


def test_parameters_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"paths": 3}')

    assert read_params([], f"@{tmp_path / 'p.json'}") == {"paths": 3}


@pytest.mark.parametrize("name", ["r.npy", "r.npz", "r.png", "r.txt"])
def test_a_result_is_written_as_its_name_says(tmp_path: Path, name: str) -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    path = tmp_path / name
    check_output_path(path)
    save_output(path, Result("job-1", (image,)))

    if path.suffix in {".npy", ".npz"}:
        loaded = np.load(path, allow_pickle=False)
        assert ((loaded if path.suffix == ".npy" else loaded["output_0"]) == image).all()
    else:
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"\x00\x01")


def test_numbers_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="no picture"):
        save_output(tmp_path / "r.png", Result("job-1", (np.zeros(3),)))


# ---- as processes -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_help_and_version_load_nothing_of_the_house(argument: str) -> None:
    code = (
        "import sys; sys.argv[1:] = [sys.argv[1]]\n"
        "from hypernode.cli import main\n"
        "try: main()\n"
        "finally: print([n for n in ('trio', 'msgspec', 'numpy', 'rich', 'httpx', 'coordinator')"
        " if n in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, argument],
        capture_output=True,
        check=True,
        env=environment(),
        timeout=20,
    )

    assert b"hypernode" in done.stdout
    assert done.stderr.strip() == b"[]"


@pytest.mark.slow
async def test_a_submission_prints_its_id_and_a_waited_one_its_result(
    wallet: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "p.png"
    image = np.full((2, 2, 3), 9, dtype=np.uint8)
    arguments = ("submit", "render", "-p", "width=2", "--budget", "0.1", "-k", str(wallet))
    async with serving(Scripted(instantly(array=image))) as script:
        plain = await hypernode(*arguments, "--url", script.url)
        waited = await hypernode(*arguments, "--url", script.url, "-o", str(picture), "--json")

    assert (plain.returncode, plain.stdout, plain.stderr) == (0, b"job-1\n", b"")
    assert waited.returncode == 0
    document = json.loads(waited.stdout)
    assert document["paid"] == "0.001"
    assert document["receipt"]["verdict"] == "accepted"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
async def test_a_failed_job_is_status_5_and_one_line(wallet: Path) -> None:
    async def fail(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            await peer.send(m.Update([m.JobUpdate("job-1", "failed", "rejected", "block 3")]))

    async with serving(Scripted(fail)) as script:
        done = await hypernode(
            "submit", "x", "--budget", "1", "--wait", "--url", script.url, "-k", str(wallet)
        )

    assert done.returncode == Exit.JOB_FAILED
    assert done.stdout == b""
    assert done.stderr.splitlines()[-1] == b"error: block 3 (rejected)"


@pytest.mark.slow
async def test_lists_are_tables_in_a_pipe_and_one_document_as_json(wallet: Path) -> None:
    job = {"id": "job-1", "type": "render", "status": "completed", "duration": 1.5, "paid": "0.1"}
    script = Scripted()
    script.routes["GET", "/api/jobs"] = [(200, [job])]
    script.routes["GET", "/api/account"] = [(200, ACCOUNT)]
    script.routes["GET", "/api/nodes/mine"] = [(200, [])]
    async with serving(script):
        more = {"HYPERNODE_URL": script.url, "HYPERNODE_KEYPAIR": str(wallet)}
        table = await hypernode("jobs", "list", **more)
        document = await hypernode("jobs", "list", "--json", **more)
        earnings = await hypernode("earnings", "--json", **more)

    assert table.stdout.decode().splitlines()[1].split("\t")[:3] == ["job-1", "render", "completed"]
    assert json.loads(document.stdout)[0]["paid"] == "0.1"
    assert json.loads(earnings.stdout)["credit"] == "9.5"


@pytest.mark.slow
async def test_a_job_is_shown_without_a_wallet(tmp_path: Path) -> None:
    job = {"id": "job-1", "type": "render", "status": "running"}
    script = Scripted(routes={("GET", "/api/jobs/job-1"): [(200, job)]})
    async with serving(script):
        done = await hypernode("jobs", "show", "job-1", "--url", script.url)

    assert (done.returncode, done.stderr) == (0, b"")
    assert b"status\trunning" in done.stdout


@pytest.mark.slow
async def test_a_token_is_printed_alone(wallet: Path) -> None:
    issued = {"token": "hy1.aa.bb", "expiresAt": "2026-11-25T00:00:00.000Z"}
    script = Scripted(routes={("POST", "/api/nodes/issue-token"): [(200, issued)]})
    async with serving(script):
        done = await hypernode("token", "--url", script.url, "-k", str(wallet))

    assert (done.stdout, done.stderr) == (b"hy1.aa.bb\n", b"")


@pytest.mark.slow
async def test_a_token_file_is_written_whole_and_privately_or_not_at_all(
    wallet: Path, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    script = Scripted(routes={("POST", "/api/nodes/issue-token"): [(429, {}), (401, {})]})
    async with serving(script):
        arguments = ("token", "-o", str(path), "--url", script.url, "-k", str(wallet))
        refused = await hypernode(*arguments)
        existed = path.exists()
        issued = {"token": "hy1.aa.bb", "expiresAt": "2026-11-25T00:00:00.000Z"}
        script.routes["POST", "/api/nodes/issue-token"] = [(200, issued)]
        done = await hypernode(*arguments)

    assert (refused.returncode, existed) == (Exit.REFUSED, False)
    assert (done.returncode, done.stdout, path.read_text()) == (0, b"", "hy1.aa.bb\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["token", "wallet.json"]
    # A spent proof is never sent again: each of the three tries signed a challenge of its own.
    assert script.requests.count(("GET", "/api/nodes/challenge")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["a taken port", "a database that is none", "no such address"])
async def test_a_coordinator_that_cannot_start_says_why_in_one_line(
    fault: str, tmp_path: Path
) -> None:
    database = tmp_path / "market.db"
    arguments = {"--port": "0", "--db": str(database), "--host": "127.0.0.1"}
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = str(listeners[0].socket.getsockname()[1])
    named = {"a taken port": port, "a database that is none": str(database)}.get(fault, "192.0.2.1")
    if fault == "a taken port":
        arguments["--port"] = port
    elif fault == "no such address":
        arguments["--host"] = "192.0.2.1"
    else:
        database.write_text("no database at all " * 100)
    words = [word for pair in arguments.items() for word in pair]
    done = await hypernode("coordinator", *words)
    for listener in listeners:
        await listener.aclose()

    errors = [line for line in done.stderr.decode().splitlines() if line.startswith("error: ")]
    assert done.returncode == (Exit.USAGE if fault == "no such address" else Exit.FAILED)
    assert b"Traceback" not in done.stderr
    assert len(errors) == 1
    assert named in errors[0]


@pytest.mark.slow
async def test_a_command_closes_the_session_that_it_opened(wallet: Path) -> None:
    script = Scripted(routes={("GET", "/api/account"): [(200, ACCOUNT)]})
    script.routes["GET", "/api/nodes/mine"] = [(200, [])]
    script.routes["DELETE", "/api/session"] = [(204, b"")]
    async with serving(script):
        done = await hypernode("earnings", "--url", script.url, "-k", str(wallet))

    assert done.returncode == 0
    assert script.requests[-1] == ("DELETE", "/api/session")


@pytest.mark.slow
async def test_jobs_are_filtered_and_cut_and_it_is_said(wallet: Path) -> None:
    states = ["completed", "failed", "completed"]
    jobs = [{"id": f"job-{i}", "type": "render", "status": s} for i, s in enumerate(states)]
    script = Scripted(routes={("GET", "/api/jobs"): [(200, jobs)]})
    async with serving(script):
        common = ("jobs", "list", "--url", script.url, "-k", str(wallet), "--json")
        failed = await hypernode(*common, "--status", "failed")
        first = await hypernode(*common, "--limit", "1")

    assert [job["id"] for job in json.loads(failed.stdout)] == ["job-1"]
    assert [job["id"] for job in json.loads(first.stdout)] == ["job-0"]
    assert b"1 of 3 shown" in first.stderr


@pytest.mark.slow
async def test_a_finished_job_gives_its_result_and_an_open_one_says_how_to_wait(
    wallet: Path,
) -> None:
    async def answer(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Watch):
            await peer.send(*output_of(message.ids[0], np.arange(3.0)))

    script = Scripted(answer)
    job = {"id": "job-1", "type": "montecarlo", "status": "completed"}
    script.routes["GET", "/api/jobs/job-1"] = [(200, job)]
    script.routes["GET", "/api/jobs/job-2"] = [(200, {**job, "id": "job-2", "status": "running"})]
    async with serving(script):
        more = {"HYPERNODE_URL": script.url, "HYPERNODE_KEYPAIR": str(wallet)}
        waited = await hypernode("jobs", "wait", "job-1", **more)
        result = await hypernode("jobs", "result", "job-1", **more)
        early = await hypernode("jobs", "result", "job-2", **more)

    assert (waited.returncode, waited.stdout) == (0, b"job-1 completed\n")
    assert result.stdout.startswith(b"output 0: float64(3,)")
    assert early.returncode == Exit.FAILED
    assert b"hypernode jobs wait job-2" in early.stderr


@pytest.mark.slow
async def test_who_stops_waiting_is_told_that_the_job_goes_on(wallet: Path) -> None:
    async def never_finish(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))

    async with serving(Scripted(never_finish)) as script:
        done = await hypernode(
            *("submit", "x", "--budget", "1", "--wait", "--wait-timeout", "0.2", "--json"),
            *("--url", script.url, "-k", str(wallet)),
        )

    assert done.returncode == Exit.UNREACHABLE
    assert json.loads(done.stdout)["id"] == "job-1"
    assert b"hypernode jobs wait job-1" in done.stderr


@pytest.mark.slow
async def test_a_job_that_nobody_could_take_is_submitted_with_a_remark(wallet: Path) -> None:
    script = Scripted(instantly())
    script.routes["POST", "/api/quotes"] = [(200, [{"kind": "x", "price": "1", "agents": 0}])]
    async with serving(script):
        done = await hypernode(
            "submit", "x", "--budget", "1", "--url", script.url, "-k", str(wallet)
        )

    assert (done.returncode, done.stdout) == (0, b"job-1\n")
    assert done.stderr.startswith(b"no agent that could take this job")


@pytest.mark.slow
async def test_the_price_of_a_command_is_a_rate() -> None:
    price = {"kind": "command", "price": "3", "agents": 1}
    script = Scripted(routes={("POST", "/api/quotes"): [(200, [price])]})
    async with serving(script):
        done = await hypernode("quote", "command", "-p", "command=ls", "--url", script.url)

    assert b"0.01 HYPER a second, at most 3" in done.stdout


@pytest.mark.slow
async def test_a_coordinator_that_is_not_there_is_status_4(wallet: Path) -> None:
    done = await hypernode("earnings", "--url", "http://127.0.0.1:9", "-k", str(wallet))

    assert done.returncode == Exit.UNREACHABLE
    assert done.stderr.startswith(b"error: no answer from http://127.0.0.1:9")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)]
)
async def test_a_signal_ends_a_waiting_command_without_noise(
    wallet: Path, number: signal.Signals, status: Exit
) -> None:
    submitted = trio.Event()

    async def never_finish(peer: Peer, message: m.AnyMessage) -> None:
        if isinstance(message, m.Submit):
            await peer.send(accepted(message))
            submitted.set()

    async with serving(Scripted(never_finish)) as script, trio.open_nursery() as nursery:
        command = (
            "submit", "x", "--budget", "1", "--wait", "--json",
            "--url", script.url, "-k", str(wallet),
        )  # fmt: skip
        process: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "hypernode", *command],
                capture_stderr=False,
                check=False,
                env=environment(),
            )
        )
        await submitted.wait()
        await trio.sleep(0.1)
        process.send_signal(number)
        await process.wait()

    assert process.returncode == status


def test_a_simulation_is_told_as_a_price_where_its_parameters_are_known() -> None:
    params = {
        "spot": 100, "strike": 100, "rate": 0, "volatility": 0.2, "maturity_years": 1,
        "option": "call", "paths": 4,
    }  # fmt: skip
    result = Result("job-1", (np.array([[32.0, 320.0]]),))

    told = describe("montecarlo", result, params)

    assert told.startswith("price 8 ± ")
    assert "float64(1, 2)" in told
    assert not describe("montecarlo", result).startswith("price")


def test_text_parameters_are_text_whatever_they_look_like() -> None:
    pairs = ["prefix=123456", "start=0", "count=1e4"]

    assert read_params(pairs, "", "hashsearch") == {"prefix": "123456", "start": 0, "count": 10_000}
    assert read_params(["command=false"], "", "command") == {"command": "false"}
    with pytest.raises(Usage, match="twice"):
        read_params(["width=1", "width=2"], "", "render")


def test_a_strangers_text_does_not_move_a_terminal() -> None:
    shown = harmless("a\tb\n\x1b]0;owned\x07 é")

    assert shown == "a\tb\n?]0;owned? é".replace("?", "\N{REPLACEMENT CHARACTER}")


# ---- logs, nodes --------------------------------------------------------------------------------


def a_part(offset: int, text: str, **more: object) -> tuple[int, dict[str, object]]:
    end = offset + len(text)
    part = {"status": "running", "attempt": 1, "offset": offset, "text": text, "nextOffset": end}
    return 200, {**part, "isFinal": False, **more}


@pytest.mark.slow
async def test_a_log_is_followed_on_standard_output_and_its_job_on_standard_error(
    wallet: Path,
) -> None:
    script = Scripted()
    script.routes["GET", "/api/jobs/job-1/logs"] = [
        a_part(0, "one\n", progress=0.31),
        a_part(70, "two \x1b[2J\n", progress=0.37),
        a_part(79, "three", status="completed", isFinal=True),
    ]
    async with serving(script):
        asked = ("--url", script.url, "-k", str(wallet))
        done = await hypernode("jobs", "logs", "--follow", "job-1", *asked)
        script.routes["GET", "/api/jobs/job-1/logs"] = [a_part(0, "one\n"), a_part(4, "")]
        as_json = await hypernode("jobs", "logs", "job-1", "--json", *asked)
        unknown = await hypernode("jobs", "logs", "job-9", *asked)

    missing = "\n[66 characters are no longer kept]\n"
    assert done.stdout.decode() == f"one\n{missing}two \ufffd[2J\nthree"
    assert done.stderr.decode() == "job-1: running, 30 %\njob-1: completed\n"
    assert [json.loads(line)["text"] for line in as_json.stdout.splitlines()] == ["one\n", ""]
    assert (done.returncode, as_json.returncode, unknown.returncode) == (0, 0, Exit.FAILED)


@pytest.mark.slow
async def test_an_administrator_drains_a_node_and_brings_it_back(wallet: Path) -> None:
    node = {"id": "node-1", "status": "online", "gpu": "a GPU", "hostname": "h"}
    drained = {**node, "drainedUntil": "2026-11-24T12:00:00.000Z", "drainReason": "it fails"}
    script = Scripted()
    script.routes["POST", "/api/nodes/node-1/drain"] = [(200, drained)]
    script.routes["POST", "/api/nodes/node-1/undrain"] = [(200, node)]
    async with serving(script):
        asked = ("--url", script.url, "-k", str(wallet))
        rest = ("--reason", "it fails", "--for", "2h")
        rested = await hypernode("nodes", "drain", "node-1", *rest, *asked)
        back = await hypernode("nodes", "undrain", "node-1", *asked)

    assert rested.stdout == b"node-1 is drained until 2026-11-24T12:00:00.000Z\n"
    assert back.stdout == b"node-1 gets jobs\n"
