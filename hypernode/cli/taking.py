"""`hypernode coordinator take-over`: after a restore, a root that the books have forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hypernode.cli.backup import ConfigOption, DbOption, JsonOption, settings_of


def take_over(
    leaves: Annotated[Path, typer.Argument(metavar="LEAVES", help="The root's leaf file.")],
    *,
    db: DbOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a root over that the chain holds and the books have forgotten: after a restore.

    Stop the coordinator first. The file is one of the folder `leaves` beside the database, or what
    a guardian kept; it must be the active or the pending root on the chain, leaf by leaf. What the
    books lack of it is credited, and is your loss: do this for a root that YOUR publisher signed.

    Example: hypernode coordinator take-over leaves/epoch-000012-90ab….leaves --config c.toml
    """
    from coordinator.recover import take_over as take
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.run import run_command
    from onchain.amounts import format_hyper

    settings = settings_of(db, config)
    taken = run_command(lambda: take(settings, leaves))
    facts = {
        "epoch": str(taken.epoch.number),
        "state": taken.epoch.state.value,
        "lacked": format_hyper(taken.lacked),
        "loss": format_hyper(taken.loss),
    }
    if as_json:
        print_json(facts)
        return
    print_facts(facts)
    if taken.loss:
        where = settings.treasury_wallet or "the treasury wallet: set treasury_wallet first"
        typer.echo(f"deposit {facts['loss']} HYPER for {where} before the next root")
