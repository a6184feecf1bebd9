"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from coordinator.protocol.signin import Scope
    from coordinator.protocol.signing import Keypair
    from hypernode.access_web import AccessWeb
    from hypernode.admin_web import AdminWeb
    from hypernode.cli.hardware import Encoding
    from hypernode.client import AsyncClient
    from hypernode.hardware import Hardware
    from hypernode.watch_web import WatchWeb
    from hypernode.web import Web

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="HYPERNODE_URL",
        help="The coordinator's address: http(s):// or ws(s)://, host and port.",
    ),
]
KeypairFile = Annotated[
    Path | None,
    typer.Option(
        "--keypair",
        "-k",
        envvar="HYPERNODE_KEYPAIR",
        help="Wallet: a Solana key file (default: ~/.config/hypernode/wallet.json).",
        show_default=False,
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="HYPERNODE_CA",
        help="Certificates of authorities to believe, PEM (default: the system's).",
        show_default=False,
    ),
]
AsAdmin = Annotated[
    bool, typer.Option("--admin", help="As an administrator of the coordinator: everybody's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

URL_DEFAULT: Final = "http://127.0.0.1:3001"


def wallet_path(given: Path | None, *, is_needed: bool = True) -> Path | None:
    """The wallet's file: the one that was given, or the default one where it exists.

    Raises:
        Usage: a wallet is needed and there is none.
    """
    from hypernode.cli.exit import Usage
    from hypernode.wallet_file import default_wallet_path

    if given is not None:
        return given.expanduser()
    default = default_wallet_path()
    if default.exists():
        return default
    if is_needed:
        msg = (
            f"this needs a wallet: pass --keypair FILE, set HYPERNODE_KEYPAIR, or make one with "
            f"`hypernode wallet new` (it goes to {default})"
        )
        raise Usage(msg)
    return None


def open_client(
    url: str, keypair: Path | None, *, is_needed: bool = True, ca: Path | None = None
) -> AsyncClient:
    """A client of this coordinator, for this wallet."""
    from hypernode.cli.exit import Usage
    from hypernode.client import AsyncClient

    try:
        return AsyncClient(url, wallet_path(keypair, is_needed=is_needed), ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error


def open_web(
    url: str, keypair: Path | None, *, is_needed: bool = True, ca: Path | None = None
) -> Web:
    """HTTP calls to this coordinator, for this wallet."""
    from hypernode.cli.exit import Usage
    from hypernode.wallet_file import read_wallet
    from hypernode.web import Web

    path = wallet_path(keypair, is_needed=is_needed)
    try:
        return Web(url, read_wallet(path) if path is not None else None, ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error


def open_access(
    url: str,
    keypair: Path | None,
    ca: Path | None,
    *,
    hardware: str = "",
    encoding: Encoding | None = None,
    scope: Scope = "wallet",
) -> AccessWeb:
    """HTTP calls about who may do what, for this wallet or for one that signs elsewhere."""
    from hypernode.access_web import AccessWeb
    from hypernode.cli.exit import Usage
    from hypernode.cli.hardware import Encoding, hardware_wallet
    from hypernode.wallet_file import read_wallet

    signer: Keypair | Hardware | None = None
    if hardware:
        signer = hardware_wallet(hardware, encoding or Encoding.BASE64)
    elif path := wallet_path(keypair):
        signer = read_wallet(path)
    try:
        return AccessWeb(url, signer, scope=scope, ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error


def open_watch(url: str, keypair: Path | None, *, ca: Path | None, scope: Scope) -> WatchWeb:
    """HTTP calls to this coordinator for somebody who watches; a wallet shows more."""
    from hypernode.cli.exit import Usage
    from hypernode.wallet_file import read_wallet
    from hypernode.watch_web import WatchWeb

    path = wallet_path(keypair, is_needed=scope == "wallet")
    try:
        return WatchWeb(url, read_wallet(path) if path else None, scope=scope, ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error


def open_admin(url: str, keypair: Path | None, ca: Path | None) -> AdminWeb:
    """HTTP calls to this coordinator, for a wallet that is one of its administrators'."""
    from hypernode.admin_web import AdminWeb
    from hypernode.cli.exit import Usage
    from hypernode.wallet_file import read_wallet

    path = wallet_path(keypair)
    assert path is not None, "one was needed"
    try:
        return AdminWeb(url, read_wallet(path), scope="admin", ca=ca)
    except ValueError as error:
        raise Usage(str(error)) from error
