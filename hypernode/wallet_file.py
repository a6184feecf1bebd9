"""Which wallet is meant where none is named: the same answer for programs and the command line.

Rules:
  1. A named file, else `$HYPERNODE_KEYPAIR`, else `wallet.json` in our folder of `~/.config`.
  2. The last one counts only where it exists; a named one that does not exist is an error.
Not here: the file's form and mode (`coordinator.protocol.signing`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from coordinator.protocol.signing import Keypair, load_keypair

KEYPAIR_VARIABLE: Final = "HYPERNODE_KEYPAIR"


class NoWallet(FileNotFoundError):
    """There is no such key file."""


def default_wallet_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a wallet is looked for if no file is named."""
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "hypernode" / "wallet.json"


def known_wallet_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The wallet that is meant where no file is named; nothing if there is none."""
    named = environ.get(KEYPAIR_VARIABLE)
    if named:
        return Path(named).expanduser()
    default = default_wallet_path(environ)
    return default if default.exists() else None


def read_wallet(path: Path | str) -> Keypair:
    """The key pair in a file.

    Raises:
        NoWallet: there is no such file.
        OSError: it cannot be read.
        KeyFileError: it is no key file, or others may read it.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, not a key file", str(file))
    try:
        return load_keypair(file)
    except FileNotFoundError as error:
        sentence = f"there is no such wallet: make one with `hypernode wallet new {file}`"
        raise NoWallet(errno.ENOENT, sentence, str(file)) from error


def wallet_of(keypair: Keypair | Path | str | None) -> Keypair | None:
    """The key pair that was given, in a named file, or in the file that is meant; else nothing."""
    if keypair is None:
        keypair = known_wallet_path()
    return read_wallet(keypair) if isinstance(keypair, Path | str) else keypair
