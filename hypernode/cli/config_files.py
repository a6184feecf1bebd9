"""What a start would refuse of files and folders that settings name, tried without a start.

In:   a `Reading`; what is wrong is noted in it.
Not here: what only a start can find out (a port that is taken), and the chain (`config_online`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.settings import Reading
    from coordinator.tls import Tls


def try_coordinator(reading: Reading) -> Tls | None:
    """Note which files cannot serve; the certificate, if it can."""
    from coordinator.certificate import TlsError
    from coordinator.clock import SystemClock
    from coordinator.key_files import key_file_problems
    from coordinator.tls import Tls

    tls = None
    cert, key, db = (reading.values.get(name) for name in ("tls_cert", "tls_key", "db"))
    try:
        if cert and key:
            tls = Tls(Path(cert), Path(key), SystemClock())
    except TlsError as error:
        reading.wrong(error.setting, str(error))
    for setting, said in key_file_problems(reading.values):
        reading.wrong(setting, said)
    if db:
        _try_folder("db", Path(db).parent, reading)
    if folder := reading.values.get("backup_folder"):
        _try_folder("backup_folder", Path(folder), reading)
    return tls


def try_settlement(reading: Reading) -> None:
    """The key file that signs, and what a market that is still to be made would be refused for."""
    from coordinator.protocol.signing import KeyFileError
    from coordinator.settings import Problem
    from hypernode.cli.chain_init import limits_in, roles_in
    from hypernode.cli.chain_settings import ChainSettings, signer_in
    from hypernode.cli.exit import Usage

    settings = ChainSettings(**reading.values)
    try:
        if settings.keypair is not None:
            signer_in(settings)
    except KeyFileError as error:
        reading.wrong("keypair", f"{settings.keypair}: {error.args[1]}")
    except OSError as error:
        reading.wrong("keypair", f"{settings.keypair}: {error.strerror}")
    if settings.ledger is not None:
        return
    for part, look in (("roles", roles_in), ("limits", limits_in)):
        try:
            look(settings)
        except Usage as error:
            reading.problems.extend(Problem(part, "", line) for line in str(error).split("\n"))


def try_agent(reading: Reading) -> None:
    from coordinator.protocol.trust import CaError, client_context

    ca, state_dir = (reading.values.get(name) for name in ("ca", "state_dir"))
    try:
        if ca:
            client_context(Path(ca).expanduser())
    except CaError as error:
        reading.wrong("ca", str(error))
    if state_dir:
        _try_folder("state_dir", Path(state_dir).expanduser(), reading)


def _try_folder(setting: str, folder: Path, reading: Reading) -> None:
    """A folder that is there can be written; one that is not can be made, as a start does it."""
    import os

    nearest = folder if folder.exists() else folder.parent
    if not nearest.is_dir():
        reading.wrong(setting, f"there is no folder {nearest}")
    elif not os.access(nearest, os.W_OK):
        reading.wrong(setting, f"nothing can be written into {nearest}")
