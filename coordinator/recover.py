"""After a restore, with the coordinator stopped: the database takes a root over from its leaf file.

In:   the configuration of the coordinator, a leaf file.
Out:  what came of it (`settlement.taking`).
Rules:
  1. No coordinator runs meanwhile: the database and the publisher's journal are held here.
  2. The events go through the engine, one a transaction, as a running coordinator's do.
"""

from __future__ import annotations

import secrets
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from coordinator.clock import SystemClock
from coordinator.engine import Engine
from coordinator.events import Event
from coordinator.leaf_files import LeafFiles
from coordinator.main import SECRET_BYTES, open_house
from coordinator.metrics import Metrics
from coordinator.settings import ConfigError
from coordinator.store.sqlite import open_sqlite
from coordinator.writer import run_inline

if TYPE_CHECKING:
    from coordinator.config import Config
    from coordinator.settlement.taking import Taken


async def take_over(config: Config, leaves: Path) -> Taken:
    """Take the root of a leaf file over.

    Raises:
        ConfigError: no ledger, no nodes, no database, or the extra `chain` is not installed.
        StoreError: a coordinator runs on the database, or it is damaged.
        Refusal, LeafFileError, ChainError, OSError: as `Taking.take`.
    """
    db = _database(config)
    shell: Any = import_module("coordinator.settlement.shell")
    clock = SystemClock()
    store = open_sqlite(db)
    try:
        house, _ = open_house(store, config, lambda _: secrets.token_bytes(SECRET_BYTES))
        engine = Engine(store, house)

        async def ask(event: Event) -> Any:
            await trio.lowlevel.checkpoint()
            (outcome,), _ = engine.apply([event], clock.wall_ms())
            if outcome.refusal is not None:
                raise outcome.refusal
            return outcome.value

        settlement = shell.Settlement(
            config,
            store=store,
            ask=ask,
            files=LeafFiles(Path(config.leaves)),
            metrics=Metrics(wall_ms=clock.wall_ms),
            wall_ms=clock.wall_ms,
            run_thread=run_inline,
        )
        try:
            taken: Taken = await settlement.take_over(leaves)
        finally:
            with trio.CancelScope(shield=True):
                await settlement.aclose()
        return taken
    finally:
        store.close()


def _database(config: Config) -> Path:
    db = Path(config.db)
    if config.ledger is None or not config.rpc:
        msg = "nothing is taken over: set ledger and rpc"
        raise ConfigError(msg)
    if not db.exists():
        msg = f"nothing is taken over: there is no database {db}"
        raise ConfigError(msg)
    return db
