"""Settlement at the command line, against a coordinator's process and a chain in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from agent.guardians import Answer, HttpPoster, NotTaken
from hypernode.children import Child, running
from hypernode.demo_chain import DemoChain, demo_chain
from onchain.address import encode_address
from tests.tree import ROOT

pytestmark = pytest.mark.slow
NODE = bytes(range(32))


async def told(
    chain: DemoChain, url: str, *words: str, name: str = "", status: int = 0
) -> Mapping[str, Any]:
    """A command of somebody's in a process of its own; its document."""
    names = {"HYPERNODE_URL": url, "HYPERNODE_RPC": chain.url, "PYTHONPATH": str(ROOT)}
    if name:
        names["HYPERNODE_KEYPAIR"] = str(chain.folder / f"{name}.json")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HYPERNODE_")}
    ended = await trio.to_thread.run_sync(
        partial(
            subprocess.run, [sys.executable, "-m", "hypernode", *words, "--json"],
            env=clean | names, capture_output=True, timeout=60, check=False,
        )
    )  # fmt: skip
    assert ended.returncode == status, (ended.stdout, ended.stderr)
    document: Mapping[str, Any] = json.loads(ended.stdout)
    return document


async def listening(child: Child) -> str:
    with trio.fail_after(60):
        while "listening on " not in child.text():
            child.check()
            await trio.sleep(0.05)
    return child.text().partition("listening on ")[2].split()[0]


async def posted(chain: DemoChain, url: str, folder: Path) -> Answer:
    """What a guardian's own process answers to a line that is no receipt, on its port."""
    arguments = (
        "guardian", "--port", "0", "--folder", str(folder / "g"), "--url", url, "--rpc", chain.url,
        "--ledger", encode_address(chain.market.ledger), "-k", str(chain.folder / "guardian.json"),
    )  # fmt: skip
    async with running("guardian", arguments, folder) as child:
        with trio.fail_after(60):
            while '"event":"receipts"' not in child.text().replace(" ", ""):
                child.check()
                await trio.sleep(0.05)
            told = next(line for line in child.text().splitlines() if '"receipts"' in line)
            address = f"http://127.0.0.1:{json.loads(told)['port']}"
            poster = HttpPoster(address, encode_address(NODE))
            try:
                return await _first_answer(poster)
            finally:
                await poster.aclose()


async def _first_answer(poster: HttpPoster) -> Answer:
    """Its answer once it has seen its coordinator."""
    while True:
        try:
            return await poster.post(b"no line\n")
        except NotTaken as error:
            if "not_ready" not in str(error):
                raise
        await trio.sleep(0.1)


async def test_an_owner_settles_and_a_depositor_audits(tmp_path: Path) -> None:
    async with demo_chain(tmp_path) as chain:
        arguments = ("coordinator", "--port", "0", "--db", str(tmp_path / "m.db"), "--config",
                     str(chain.config()), "--log-json")  # fmt: skip
        async with running("coordinator", arguments, tmp_path) as child:
            url = await listening(child)
            before = await told(chain, url, "settle", "status")
            refused = await told(chain, url, "settle", "run", name="submitter", status=3)
            ran = await told(chain, url, "settle", "run", name="admin")
            await chain.pass_time()
            again = await told(chain, url, "settle", "run", name="admin")
            audited = await told(chain, url, "audit", name="submitter")
            same = await told(chain, url, "earnings", "--audit", name="submitter")
            nothing = await told(chain, url, "claim", name="submitter", status=1)
            guarded = await told(
                chain, url, "guardian", "--once", "--treasury-wallet",
                encode_address(chain.key("treasury").address), "--folder", str(tmp_path / "g"),
                "--ledger", encode_address(chain.market.ledger), name="guardian",
            )  # fmt: skip
            answer = await posted(chain, url, tmp_path)

    assert before["ledger"] == encode_address(chain.market.ledger)
    assert (before["alarm"], before["publishes"], before["stopped"]) == ("", True, "")
    assert before["lookedAt"]
    assert refused["code"] == "forbidden"
    assert ran["alarm"] == again["alarm"] == ""
    assert ran["did"][-1].startswith("root of epoch 1 published: transaction ")
    assert again["pendingEpoch"] == 1
    assert again["waits"].startswith("the guardian's approval of the root of epoch 1")
    assert (audited["differences"], audited["lifetime"]) == ([], "0")
    assert same == audited
    assert nothing["code"] == "not_found"
    assert (guarded["did"], guarded["epoch"]) == ("approved", 1)
    assert (answer.read, answer.kept, answer.refused) == (8, 0, 1)
