"""`hypernode chain`: what an owner does on Solana; each command in a module of its own."""

from __future__ import annotations

import typer

from hypernode.cli import (
    chain_deploy,
    chain_dev,
    chain_init,
    chain_proposals,
    chain_roles,
    chain_roots,
    chain_status,
    chain_verify,
)

app = typer.Typer(
    help="The settlement program on Solana: a development chain, deployment, the ledger's roles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(chain_dev.app, name="dev")
app.command("deploy")(chain_deploy.deploy)
app.command("init")(chain_init.init)
app.command("status")(chain_status.status)
app.command("verify")(chain_verify.verify)
app.command("propose")(chain_proposals.propose)
app.command("apply")(chain_proposals.apply)
app.command("cancel")(chain_proposals.cancel)
app.command("pause")(chain_roles.pause)
app.command("cancel-root")(chain_roots.cancel_root)
app.command("revoke-root")(chain_roots.revoke_root)
app.command("tighten")(chain_roles.tighten)
app.command("void-vouchers")(chain_roles.void_vouchers)
app.command("accept-admin")(chain_proposals.accept_admin)
