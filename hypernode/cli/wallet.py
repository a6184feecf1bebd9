"""`hypernode wallet` and `hypernode token`: keys, and the permission for an agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.hardware import Encoding, HardwareWallet, TransactionEncoding
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url
from hypernode.cli.revoking import revoke_token

if TYPE_CHECKING:
    from hypernode.answers import IssuedToken

app = typer.Typer(
    help="Make a wallet, show its address.", no_args_is_help=True, rich_markup_mode=None
)

token_app = typer.Typer(rich_markup_mode=None)
token_app.command("revoke")(revoke_token)

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


@token_app.callback(invoke_without_command=True)
def token(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
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
    hardware: HardwareWallet = "",
    print_transaction: Annotated[
        bool,
        typer.Option(
            "--print-transaction",
            help="With --hardware: only print the unsigned transaction; --signed takes it back.",
        ),
    ] = False,
    signed: Annotated[
        Path | None,
        typer.Option(
            "--signed",
            metavar="FILE",
            help="The transaction of --print-transaction, signed; - is standard input.",
            show_default=False,
        ),
    ] = None,
    encoding: TransactionEncoding = Encoding.BASE64,
    as_json: AsJson = False,
) -> None:
    """Print a token with which one agent joins for this wallet.

    A wallet whose key is elsewhere signs a transaction that is never sent: --hardware shows it and
    waits; --print-transaction and --signed do the same in two steps.

    Example: hypernode token -o token && hypernode agent --token-file token
    """
    from hypernode.answers import plain
    from hypernode.cli.exit import Usage
    from hypernode.cli.options import open_access
    from hypernode.cli.output import is_terminal, note, print_json
    from hypernode.cli.run import run_command

    if context.invoked_subcommand is not None:
        return
    node = _node_key_in(node_key)
    if output is not None and not output.absolute().parent.is_dir():
        msg = f"--output: there is no folder {output.absolute().parent}"
        raise Usage(msg)
    if print_transaction:
        _print_transaction(url, ca, hardware, node, encoding, as_json=as_json)
        return

    async def ask() -> IssuedToken:
        if signed is not None:
            return await _redeem(url, ca, signed)
        async with open_access(url, keypair, ca, hardware=hardware, encoding=encoding) as web:
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


def _node_key_in(text: str) -> bytes:
    from hypernode.cli.exit import Usage
    from onchain.address import decode_address
    from onchain.errors import BadAddress

    try:
        return decode_address(text) if text else b""
    except BadAddress as error:
        msg = f"--node-key: {error}"
        raise Usage(msg) from error


def _print_transaction(
    url: str, ca: Path | None, hardware: str, node: bytes, encoding: Encoding, *, as_json: bool
) -> None:
    """The first of two steps: what to sign elsewhere."""
    from coordinator.protocol.memo import build_memo
    from hypernode.access_web import AccessWeb
    from hypernode.cli.exit import Usage
    from hypernode.cli.hardware import parse_hardware
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command
    from hypernode.hardware import encode_transaction

    if not hardware:
        msg = "--print-transaction: whose? pass --hardware ADDRESS"
        raise Usage(msg)
    wallet = parse_hardware(hardware)

    async def ask() -> str:
        async with AccessWeb(url, None, ca=ca) as web:
            return await web.token_text(wallet, node)

    text = run_command(ask)
    transaction = encode_transaction(build_memo(wallet, text), encoding)
    if as_json:
        print_json({"transaction": transaction, "message": text})
    else:
        typer.echo(transaction)


async def _redeem(url: str, ca: Path | None, signed: Path) -> IssuedToken:
    """The second step: a token for what was signed elsewhere."""
    from coordinator.protocol.errors import Refusal
    from hypernode.access_web import AccessWeb
    from hypernode.cli.exit import Usage
    from hypernode.cli.hardware import read_answer
    from hypernode.hardware import proof_in, transaction_in, words_of

    answer = read_answer(signed)
    try:
        (_raw, found), *_more = filter(None, map(transaction_in, words_of(answer)))
    except (ValueError, Refusal) as error:
        reason = error.sentence if isinstance(error, Refusal) else "it holds no transaction"
        msg = f"--signed: {reason}"
        raise Usage(msg) from error
    text = found.memo.decode("ascii", "replace")
    proof = proof_in(answer, found.payer, text, b"")
    async with AccessWeb(url, None, ca=ca) as web:
        return await web.redeem(found.payer, text, proof["transaction"])


def _write_token(path: Path, token: str) -> None:
    """Whole or not at all, and never readable by others."""
    import os

    part = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(part, flags, 0o600), "w", encoding="ascii") as file:
        file.write(token + "\n")
    part.replace(path)
