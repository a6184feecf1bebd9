"""A new node key for an agent that stands still: the old one is kept aside, then no longer used.

In:   the state directory of an agent that does not run.
Out:  a fresh key in its place, bound to nothing: the next start needs a token for it.
Rules:
  1. Results that were not acknowledged belong to the old key: while there are any, nothing changes.
  2. The new key is on the disk before the old one is moved: a kill in between loses neither.
Not here: revoking the old key, which only its wallet can do (`hypernode nodes revoke`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from agent.config import ConfigError
from agent.disk import FolderDisk
from agent.main import KEY_FILE, StateDirMissing, locked
from agent.outbox import Outbox
from agent.state import State
from coordinator.protocol.signing import generate, load_keypair, save_keypair
from onchain.address import encode_address


class ResultsUnsent(ConfigError):
    """Results of the present node key are not sent yet: start the agent once more, then rotate."""


class Rotated(NamedTuple):
    """Addresses of the old and the new node key, and where the old one is kept."""

    old: str
    new: str
    kept: Path


async def rotate_key(folder: Path) -> Rotated:
    """Give an agent a new node key.

    Args:
        folder: Its state directory.

    Raises:
        StateDirMissing: there is no agent's state there.
        StateInUse: the agent runs.
        ResultsUnsent: it has results to send first.
        KeyFileError: its present key cannot be read.
    """
    path = folder / KEY_FILE
    if not path.exists():
        raise StateDirMissing(str(folder))
    with locked(folder):
        disk = FolderDisk(folder)
        if len(await Outbox.load(disk)):
            raise ResultsUnsent(str(folder))
        old, new = load_keypair(path), generate()
        kept = folder / f"node-key.{encode_address(old.address)[:8]}.json"
        fresh = folder / f"{KEY_FILE}.new"
        fresh.unlink(missing_ok=True)
        save_keypair(fresh, new)
        os.link(path, kept)
        fresh.replace(path)
        await (await State.load(disk)).unbind()
    return Rotated(encode_address(old.address), encode_address(new.address), kept)
