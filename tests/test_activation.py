"""Sockets that a service manager hands on: which are taken, which refused, and that they serve."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import trio

from coordinator.activation import ActivationError, inherited_sockets
from coordinator.config import read_config
from hypernode.cli.remarks import coordinator_remarks
from tests.processes import Program


def environment(count: str = "1", names: str = "http", process: int = 0) -> dict[str, str]:
    return {
        "LISTEN_PID": str(process or os.getpid()),
        "LISTEN_FDS": count,
        "LISTEN_FDNAMES": names,
        "HOME": "/",
    }


def listening(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    made = socket.socket(family)
    made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    made.listen()
    return made


@pytest.mark.parametrize("name", ["http", "unknown", "", "hypernode-coordinator.socket"])
def test_a_listening_socket_is_taken_and_its_variables_with_it(name: str) -> None:
    environ = environment(names=name)
    with listening() as given:
        number = os.dup(given.fileno())
        os.set_inheritable(number, True)
        (taken,) = inherited_sockets(environ, first=number)
        with taken:
            assert taken.getsockname() == given.getsockname()
            assert not taken.get_inheritable()

    assert environ == {"HOME": "/"}


def test_variables_for_another_process_are_left_alone() -> None:
    environ = environment(process=1)

    assert inherited_sockets(environ) == []
    assert "LISTEN_FDS" in environ


def test_without_variables_there_are_no_sockets() -> None:
    assert inherited_sockets({}) == []


def a_datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def a_local_socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(f"\0hypernode-test-{os.getpid()}")
    made.listen()
    return made


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (socket.socket, "http", "is no listening TCP socket"),
        (a_datagram_socket, "http", "is no listening TCP socket"),
        (a_local_socket, "http", "is no listening TCP socket"),
        (listening, "admin", r"\(admin\) has a name that is not served: use one of http, "),
    ],
    ids=["not listening", "datagrams", "local", "another name"],
)
def test_what_cannot_be_served_is_refused_by_name(
    make: Callable[[], socket.socket], name: str, reason: str
) -> None:
    with make() as given, pytest.raises(ActivationError, match=reason):
        inherited_sockets(environment(names=name), first=given.fileno())


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(ActivationError, match="no socket"):
        inherited_sockets(environment(), first=file.fileno())


@pytest.mark.parametrize("count", ["", "-1", "many", "1000"])
def test_a_number_that_is_none_is_refused(count: str) -> None:
    with pytest.raises(ActivationError, match="LISTEN_FDS"):
        inherited_sockets(environment(count))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd's own tool")
async def test_systemds_own_tool_starts_the_coordinator_at_the_first_connection(
    tmp_path: Path,
) -> None:
    """The request that starts it is answered: it waited in the socket."""
    with listening() as probe:
        port = probe.getsockname()[1]
    tool = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=http"]
    kept = [f"-E{name}" for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ]
    words = ["-m", "hypernode", "coordinator", "--port", "1", "--db", str(tmp_path / "market.db")]
    async with Program("tool", words, tmp_path, command=[*tool, *kept, sys.executable]) as program:
        await program.until_said("Listening on", 20)
        assert "ready" not in program.log.read_text()
        async with httpx.AsyncClient(trust_env=False) as client:
            with trio.fail_after(60):
                answer = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=60)
        await program.until_said(f'"port": {port}', 20)
        status = await program.stop(20)

    assert (answer.status_code, status) == (200, 0)
    log = program.log.read_text()
    assert re.search(rf"listening on http://127.0.0.1:{port}$", log, re.MULTILINE)
    assert "another port than the settings" in log
    assert f"set port = {port} in the settings, or ListenStream=1 in the socket unit" in log
    assert "others can reach this" not in log


@pytest.mark.parametrize(
    ("host", "sockets", "named"),
    [
        ("127.0.0.1", ["::"], "the socket unit, on ::"),
        ("127.0.0.1", ["127.0.0.1", "0.0.0.0"], "the socket unit, on 0.0.0.0"),
        ("0.0.0.0", ["::1", "127.0.0.1"], None),
        ("0.0.0.0", [], "host 0.0.0.0"),
        ("127.0.0.1", [], None),
    ],
)
def test_what_others_can_reach_without_tls_is_judged_by_the_sockets_own_address(
    host: str, sockets: list[str], named: str | None
) -> None:
    config, reading = read_config({"host": host}, {}, None)
    remarks = [
        each for each in coordinator_remarks(config, reading, sockets) if "without TLS" in each
    ]

    assert [each.partition(": others can reach")[0] for each in remarks] == [named][: bool(named)]


def test_a_second_port_that_nobody_opens_is_told() -> None:
    config, reading = read_config({"ws_port": 3002}, {}, None)

    assert [*coordinator_remarks(config, reading)] == []
    (told,) = coordinator_remarks(config, reading, ["127.0.0.1"])
    assert told.startswith("ws_port 3002: not opened")
