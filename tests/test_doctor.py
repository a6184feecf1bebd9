"""The doctor, each check with its fault planted; the whole examination against a real house."""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from agent.sandbox.level import SandboxReport
from coordinator.clock import SystemClock
from coordinator.limits import CLOCK_SKEW_MS, MIB
from coordinator.protocol.messages import Device
from coordinator.protocol.signing import generate, save_keypair
from coordinator.protocol.trust import client_context
from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from hypernode.doctor import gpu, host, keys, sandbox, wire
from hypernode.doctor.finding import Finding
from tests.fakes.scripted_coordinator import token_for
from tests.house import House, open_house

NOW_MS = 1_795_507_300_000


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.state for finding in findings}


def is_told(finding: Finding, state: str, said: str, fix: str = "") -> bool:
    """A fault is named, and never without what to do."""
    assert finding.state == state, finding
    assert said in finding.said, finding
    assert fix in finding.fix, finding
    return state in {"ok", "skipped"} or bool(finding.fix)


# ---- this machine -------------------------------------------------------------------------------


def test_an_old_python_is_a_failure() -> None:
    assert is_told(host.check_python((3, 10, 12)), "failure", "3.10.12", "3.11 or newer")
    assert host.check_python().state == "ok"


@pytest.mark.parametrize(
    ("found", "specs", "is_fitting"),
    [
        ("2.25", ">=2.25,<3", True),
        ("2.24.9", ">=2.25,<3", False),
        ("3.0", ">=2.25,<3", False),
        ("0.18.0", "==0.18.*", True),
        ("0.19", "==0.18.*", False),
        ("1.10", ">=1.9", True),
        ("1.6.2", ">=1.6.2", True),
        ("2.0.1+cu13", "<2.1", True),
        ("1", "", True),
        ("1.2", "!=1.2", False),
    ],
)
def test_a_version_fits_or_not(found: str, specs: str, is_fitting: bool) -> None:
    assert host.fits(found, specs) == is_fitting


def test_a_package_that_is_missing_or_of_another_version_is_named() -> None:
    def version_of(name: str) -> str:
        if name == "trio":
            raise metadata.PackageNotFoundError
        return "1.0"

    lines = ["trio>=0.35", "litestar>=2.25,<3", "typer>=0.29", "pywin>=9; sys_platform == 'win32'"]
    finding = host.check_packages(lines, version_of, check="packages")

    assert is_told(finding, "failure", "trio is missing; litestar is 1.0, not >=2.25,<3", "install")
    assert "pywin" not in finding.said


def test_this_installation_has_what_it_asks_for() -> None:
    assert len(host.requirements()) > 10
    assert host.check_packages(host.requirements(), check="packages").state == "ok"
    assert any(line.startswith("numba") for line in host.requirements("agent"))
    assert not any(line.startswith("numba") for line in host.requirements())


@pytest.mark.parametrize(
    ("version", "state"), [((3, 40, 1), "warning"), ((3, 51, 2), "warning"), ((3, 51, 3), "ok")]
)
def test_an_sqlite_that_can_corrupt_a_file_is_told(version: tuple[int, ...], state: str) -> None:
    finding = host.check_sqlite(version)

    assert is_told(finding, state, "SQLite 3.", "pysqlite3" if state == "warning" else "")


@pytest.mark.parametrize(("free_mib", "state"), [(10, "failure"), (500, "warning"), (5000, "ok")])
def test_a_disk_without_room_is_told(tmp_path: Path, free_mib: int, state: str) -> None:
    finding = host.check_room(tmp_path / "not" / "there", lambda _folder: free_mib * MIB)

    assert is_told(finding, state, f"{free_mib} MiB free at {tmp_path}")


def test_a_disk_that_syncs_slowly_or_cannot_be_written_is_told(tmp_path: Path) -> None:
    def slow(_descriptor: int) -> None:
        subprocess.run(["sleep", "0.03"], check=True)

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    assert is_told(host.check_sync(tmp_path, slow), "warning", "a write is safe after", "SSD")
    assert is_told(host.check_sync(tmp_path, broken), "failure", "Input/output error")
    assert host.check_sync(tmp_path).said.startswith("a write is safe after")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("role", "limits", "state"),
    [
        ("agent", (256, 256), "warning"),
        ("agent", (1024, 1024), "ok"),
        ("coordinator", (1024, 1_000_000), "warning"),
        ("coordinator", (1_000_000, 1_000_000), "ok"),
        ("coordinator", (-1, -1), "ok"),
    ],
)
def test_too_few_descriptors_are_told(role: str, limits: tuple[int, int], state: str) -> None:
    finding = host.check_files(role, limits)

    assert is_told(finding, state, "open files", "LimitNOFILE" if state == "warning" else "")


def test_a_port_that_is_taken_or_not_ours_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert is_told(host.check_port("127.0.0.1", port), "warning", "is taken", "ss -ltnp")
    assert host.check_port("127.0.0.1", port).state == "ok"
    assert is_told(host.check_port("192.0.2.1", 3001), "failure", "192.0.2.1", "--host")
    assert host.check_port("127.0.0.1", 0).state == "ok"


# ---- GPU ----------------------------------------------------------------------------------------


class StubGpus:
    def __init__(self, count: int = 1, cuda: tuple[int, int] | None = (13, 0)) -> None:
        self.remark = "" if count else "no GPU: NVML says driver not loaded"
        self._count, self._cuda = count, cuda

    def by_index(self) -> dict[int, Device]:
        gpu = Device("GPU-1", "NVIDIA H100", "cuda", memory_mb=81_559, driver="580.1")
        return dict.fromkeys(range(self._count), gpu)

    def cuda_version(self) -> tuple[int, int] | None:
        return self._cuda


def versions(**installed: str) -> Callable[[str], str]:
    def version_of(name: str) -> str:
        try:
            return installed[name.replace("-", "_")]
        except KeyError:
            raise metadata.PackageNotFoundError from None

    return version_of


def test_a_missing_gpu_is_a_failure_only_for_who_asked_for_one() -> None:
    assert is_told(gpu.check_gpus(StubGpus(0), is_wanted=True), "failure", "driver not", "nvidia")
    assert is_told(gpu.check_gpus(StubGpus(0), is_wanted=False), "skipped", "on the processor")
    assert is_told(gpu.check_gpus(StubGpus(2), is_wanted=True), "ok", "1: NVIDIA H100, 81559 MB")


@pytest.mark.parametrize(
    ("gpus", "installed", "state", "said", "fix"),
    [
        (StubGpus(0), {}, "skipped", "no GPU", ""),
        (StubGpus(), {}, "failure", "numba-cuda is missing", "hypernode[cuda]"),
        (
            *(StubGpus(cuda=(12, 4)), {"numba_cuda": "0.30.1", "cuda_bindings": "13.1.0"}),
            *("failure", "the driver runs CUDA 12.4, the packages bring CUDA 13", "cu12"),
        ),
        (StubGpus(), {"numba_cuda": "0.30.1"}, "ok", "runs the packages' CUDA 13", ""),
        (
            *(StubGpus(cuda=(12, 4)), {"numba_cuda": "0.30.1", "cuda_bindings": "12.9"}),
            *("ok", "CUDA 12.4", ""),
        ),
        (
            *(StubGpus(cuda=None), {"numba_cuda": "0.30.1"}),
            *("warning", "does not tell", "update"),
        ),
    ],
)
def test_driver_and_packages_must_fit(
    gpus: StubGpus, installed: Mapping[str, str], state: str, said: str, fix: str
) -> None:
    assert is_told(gpu.check_cuda(gpus, versions(**installed)), state, said, fix)


# ---- sandbox ------------------------------------------------------------------------------------


def test_a_missing_or_old_bubblewrap_is_told(tmp_path: Path) -> None:
    missing = sandbox.check_programs(str(tmp_path))
    for name in ("bwrap", "prlimit"):
        (tmp_path / name).write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
        (tmp_path / name).chmod(0o755)

    assert is_told(missing, "warning", "bwrap and prlimit missing", "apt-get install bubblewrap")
    assert is_told(sandbox.check_programs(str(tmp_path)), "warning", "0.4.1", "0.8 or newer")


def test_a_kernel_or_apparmor_that_forbids_namespaces_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kernel" / "apparmor_restrict_unprivileged_userns"
    path.parent.mkdir()
    path.write_text("1\n")

    finding = sandbox.check_namespaces(tmp_path)
    assert is_told(finding, "warning", "AppArmor forbids user namespaces", "/etc/apparmor.d/bwrap")


def test_a_missing_delegation_is_told() -> None:
    assert is_told(sandbox.check_cgroup(lambda: None), "warning", "not bounded", "Delegate=yes")


@pytest.mark.parametrize(
    ("level", "worker", "needs_commands", "state"),
    [(2, 2, True, "ok"), (1, 1, True, "warning"), (2, 0, False, "warning"),
     (0, 0, False, "warning"), (0, 0, True, "failure")],
)  # fmt: skip
async def test_the_level_counts_by_what_the_operator_wants(
    level: int, worker: int, needs_commands: bool, state: str
) -> None:
    async def test() -> SandboxReport:
        await trio.lowlevel.checkpoint()
        remarks = () if level == worker == 2 else ("Install bubblewrap.",)
        return SandboxReport(level, worker, remarks)

    finding = await sandbox.check_level(needs_commands=needs_commands, test=test)
    assert is_told(finding, state, f"level {level} of 2", "" if state == "ok" else "bubblewrap")


# ---- keys ---------------------------------------------------------------------------------------


def test_a_key_that_others_may_read_or_that_is_none_is_told_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    save_keypair(path, generate())
    secret = path.read_text()
    good = keys.check_key("wallet", path, fix="restore it")
    path.chmod(0o644)
    exposed = keys.check_key("wallet", path, fix="restore it")
    path.chmod(0o600)
    path.write_text("[1, 2, 3]")
    broken = keys.check_key("wallet", path, fix="restore it")

    assert is_told(good, "ok", "private")
    assert is_told(exposed, "failure", str(path), f"chmod 600 {path}")
    assert is_told(broken, "failure", str(path), "restore it")
    assert keys.check_key("wallet", tmp_path / "none", fix="x").state == "skipped"
    for finding in (good, exposed, broken):
        assert secret[5:40] not in finding.said + finding.fix


@pytest.mark.parametrize(
    ("content", "mode", "now_ms", "state", "said", "fix"),
    [
        (token_for(), 0o600, NOW_MS, "ok", "expires in 23 h", ""),
        (token_for(), 0o644, NOW_MS, "warning", "others on this machine", "chmod 600"),
        (token_for(), 0o600, NOW_MS + 90_000_000, "failure", "expired", "hypernode token"),
        (token_for(), 0o600, NOW_MS + 84_000_000, "warning", "expires in", "before that"),
        ("hy1.nonsense", 0o600, NOW_MS, "failure", "token", "copy the whole token"),
        ("", 0o600, NOW_MS, "failure", "token", "copy the whole token"),
        ("\xff", 0o600, NOW_MS, "failure", "it is no text", "hypernode token"),
    ],
    ids=["good", "exposed", "expired", "soon", "nonsense", "empty", "bytes"],
)
def test_a_token_that_will_not_do_is_told_and_never_shown(
    *, tmp_path: Path, content: str, mode: int, now_ms: int, state: str, said: str, fix: str
) -> None:
    path = tmp_path / "token"
    path.write_text(content, encoding="latin-1")
    path.chmod(mode)
    finding = keys.check_token_file(path, is_bound=False, now_ms=now_ms)

    assert is_told(finding, state, said, fix)
    assert not content or content not in finding.said + finding.fix


def test_a_bound_node_key_needs_no_token() -> None:
    assert keys.check_token_file(None, is_bound=True, now_ms=NOW_MS).state == "ok"
    assert keys.check_token_file(None, is_bound=False, now_ms=NOW_MS).state == "skipped"


# ---- the coordinator ----------------------------------------------------------------------------

now_ms = SystemClock().wall_ms


async def test_a_good_coordinator_is_reached_of_our_time_and_takes_an_upgrade(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        found = await wire.check_coordinator(house.url, None, now_ms=now_ms)

    assert states(found) == {"coordinator": "ok", "clock": "ok", "websocket": "ok"}


@pytest.mark.parametrize(
    ("off_ms", "state", "said"),
    [
        (CLOCK_SKEW_MS + 3000, "failure", "ahead: tokens and sessions will be refused"),
        (-CLOCK_SKEW_MS - 3000, "failure", "behind: tokens"),
        (9000, "warning", "ahead"),
        (-9000, "warning", "behind"),
    ],
)
async def test_a_clock_that_is_off_is_told(
    tmp_path: Path, off_ms: int, state: str, said: str
) -> None:
    async with open_house(tmp_path) as house:
        found = await wire.check_coordinator(house.url, None, now_ms=lambda: now_ms() + off_ms)

    clock = next(finding for finding in found if finding.check == "clock")
    assert is_told(clock, state, said, "timedatectl")


async def test_nobody_there_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (finding,) = await wire.check_coordinator(f"http://127.0.0.1:{port}", None, now_ms=now_ms)

    assert is_told(finding, "failure", f":{port}: connection refused", "hypernode coordinator")


async def test_a_name_that_nobody_knows_is_told() -> None:
    (finding,) = await wire.check_coordinator("http://no.such.invalid:1", None, now_ms=now_ms)

    assert is_told(finding, "failure", "no.such.invalid is not known", "DNS")


async def test_one_that_never_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_TRY_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (finding,) = await wire.check_coordinator(url, None, now_ms=now_ms)

    assert is_told(finding, "failure", "does not answer", "firewalls")


Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def answering(answer: Answer) -> Any:
    """A server that is no coordinator: it answers each request's head as it likes."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(answer(bytes(await stream.receive_some(4096))))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_another_server_is_told() -> None:
    page = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi"
    async with answering(lambda _head: page) as url:
        (finding,) = await wire.check_coordinator(url, None, now_ms=now_ms)

    assert is_told(finding, "failure", "not as a coordinator does", "proxy")


async def test_a_proxy_that_passes_no_websocket_is_told() -> None:
    def proxy(head: bytes) -> bytes:
        if b"Upgrade" in head:
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        return b"HTTP/1.1 503 x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

    async with answering(proxy) as url:
        found = await wire.check_coordinator(url, None, now_ms=now_ms)

    assert states(found) == {"coordinator": "warning", "clock": "skipped", "websocket": "failure"}
    assert is_told(found[-1], "failure", "400 Bad Request", "Upgrade")


@asynccontextmanager
async def under_tls(folder: Path, authority: trustme.CA, **certificate: Any) -> Any:
    issued = authority.issue_cert("127.0.0.1", **certificate)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    async with open_house(folder, tls_cert=str(chain), tls_key=str(key)) as house:
        yield house


def _tls_url(house: House) -> str:
    return f"https://127.0.0.1:{house.port}"


async def test_a_certificate_that_nobody_vouches_for_is_told(tmp_path: Path) -> None:
    async with under_tls(tmp_path, trustme.CA()) as house:
        (finding,) = await wire.check_coordinator(_tls_url(house), None, now_ms=now_ms)

    assert is_told(finding, "failure", "its certificate is not trusted", "--ca")


async def test_a_certificate_that_expires_soon_is_told(tmp_path: Path) -> None:
    authority = trustme.CA()
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    async with under_tls(tmp_path, authority) as house:
        good = await wire.check_coordinator(_tls_url(house), pem, now_ms=now_ms)
        ends = ssl.cert_time_to_seconds(_not_after(tmp_path / "chain.pem"))
        clock = (ends - 3 * 86_400) * 1000
        soon = await wire._certificate(_tls_url(house), client_context(pem), int(clock))

    assert states(good) == dict.fromkeys(("coordinator", "clock", "certificate", "websocket"), "ok")
    assert is_told(soon, "warning", "expires in 3 d", "renew")


def _not_after(chain: Path) -> str:
    decoded: dict[str, str] = ssl._ssl._test_decode_cert(str(chain))  # type: ignore[attr-defined]
    return decoded["notAfter"]


async def test_tls_where_there_is_none_is_told(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        (finding,) = await wire.check_coordinator(_tls_url(house), None, now_ms=now_ms)

    assert is_told(finding, "failure", "", "http")


# ---- the command --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with a wallet and a token; no coordinator."""
    for name in list(os.environ):
        if name.startswith(("HYPERNODE_", "HN_")):
            monkeypatch.delenv(name)
    for kind in ("CONFIG", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    wallet = tmp_path / "config" / "hypernode" / "wallet.json"
    wallet.parent.mkdir(parents=True)
    save_keypair(wallet, generate())
    (tmp_path / "token").write_text(token_for())
    (tmp_path / "token").chmod(0o600)
    monkeypatch.setenv("HYPERNODE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("HYPERNODE_URL", "http://127.0.0.1:1")
    return tmp_path


@pytest.mark.slow
def test_all_of_it_is_one_document_and_a_failure_is_status_1(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json", "--port", "0"]) == Exit.FAILED
    text = capsys.readouterr().out
    document = json.loads(text)
    found = {finding["check"]: finding for finding in document["findings"]}

    assert {"python", "packages", "sqlite", "wallet", "sandbox", "token", "coordinator"} <= set(
        found
    )
    assert found["coordinator"]["state"] == "failure"
    assert found["wallet"]["state"] == "ok"
    assert all(f.get("fix") for f in found.values() if f["state"] in {"warning", "failure"})
    assert sum(document["counts"].values()) == len(document["findings"])
    assert len(found) == len(document["findings"])
    wallet = (home / "config" / "hypernode" / "wallet.json").read_text()
    assert wallet[5:40] not in text
    assert token_for() not in text


@pytest.mark.slow
def test_a_role_has_its_own_checks_and_lines_for_people(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(["doctor", "--role", "coordinator", "--db", str(home / "m.db"), "--port", "0"])
    shown = capsys.readouterr().out

    assert status == Exit.OK
    assert "coordinator port" in shown
    assert "bubblewrap" not in shown
    assert "0 failures" in shown
    assert not (home / "m.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "check", "fix"),
    [
        (["--role", "submitter", "--keypair", "/nonexistent"], "wallet", "wallet new"),
        (["--role", "agent", "--token-file", "/nonexistent"], "token", "hypernode token"),
        (["--role", "agent", "--url", "ftp://x"], "agent settings", "config check"),
        (["--role", "coordinator", "--port", "70000"], "coordinator settings", "config check"),
    ],
)
def test_what_was_named_and_is_wrong_is_a_failure(
    home: Path, arguments: list[str], check: str, fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--json", *arguments]) == Exit.FAILED
    document = json.loads(capsys.readouterr().out)
    wrong = [f for f in document["findings"] if f["check"] == check and f["state"] == "failure"]

    assert len(wrong) == 1
    assert fix in wrong[0]["fix"]


@pytest.mark.slow
async def test_against_a_real_house_nothing_fails(home: Path, tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    async with open_house(tmp_path / "house") as house:
        ran = await trio.run_process(
            [sys.executable, "-m", "hypernode", "doctor", "--role", "agent", "--url", house.url],
            capture_stdout=True, capture_stderr=True, check=False,
            env={**os.environ, "HYPERNODE_TOKEN_FILE": ""},
        )  # fmt: skip
    lines = io.StringIO(ran.stdout.decode()).readlines()

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert any("an upgrade gets through" in line for line in lines)
    assert not any("FAIL" in line for line in lines)
