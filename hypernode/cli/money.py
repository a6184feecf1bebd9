"""`hypernode earnings`, `withdraw` and `faucet`: a wallet's money at a coordinator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hypernode.cli.options import URL_DEFAULT, AsJson, CaFile, KeypairFile, Url

if TYPE_CHECKING:
    from hypernode.answers import Account, NodeInfo, Withdrawn


def earnings(
    *,
    is_audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Compare books and chain: `hypernode audit` does it with files, too."
        ),
    ] = False,
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what this wallet earned and its credit for jobs.

    Example: hypernode earnings --json
    """
    from hypernode.answers import plain
    from hypernode.cli.nodes import print_nodes
    from hypernode.cli.options import open_web
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    if is_audit:
        from hypernode.cli.auditing import audit

        audit(url=url, ca=ca, keypair=None if keypair is None else str(keypair), as_json=as_json)
        return

    async def ask() -> tuple[Account, list[NodeInfo]]:
        async with open_web(url, keypair, ca=ca) as web:
            account = await web.account()
            return account, await web.nodes(account.wallet)

    account, nodes = run_command(ask)
    if as_json:
        print_json({**plain(account), "nodes": [plain(node) for node in nodes]})
        return
    _print_account(account)
    if nodes:
        print_nodes(nodes)


def faucet(
    amount: Annotated[str, typer.Argument(help='HYPER, such as "10" or "0.5".')],
    *,
    key: Annotated[
        str,
        typer.Option(
            help="A name for this gift: the same name gives once (no key file; random by default).",
            show_default=False,
        ),
    ] = "",
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Take development money, where the coordinator's faucet is on.

    Example: hypernode faucet 10
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_json
    from hypernode.cli.run import run_command

    async def ask() -> Account:
        async with open_client(url, keypair, ca=ca) as client:
            return await client.faucet(amount, key or None)

    account = run_command(ask)
    if as_json:
        print_json(plain(account))
    else:
        _print_account(account)


def withdraw(
    amount: Annotated[str, typer.Argument(help='HYPER, such as "10" or "0.5".')],
    *,
    key: Annotated[
        str,
        typer.Option(
            help="A name for this withdrawal: the same name withdraws once (no key file; random by "
            "default).",
            show_default=False,
        ),
    ] = "",
    ledger: Annotated[
        str,
        typer.Option(
            help="The ledger's address that you know; another one is refused.", show_default=False
        ),
    ] = "",
    url: Url = URL_DEFAULT,
    ca: CaFile = None,
    keypair: KeypairFile = None,
    as_json: AsJson = False,
) -> None:
    """Take unspent credit back: it becomes earnings, to be claimed after the next root.

    Example: hypernode withdraw 12.5
    """
    from hypernode.answers import plain
    from hypernode.cli.options import open_client
    from hypernode.cli.output import print_facts, print_json
    from hypernode.cli.run import run_command

    async def ask() -> Withdrawn:
        async with open_client(url, keypair, ca=ca) as client:
            return await client.withdraw(amount, key or None, ledger)

    withdrawn = run_command(ask)
    if as_json:
        print_json(plain(withdrawn))
        return
    epoch = f"epoch {withdrawn.epoch}" if withdrawn.epoch else "the next epoch"
    print_facts(
        {
            "wallet": withdrawn.wallet,
            "withdrawn": f"{withdrawn.amount} HYPER",
            "under the name": withdrawn.key,
            "leaves by the root of": epoch,
        }
    )


def _print_account(account: Account) -> None:
    from hypernode.cli.output import print_facts

    print_facts(
        {
            "wallet": account.wallet,
            "credit": f"{account.credit} HYPER",
            "held for open jobs": f"{account.held} HYPER",
            "earned in all": f"{account.earned_total} HYPER ({account.paid_jobs} jobs)",
            "earned, past withholding": f"{account.earned} HYPER",
            "withheld": f"{account.withheld} HYPER",
            "earned in the last day": f"{account.earned_last_day} HYPER",
        }
    )
