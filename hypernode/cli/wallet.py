"""`hypernode wallet` and `hypernode token`: keys, and the permission for an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson, KeypairFile, Url

app = typer.Typer(
    help="Make a wallet, show its address.", no_args_is_help=True, rich_markup_mode=None
)

WalletFile = Annotated[Path | None, typer.Argument(show_default=False, help="The key file.")]


KnownWallet = Annotated[
    Path | None,
    typer.Argument(envvar="HYPERNODE_KEYPAIR", show_default=False, help="The key file."),
]


@app.command("new")
def new(file: WalletFile = None, *, as_json: AsJson = False) -> None:
    """Make a new wallet and print its address; an existing file is never overwritten.

    Example: hypernode wallet new ~/.config/hypernode/wallet.json
    """
    from coordinator.protocol.signing import generate, save_keypair
    from hypernode.cli.exit import Usage
    from hypernode.cli.options import default_wallet_path
    from hypernode.cli.output import is_terminal, note, print_json
    from onchain.address import encode_address

    path = (file or default_wallet_path()).expanduser()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keypair = generate()
    try:
        save_keypair(path, keypair)
    except FileExistsError as error:
        msg = f"{path} exists: a key is never overwritten"
        raise Usage(msg) from error
    address = encode_address(keypair.address)
    if as_json:
        print_json({"address": address, "file": str(path)})
        return
    typer.echo(address)
    if is_terminal():
        note(f"written to {path} (mode 600): back it up, it is the only copy")


@app.command("address")
def address(file: KnownWallet = None, *, as_json: AsJson = False) -> None:
    """Print a wallet's address.

    Example: hypernode wallet address ~/.config/solana/id.json
    """
    from coordinator.protocol.signing import load_keypair
    from hypernode.cli.options import wallet_path
    from hypernode.cli.output import print_json
    from onchain.address import encode_address

    path = wallet_path(file)
    assert path is not None
    text = encode_address(load_keypair(path).address)
    if as_json:
        print_json({"address": text, "file": str(path)})
    else:
        typer.echo(text)


def token(
    *,
    url: Url = URL_DEFAULT,
    keypair: KeypairFile = None,
    node_key: Annotated[
        str,
        typer.Option(
            "--node-key",
            help="Node key (base58) that the token names: a delegation for 30 days.",
            show_default=False,
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Print a token with which one agent joins for this wallet.

    Example: hypernode token --keypair wallet.json > token && hypernode agent --token-file token
    """
    from hypernode.answers import IssuedToken, plain
    from hypernode.cli.exit import Usage
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command
    from onchain.address import decode_address
    from onchain.errors import BadAddress

    try:
        node = decode_address(node_key) if node_key else b""
    except BadAddress as error:
        msg = f"--node-key: {error}"
        raise Usage(msg) from error

    async def ask() -> IssuedToken:
        async with open_web(url, keypair) as web:
            return await web.issue_token(node)

    issued = run_command(ask)
    if as_json:
        print_json(plain(issued))
    else:
        typer.echo(issued.token)
