"""Where settlement begins: only where it is configured, and its libraries are only then imported.

In:   a coordinator whose writer runs.
Out:  the tasks of `settlement.shell` and `settlement.pushing`, and the API that knows them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import trio

from coordinator.ports import PapersPort
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
    _begin_pushing(coordinator, settlement, house)
    await house.start(settlement.run)


def _begin_pushing(coordinator: Coordinator, settlement: Settlement, house: trio.Nursery) -> None:
    """Send agents their earnings papers from now on."""
    from coordinator.settlement.pushing import Pushing  # noqa: PLC0415 - as the shell

    operations = coordinator.operations

    def is_here(holder: PapersPort) -> bool:
        agent: object = operations.agents.get(holder.node.id)
        return agent is holder

    pushing = Pushing(
        settlement,
        is_here=is_here,
        read=coordinator.api.read,
        wall_ms=operations.clock.wall_ms,
        metrics=coordinator.metrics.settlement,
    )
    coordinator.api.on_papers, settlement.after_round = pushing.join, pushing.look
    house.start_soon(pushing.run)
