"""Options that the commands below `hypernode chain` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Rpc = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc",
        "-u",
        help="A node: its address, or localnet, devnet, testnet, mainnet; more than one may be "
        "given. [env var: HYPERNODE_RPC; default: http://127.0.0.1:8899]",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Settings in TOML; flags win.", show_default=False),
]
SignerFile = Annotated[
    str | None,
    typer.Option(
        "--keypair",
        "-k",
        help="Key file of who signs and pays (default: the wallet). [env var: HYPERNODE_KEYPAIR]",
        show_default=False,
    ),
]
Program = Annotated[
    str | None,
    typer.Option(help="The program's address. [env var: HYPERNODE_PROGRAM]", show_default=False),
]
Ledger = Annotated[
    str | None,
    typer.Option(help="The ledger's address. [env var: HYPERNODE_LEDGER]", show_default=False),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Simulate it and say what it costs; nothing is sent.")
]
Unsigned = Annotated[
    bool,
    typer.Option(
        "--unsigned", help="Print the transaction unsigned, base64: for a multisig or hardware."
    ),
]
Authority = Annotated[
    str | None,
    typer.Option(
        help="With --unsigned: the address that signs (default: the role's).", show_default=False
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
