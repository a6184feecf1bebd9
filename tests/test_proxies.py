"""The proxies of `docs/operation.md`, as they stand there, before a whole market under TLS.

Skipped where nginx or Caddy is not installed.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from coordinator.limits import HEAD_S, REQUESTS_BURST
from coordinator.protocol.signing import generate
from hypernode.client import AsyncClient
from tests.authority import Authority, Files
from tests.house import CREDIT, HonestRunner, House, agent_at, captured_log, open_house, search
from tests.processes import free_port
from tests.tree import read

#: An address of this machine that is no proxy: whoever dials from it is a client.
CLIENT = "127.0.0.2"
#: A result that is a blob.
BLOB_SEARCH = {"count": 60_000, "target_bits": 1}
#: Beyond the megabyte that nginx takes by itself.
LARGE = bytes(2_000_000)


def snippet(first_line: str) -> str:
    """A block of the page, by its first line."""
    blocks = re.findall(
        r"^```\w+\n(.*?)^```$", read(Path("docs/operation.md")), re.DOTALL | re.MULTILINE
    )
    (found,) = [block for block in blocks if block.startswith(first_line)]
    return str(found)


def nginx(folder: Path, port: int, inner: int, files: Files) -> list[str]:
    """The page's server in a configuration that needs no root; the command that runs it."""
    text = snippet("# /etc/nginx/conf.d")
    for there, here in {
        "127.0.0.1:3001": f"127.0.0.1:{inner}",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "/etc/letsencrypt/live/hyper.example/fullchain.pem": str(files.cert),
        "/etc/letsencrypt/live/hyper.example/privkey.pem": str(files.key),
    }.items():
        assert there in text
        text = text.replace(there, here)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; worker_processes 1;\n"
        f"events {{ worker_connections 512; }}\nhttp {{ access_log off; {paths}\n{text} }}\n"
    )
    return ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, port: int, inner: int, files: Files) -> list[str]:
    """The page's site with a certificate of the test's; the command that runs it."""
    text = snippet("# /etc/caddy").replace("127.0.0.1:3001", f"127.0.0.1:{inner}")
    assert "\nhyper.example {\n" in text
    site = f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {files.cert} {files.key}\n"
    text = text.replace("\nhyper.example {\n", f"\n{site}")
    (folder / "Caddyfile").write_text(
        "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n" + text
    )
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


async def listens(port: int) -> None:
    """Wait until somebody does."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        await trio.sleep(0.02)


@asynccontextmanager
async def running(
    make: Callable[[Path, int, int, Files], list[str]], folder: Path, inner: int, files: Files
) -> AsyncIterator[int]:
    """A proxy for the time of a block; its port."""
    port = free_port(inner + 1)
    command = make(folder, port, inner, files)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    path = shutil.which(command[0])
    assert path is not None
    process = await trio.lowlevel.open_process(
        [path, *command[1:]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env
    )
    try:
        with trio.fail_after(10):
            await listens(port)
        yield port
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("make", [nginx, caddy])
async def test_a_market_works_through_the_proxy_and_knows_its_clients(
    tmp_path: Path, make: Callable[[Path, int, int, Files], list[str]]
) -> None:
    if shutil.which(make.__name__) is None:
        pytest.skip(f"{make.__name__} is not installed")
    authority = Authority(tmp_path)
    inner = free_port(23_400)
    async with running(make, tmp_path, inner, authority.issue()) as port:
        domain = f"127.0.0.1:{port}"
        settings: dict[str, Any] = {
            "port": inner, "domain": domain, "uri": f"https://{domain}",
            "allowed_hosts": [domain], "trusted_proxies": ["127.0.0.1"],
        }  # fmt: skip
        with captured_log() as log:
            async with open_house(tmp_path, **settings) as behind:
                house = House(port, behind.nursery, authority.ca, is_tls=True)
                await work(house)
                async with httpx.AsyncClient(
                    base_url=house.url,
                    verify=house.tls or True,
                    trust_env=False,
                    transport=httpx.AsyncHTTPTransport(
                        verify=house.tls or True, local_address=CLIENT
                    ),
                ) as stranger:
                    spoof = {"x-forwarded-for": "192.0.2.7"}
                    refused = await stranger.get("/api/nothing", headers=spoof)
                    numbers = await stranger.get("/metrics")
                    large = await stranger.put(f"/api/blobs/{'0' * 64}", content=LARGE)
                    burst = await all_at_once(stranger, 2 * REQUESTS_BURST)
                async with httpx.AsyncClient(
                    base_url=house.url, verify=house.tls or True, trust_env=False, http2=True
                ) as other:
                    after = await other.get("/readyz")
    peers = {line["peer"] for line in log.lines() if line.get("path") == "/api/nothing"}

    assert refused.json()["code"] == "not_found"
    assert numbers.status_code == 404
    assert large.json()["code"] == "unauthenticated", "the coordinator's answer, not the proxy's"
    assert 429 in burst
    assert after.status_code == 200, "another client has a rate of its own"
    assert after.http_version == "HTTP/2", "to the proxy; the coordinator hears HTTP/1.1"
    assert peers == {CLIENT}
    assert not log.failures()


@pytest.mark.parametrize(
    ("first_line", "setting"),
    [("# /etc/nginx", "keepalive_timeout"), ("# /etc/caddy", "keepalive")],
)
def test_the_proxy_closes_an_idle_connection_before_the_coordinator_does(
    first_line: str, setting: str
) -> None:
    (seconds,) = re.findall(rf"\b{setting} (\d+)s\b", snippet(first_line))

    assert int(seconds) < HEAD_S


async def all_at_once(http: httpx.AsyncClient, count: int) -> set[int]:
    """The statuses of so many requests, faster than any rate."""
    statuses: set[int] = set()

    async def ask() -> None:
        statuses.add((await http.get("/api/x")).status_code)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(ask)
    return statuses


async def work(house: House) -> None:
    """Jobs through an agent's and a submitter's WebSocket, one with a blob as its result."""
    runner = HonestRunner()
    async with (
        agent_at(house, runner, "hashsearch"),
        AsyncClient(house.url, generate(), ca=house.ca) as client,
    ):
        await client.faucet(CREDIT)
        small = await (await client.submit("hashsearch", search(), budget="1")).result(20)
        large = {**search(), **BLOB_SEARCH}
        blob = await (await client.submit("hashsearch", large, budget="1")).result(20)
    assert float(small.paid) > 0
    assert sum(array.nbytes for array in blob.outputs) > 100_000
