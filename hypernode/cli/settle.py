"""`hypernode settle`: how settlement stands, one round of it now, and a root recomputed.

`run` asks the coordinator, in an `admin` session: its process owns the books and the publisher's
journal, and a second settler beside it would be one too many.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.chain_options import ConfigFile, Ledger, Rpc
from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from hypernode.answers import EpochInfo, SettlementInfo
    from onchain.views import Root

app = typer.Typer(no_args_is_help=True, help="Settlement: how it stands, a round now, a check.")


@app.command("status")
def status(*, url: Url = URL_DEFAULT, ca: CaFile = None, as_json: AsJson = False) -> None:
    """Show where a coordinator settles and how its epochs stand.

    Example: hypernode settle status
    """
    from hypernode.answers import plain
    from hypernode.cli.claims import open_settlement
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> tuple[SettlementInfo, list[EpochInfo]]:
        async with open_settlement(url, ca) as web:
            return await web.settlement(), await web.epochs()

    told, epochs = run_command(ask)
    if as_json:
        print_json({**plain(told), "epochs": [plain(epoch) for epoch in epochs]})
        return
    _print(told)
    _print_epochs(epochs)


@app.command("run")
def run_now(
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Let the coordinator settle now (administrators): a round, with an epoch if the chain allows.

    It says what the round did, and what the next step waits for. A root takes more than one: see
    it published, let the guardian approve it, see it active. Status 1 if the round ended badly.

    Example: hypernode settle run -k admin.json
    """
    _round(url, ca, keypair, as_json=as_json)


@app.command("reclose")
def reclose(
    epoch: Annotated[int, typer.Argument(min=1, help="The last epoch: closed, never published.")],
    *,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Fix the leaves of an epoch anew that was closed wrongly (administrators), then do a round.

    Refused where its root is on the chain, or was signed and may still land. See docs/operation.md,
    "When the settler has stopped".

    Example: hypernode settle reclose 12 -k admin.json
    """
    _round(url, ca, keypair, anew=epoch, as_json=as_json)


def _round(
    url: str, ca: Path | None, keypair: Path | None, *, anew: int = 0, as_json: bool
) -> None:
    """A round of the coordinator's, and what it said."""
    from hypernode.answers import plain
    from hypernode.cli.exit import Usage
    from hypernode.cli.options import wallet_path
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command
    from hypernode.settlement_web import SettlementWeb
    from hypernode.wallet_file import read_wallet

    path = wallet_path(keypair)
    assert path is not None, "one was needed"
    wallet = read_wallet(path)

    async def ask() -> SettlementInfo:
        try:
            web = SettlementWeb(url, wallet, scope="admin", ca=ca)
        except ValueError as error:
            raise Usage(str(error)) from error
        async with web:
            return await web.settle_now(anew)

    told = run_command(ask)
    if as_json:
        print_json(plain(told))
    else:
        _print(told, is_round=True)
    if told.alarm:
        raise typer.Exit(1)


@app.command("verify")
def verify(
    leaves: Annotated[Path, typer.Argument(help="A published leaf file.")],
    *,
    rpc: Rpc = None,
    ledger: Ledger = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Recompute a root from its leaf file, and compare it with the chain; status 1 if they differ.

    `curl -O COORDINATOR/api/epochs/12/leaves` gets a file; the ledger that you pin is asked.

    Example: hypernode settle verify epoch-12.leaves --ledger 7tB3…
    """
    from hypernode.cli.chain_deed import ledger_in, opened
    from hypernode.cli.claims import chain_settings
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.run import run_command
    from onchain.amounts import format_hyper

    settings = chain_settings(rpc, ledger, None, config)

    async def ask() -> dict[str, str]:
        import trio

        from hypernode.claims import naming
        from onchain.leaves import LeafFile
        from onchain.publication import prepare, promised_part

        def compute() -> tuple[bytes, Root]:
            with leaves.open("rb") as file, naming(leaves):
                found = prepare(LeafFile(file))
            return found.ledger, found.promised

        address, promised = await trio.to_thread.run_sync(compute)
        async with opened(settings) as chain:
            market, now = await ledger_in(chain, settings)
        held = {
            "pending": now.ledger.pending,
            "active": now.ledger.active,
            "previous": now.ledger.previous,
        }
        place = next((n for n, r in held.items() if r.epoch == promised.epoch), "")
        verdict = "not on the chain any more, or not yet"
        if address != market.ledger:
            verdict = "of another ledger"
        elif place:
            is_same = promised_part(held[place]) == promised
            verdict = "the same" if is_same else "DIFFERENT"
        return {
            "epoch": str(promised.epoch),
            "root": promised.root.hex(),
            "data_hash": promised.data_hash.hex(),
            "leaves": str(promised.leaf_count),
            "total": format_hyper(promised.total),
            "total_exitable": format_hyper(promised.total_exitable),
            "on_chain": place,
            "verdict": verdict,
        }

    told = run_command(ask)
    if as_json:
        print_json(told)
    else:
        print_facts({name.replace("_", " ").capitalize(): text for name, text in told.items()})
    if told["verdict"] != "the same":
        raise typer.Exit(1)


def _print(told: SettlementInfo, *, is_round: bool = False) -> None:
    from hypernode.cli.output import print_facts

    state = f"{told.alarm}: {told.said}" if told.alarm else "well"
    pending = f"{told.pending_epoch}, active from {_when(told.pending_at, told)}"
    facts = {
        "Ledger": f"{told.ledger} ({told.chain_id})",
        "State": f"stopped by {state}" if told.settler_stopped else state,
        "Chain read": told.looked_at or "not yet",
        "Active epoch": str(told.chain_epoch or "none"),
        "Pending epoch": pending if told.pending_epoch else "none",
        "Publishes": "yes" if told.publishes else "no: publisher_key is not set",
        "Under no root": f"{told.unrooted} HYPER, backed by {told.backed}",
        "Spending": told.stopped or f"until {told.spend_until}",
    }
    if is_round:
        did = told.did or ("nothing",)
        facts |= {f"Did {number}" if number > 1 else "Did": said
                  for number, said in enumerate(did, 1)}  # fmt: skip
    if told.waits:
        until = f", at {_when(told.waits_until, told)}" if told.waits_until else ""
        facts["Waits for"] = f"{told.waits}{until}"
    print_facts(facts)


def _when(at: str | None, told: SettlementInfo) -> str:
    """A moment of the chain's clock, and how far off it was in the latest round."""
    from datetime import datetime

    from hypernode.cli.moments import moment

    def seconds(text: str) -> int:
        return int(datetime.fromisoformat(text).timestamp())

    if at is None:
        return "some moment"
    return moment(seconds(at), None if told.clock is None else seconds(told.clock))


def _print_epochs(epochs: list[EpochInfo]) -> None:
    from hypernode.cli.output import print_table

    if epochs:
        rows = [
            (str(e.number), e.state, e.closed_at, e.total, str(e.leaves or ""), (e.root or "")[:16])
            for e in epochs
        ]
        print_table(("Epoch", "State", "Closed", "Earned in all", "Leaves", "Root"), rows)
