"""`hypernode wallet` and `hypernode token`: keys, and the permission for an agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson, KeypairFile, Url

app = typer.Typer(
    help="Make a wallet, show its address.", no_args_is_help=True, rich_markup_mode=None
)

WalletFile = Annotated[
    Path | None,
    typer.Argument(
        show_default=False, help="The key file (default: ~/.config/hypernode/wallet.json)."
    ),
]


@app.command("new")
def new(file: WalletFile = None, *, as_json: AsJson = False) -> None:
    """Make a new wallet and print its address; an existing file is never overwritten.

    Example: hypernode wallet new ~/.config/hypernode/wallet.json
    """
    from coordinator.protocol.signing import generate, save_keypair
    from hypernode.cli.exit import Usage
    from hypernode.cli.output import is_terminal, note, print_json
    from hypernode.wallet_file import default_wallet_path
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
def address(
    file: WalletFile = None, *, keypair: KeypairFile = None, as_json: AsJson = False
) -> None:
    """Print a wallet's address.

    Example: hypernode wallet address ~/.config/solana/id.json
    """
    from hypernode.cli.options import wallet_path
    from hypernode.cli.output import print_json
    from hypernode.wallet_file import read_wallet
    from onchain.address import encode_address

    path = wallet_path(file or keypair)
    assert path is not None
    text = encode_address(read_wallet(path).address)
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write it to this file instead (mode 600), once it is there.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token with which one agent joins for this wallet.

    Example: hypernode token -o token && hypernode agent --token-file token
    """
    from hypernode.answers import IssuedToken, plain
    from hypernode.cli.exit import Usage
    from hypernode.cli.options import open_web
    from hypernode.cli.output import is_terminal, note, print_json
    from hypernode.cli.run import run_command
    from onchain.address import decode_address
    from onchain.errors import BadAddress

    try:
        node = decode_address(node_key) if node_key else b""
    except BadAddress as error:
        msg = f"--node-key: {error}"
        raise Usage(msg) from error
    if output is not None and not output.absolute().parent.is_dir():
        msg = f"--output: there is no folder {output.absolute().parent}"
        raise Usage(msg)

    async def ask() -> IssuedToken:
        async with open_web(url, keypair) as web:
            return await web.issue_token(node)

    issued = run_command(ask)
    if output is not None:
        _write_token(output, issued.token)
    if as_json:
        print_json({**plain(issued), **({"file": str(output)} if output else {})})
    elif output is None:
        typer.echo(issued.token)
    elif is_terminal():
        note(f"written to {output} (mode 600); it joins one agent, once, until {issued.expires_at}")


def _write_token(path: Path, token: str) -> None:
    """Whole or not at all, and never readable by others."""
    import os

    part = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(part, flags, 0o600), "w", encoding="ascii") as file:
        file.write(token + "\n")
    part.replace(path)
