"""Where claims are asked for: as Solana Actions, for whoever has a wallet that can sign.

In:   wallets in base58; the shell that settles, which reads the chain (`settlement.claiming`).
Out:  the bodies of `onchain.actions`, or a `Refusal`.
Rules:
  1. Anybody may pay the fee of anybody's claim; it pays to its wallet's own token account only.
  2. What a client shows lies at an https address of ours: without one there are no Actions.
Not here: routes (`action_routes`), transactions (`settlement.claiming`).
"""

from __future__ import annotations

from coordinator.desk import parse_wallet
from coordinator.protocol.errors import Refusal
from coordinator.settlement_desk import SettlementDesk
from coordinator.settlement_state import Claiming
from onchain import actions
from onchain.amounts import format_hyper

#: Where the picture lies that clients show beside a claim.
ICON_PATH = f"{actions.CLAIM_PATH.rpartition('/')[0]}/icon.svg"


class ClaimsDesk(SettlementDesk):
    """The part of the house's counter where claims are asked for."""

    def chain_name(self) -> str:
        """CAIP-2 name of the chain; "" until it was read."""
        claiming = self.settling.claiming if self.settling else None
        return claiming.chain_name if claiming else ""

    def action_rules(self) -> actions.ActionRules:
        """Which paths of this domain are Actions."""
        self._actions_uri()
        return actions.rules(actions.CLAIM_PATH)

    async def claim_action(self, wallet: str = "") -> actions.ActionMetadata:
        """What a client shows of a claim; with a wallet, what it would pay now."""
        uri, payable, refusal = self._actions_uri(), None, ""
        if wallet:
            raw = parse_wallet(wallet)
            try:
                payable = await self._claiming().payable(raw)
            except Refusal as error:
                if error.code not in {"claim_refused", "not_found"}:
                    raise
                refusal = error.sentence
        return actions.claim_metadata(
            icon=f"{uri}{ICON_PATH}",
            market=self.house.realm.domain,
            payable=payable,
            refusal=refusal,
        )

    async def claim_transaction(self, account: str, wallet: str = "") -> actions.ActionTransaction:
        """A claim for an account to sign and pay for: its own, or another wallet's."""
        self._actions_uri()
        payer = parse_wallet(account)
        whose = parse_wallet(wallet) if wallet else payer
        built = await self._claiming().build(whose, payer)
        return actions.claim_answer(built.raw, f"Pays {format_hyper(built.pay)} HYPER.")

    def _actions_uri(self) -> str:
        """This coordinator's https address.

        Raises:
            Refusal: `no_chain`, `no_actions`.
        """
        self._settling()
        uri = self.house.realm.uri.rstrip("/")
        if not uri.startswith("https://"):
            raise Refusal("no_actions", "Solana Actions need an https address: set uri")
        return uri

    def _claiming(self) -> Claiming:
        """Who builds claims.

        Raises:
            Refusal: `no_chain`, `chain_unreachable`.
        """
        self._settling()
        if self.settling is None:
            raise Refusal("no_chain", "this coordinator has no nodes: set rpc")
        if self.settling.claiming is None:
            raise Refusal("chain_unreachable", "the chain was not read yet: try again soon")
        return self.settling.claiming
