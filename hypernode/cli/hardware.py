"""Hardware wallets at the command line: shown a transaction on standard error, read back a line.

Rules:
  1. What is asked stands on standard error: standard output carries the answer only.
  2. Nothing is signed that was not built here from fields that were checked.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from hypernode.hardware import Hardware


class Encoding(StrEnum):
    """How a transaction is written."""

    BASE64 = "base64"
    BASE58 = "base58"


HardwareWallet = Annotated[
    str,
    typer.Option(
        "--hardware",
        metavar="ADDRESS",
        help="Sign with this wallet elsewhere (a Ledger, another machine): a transaction is shown, "
        "what was signed is read from standard input.",
        show_default=False,
    ),
]
TransactionEncoding = Annotated[
    Encoding, typer.Option("--encoding", help="How the transaction is shown.")
]

#: Bytes read back: a transaction, and the lines that a tool prints around it.
_ANSWER_BYTES_MAX: Final = 64 * 1024


def parse_hardware(address: str) -> bytes:
    """The 32 bytes of a wallet's address.

    Raises:
        Usage: it is none.
    """
    from hypernode.cli.exit import Usage
    from onchain.address import decode_address
    from onchain.errors import BadAddress

    try:
        return decode_address(address)
    except BadAddress as error:
        msg = f"--hardware: {error}"
        raise Usage(msg) from error


def hardware_wallet(address: str, encoding: Encoding = Encoding.BASE64) -> Hardware:
    """The wallet of this address; whoever sits here is asked to have things signed."""
    from hypernode.hardware import Hardware, encode_transaction

    async def ask(text: str, unsigned: bytes) -> str:
        import trio

        _show(text, encode_transaction(unsigned, encoding))
        return await trio.to_thread.run_sync(_read_line, abandon_on_cancel=True)

    return Hardware(parse_hardware(address), ask)


def _show(text: str, transaction: str) -> None:
    from hypernode.cli.output import note

    note("This wallet is asked to sign:\n")
    note("\n".join(f"    {line}" for line in text.splitlines()))
    note(
        "\nSign this transaction with it (it carries that text as a memo; its blockhash is zero, so"
        "\nit can never be sent), or sign the text itself with `solana sign-offchain-message`:\n"
    )
    note(transaction)
    note(
        "\nPaste the signed transaction (base64 or base58), PUBKEY=SIGNATURE or the signature,"
        "\nwithin ten minutes:"
    )


def _read_line() -> str:
    from hypernode.cli.exit import Usage

    while line := sys.stdin.readline(_ANSWER_BYTES_MAX):
        if line.strip():
            return line
    msg = "--hardware: nothing came back on standard input"
    raise Usage(msg)


def read_answer(file: Path) -> str:
    """What another program wrote, from a file or (`-`) from standard input.

    Raises:
        Usage: it is no text.
    """
    from hypernode.cli.exit import Usage

    try:
        if str(file) == "-":
            return sys.stdin.read(_ANSWER_BYTES_MAX)
        with file.open(encoding="ascii") as opened:
            return opened.read(_ANSWER_BYTES_MAX)
    except UnicodeDecodeError as error:
        msg = f"--signed: {file} is not the text of a transaction"
        raise Usage(msg) from error
