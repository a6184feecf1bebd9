"""Where settlement begins: only where it is configured, and its libraries are only then imported.

In:   a coordinator whose writer runs.
Out:  the task of `settlement.shell`, and the API that knows it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import trio

from coordinator.settings import ConfigError

if TYPE_CHECKING:
    from coordinator.main import Coordinator
    from coordinator.settlement.shell import Settlement


async def begin_settling(coordinator: Coordinator, house: trio.Nursery) -> None:
    """Begin to settle, where a ledger and nodes are configured; the chain is read once by then.

    Raises:
        ConfigError: the extra `chain` is not installed, or the journal cannot be used.
        KeyFileError: a key file does not serve.
    """
    config, api = coordinator.config, coordinator.api
    if config.ledger is None or not config.rpc:
        return
    try:
        # A second of imports, and an extra that others do without.
        shell = await trio.to_thread.run_sync(import_module, "coordinator.settlement.shell")
    except ModuleNotFoundError as error:
        msg = f"ledger: settling needs {error.name}: pip install 'hypernode[chain]'"
        raise ConfigError(msg) from error
    settlement: Settlement = shell.Settlement(
        config,
        store=coordinator.store,
        ask=coordinator.operations.writer.ask,
        files=api.leaf_files,
        metrics=coordinator.metrics,
        wall_ms=coordinator.operations.clock.wall_ms,
        run_thread=trio.to_thread.run_sync,
    )
    api.settling, api.find_proof = settlement, settlement.proof
    await house.start(settlement.run)
