"""An owner at a command line: a development chain, key files, a market opened by `chain init`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from coordinator.protocol.signing import save_keypair
from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from onchain.address import decode_address, encode_address
from onchain.devnode import DevNode
from onchain.localnet import development_mint, open_node
from onchain.machine import Machine
from tests.chains import SOL, key, put_mint
from tests.node_thread import NodeThread, node_thread

ROLES = ("admin", "publisher", "guardian", "voucher_key")
LIMITS = """\
max_epoch_increase = "100000"
window_limit = "50000"
advance_cap = "1000"
wallet_advance_cap = "10"
voucher_limit = "1000"
min_epoch_interval = "24h"
slow_delay = "24h"
fast_delay = "1h"
window = "24h"
exit_after = "7d"
config_delay = "2d"
"""
MINT = development_mint().new.mint


def text(name: str) -> str:
    """Address of a key by its name."""
    return encode_address(key(name).address)


@dataclass
class Owner:
    """Runs `hypernode chain …` against one node, and reads what it printed."""

    thread: NodeThread
    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def machine(self) -> Machine:
        return self.thread.machine

    def key_file(self, name: str, lamports: int = 10 * SOL) -> Path:
        """A key file of that name's key, which has lamports."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            save_keypair(path, key(name))
            if lamports:
                self.machine.airdrop(key(name).address, lamports)
        return path

    def forget_genesis(self, genesis: str) -> None:
        """From now on the node tells that it is of another cluster; gifts must be made before."""
        self.machine.genesis = decode_address(genesis)

    def config(self, more: str = "", limits: str = LIMITS) -> Path:
        """`settlement.toml` with roles and limits."""
        path = self.folder / "settlement.toml"
        roles = "".join(f'{role} = "{text(role)}"\n' for role in ROLES)
        head = f'rpc = ["{self.thread.url}"]\nmint = "{encode_address(MINT)}"\n'
        path.write_text(head + roles + limits + more)
        return path

    def ask(self, *arguments: object, status: int = Exit.OK) -> str:
        """Run a command; what it printed."""
        got = run(["chain", *map(str, arguments)])
        shown = self.capsys.readouterr()
        assert got == status, shown
        return shown.out + shown.err

    def told(self, *arguments: object, status: int = Exit.OK) -> Any:
        """Run a command with --json; its document."""
        return json.loads(self.ask(*arguments, "--json", status=status))

    def opened(self, more: str = "", limits: str = LIMITS) -> Any:
        """A market, opened; what `chain init` told, and the ledger in the configuration."""
        config = self.config(limits=limits)
        told = self.told("init", "--config", config, "-k", self.key_file("owner"))
        self.config(f'ledger = "{told["ledger"]}"\n{more}', limits=limits)
        return told


@contextmanager
def owner(
    folder: Path, capsys: pytest.CaptureFixture[str], node: DevNode | None = None
) -> Iterator[Owner]:
    """An owner before a development chain whose slots stand still, and which has HYPER's mint."""
    node = node or open_node(slot_s=None)
    put_mint(node.machine, MINT, supply=10**15)
    with node_thread(node) as thread:
        yield Owner(thread, folder, capsys)
