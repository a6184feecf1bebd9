"""Where claims are asked for: as Solana Actions, or for the house to pay and send them.

In:   wallets in base58; the shell that settles, which reads the chain (`settlement.claiming`) and
      pays (`settlement.sponsoring`).
Out:  the bodies of `onchain.actions`, views of sponsored claims, or a `Refusal`.
Rules:
  1. Anybody may pay the fee of anybody's claim; it pays to its wallet's own token account only.
  2. What a client shows lies at an https address of ours: without one there are no Actions.
Not here: routes (`action_routes`), transactions (`settlement.claiming`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode

from coordinator.desk import parse_wallet
from coordinator.protocol.errors import Refusal
from coordinator.settlement_desk import SettlementDesk
from coordinator.settlement_state import Claiming, Offered, SponsoringClaims
from coordinator.settlement_views import ClaimView, claim_view
from onchain import actions
from onchain.address import encode_address
from onchain.amounts import format_hyper

_NAME_BYTES = 32
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

    async def offer_claim(self, wallet: str) -> ClaimView:
        """A claim that the house pays for, for its wallet to sign."""
        raw = parse_wallet(wallet)
        return _offer_view(await self._sponsoring().offer(raw))

    async def accept_claim(self, claim: str, transaction: str) -> ClaimView:
        """Pay for a claim that its wallet has signed, and send it."""
        name, sponsoring = _name(claim), self._sponsoring()
        try:
            returned = b64decode(transaction, validate=True)
        except ValueError as error:
            raise Refusal("not_as_built", "the transaction is not base64") from error
        return claim_view(await sponsoring.accept(name, returned))

    async def sponsored_claim(self, claim: str) -> ClaimView:
        """How such a claim stands."""
        name = _name(claim)
        self._settling()
        found = await self.read(lambda reader: reader.sponsored(name))
        if found is not None:
            return claim_view(found)
        sponsoring = self.settling.sponsoring if self.settling else None
        offered = sponsoring.offered(name) if sponsoring else None
        if offered is None:
            raise Refusal("claim_unknown")
        return _offer_view(offered)

    def _sponsoring(self) -> SponsoringClaims:
        """Who pays for claims.

        Raises:
            Refusal: `no_chain`, `chain_unreachable`, `sponsor_off`.
        """
        self._claiming()
        sponsoring = self.settling.sponsoring if self.settling else None
        if sponsoring is None:
            raise Refusal("sponsor_off")
        return sponsoring

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


def _name(claim: str) -> bytes:
    """A claim's name from its hexadecimal.

    Raises:
        Refusal: `claim_unknown`.
    """
    try:
        name = bytes.fromhex(claim)
    except ValueError as error:
        raise Refusal("claim_unknown") from error
    if name.hex() != claim or len(name) != _NAME_BYTES:
        raise Refusal("claim_unknown")
    return name


def _offer_view(offered: Offered) -> ClaimView:
    return ClaimView(
        claim=offered.name.hex(),
        wallet=encode_address(offered.wallet),
        state="building",
        amount=format_hyper(offered.pay),
        lamports=offered.lamports,
        transaction=b64encode(offered.raw).decode(),
    )
