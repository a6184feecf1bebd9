"""Settlement over HTTP: where a coordinator settles, and a wallet's wish to take its credit back.

Rules:
  1. The text of a withdrawal is written here, from what its owner means; nothing that a coordinator
     sends is signed. Its key in the text is the one that the sign-in text named.
Not here: claims and proofs of earnings (`onchain`).
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from urllib.parse import quote as escape

from coordinator.clock import iso_seconds
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.signin import CHAINS
from coordinator.protocol.withdrawal import withdrawal_text
from hypernode.answers import (
    ClaimInfo,
    EpochInfo,
    ProofInfo,
    SettlementInfo,
    VoucherInfo,
    Withdrawn,
)
from hypernode.errors import error_of
from hypernode.submission import Amount, amount_text
from hypernode.web import Web
from onchain.address import decode_address, encode_address
from onchain.amounts import format_hyper, parse_hyper
from onchain.errors import BadAddress


class SettlementWeb(Web):
    """HTTP calls about settlement."""

    async def settlement(self) -> SettlementInfo:
        """Where this coordinator settles, and how that stands; needs no wallet."""
        return await self._ask("GET", "/api/settlement", SettlementInfo)

    async def epochs(self) -> list[EpochInfo]:
        """The newest epochs; needs no wallet."""
        return await self._ask("GET", "/api/epochs", list[EpochInfo])

    async def proof(self, wallet: str) -> ProofInfo:
        """The proof of a wallet's leaf in the active root; needs no wallet.

        Raises:
            NotFound: it has no leaf there.
        """
        return await self._ask("GET", f"/api/earnings/{escape(wallet, safe='')}/proof", ProofInfo)

    async def voucher(self, wallet: str) -> bytes:
        """A wallet's voucher, the bytes of its file; nothing in it was checked. Needs no wallet.

        Raises:
            NotFound: there is none for it.
        """
        path = f"/api/earnings/{escape(wallet, safe='')}/voucher"
        found = await self._ask("GET", path, VoucherInfo)
        try:
            return decode_base64url(found.voucher)
        except ValueError as error:
            raise error_of("malformed", "the voucher is not base64url") from error

    async def offer_claim(self, wallet: str) -> ClaimInfo:
        """A wallet's claim whose fee the owner pays; nothing in it was checked. Needs no wallet.

        Raises:
            HypernodeError: the owner does not pay for it; the code says why.
        """
        return await self._ask("POST", "/api/claims", ClaimInfo, json={"wallet": wallet})

    async def accept_claim(self, claim: str, transaction: bytes) -> ClaimInfo:
        """Hand it back with the wallet's signature: it is sent. Said again it is the same claim."""
        body = {"transaction": b64encode(transaction).decode()}
        path = f"/api/claims/{escape(claim, safe='')}"
        return await self._ask("POST", path, ClaimInfo, json=body)

    async def sponsored_claim(self, claim: str) -> ClaimInfo:
        """How it stands."""
        return await self._ask("GET", f"/api/claims/{escape(claim, safe='')}", ClaimInfo)

    async def settle_now(self, anew: int = 0) -> SettlementInfo:
        """One round of settlement now; needs an `admin` session.

        Args:
            anew: The last epoch, if its leaves are to be fixed anew first.

        Raises:
            HypernodeError: `epoch_state`: it may be on the chain, or is not the last one.
        """
        path = f"/api/settlement/rounds{f'?anew={anew}' if anew else ''}"
        return await self._ask("POST", path, SettlementInfo, signed_in=True)

    async def withdraw(self, amount: Amount, key: str | None = None, ledger: str = "") -> Withdrawn:
        """Make unspent credit earnings of this wallet's: they leave by the next root.

        Args:
            amount: HYPER, such as `"1.5"`.
            key: Your own name for it: the same name and amount again is the same withdrawal; random
                if not given.
            ledger: The ledger's address that you know; by default the one that is told.

        Raises:
            HypernodeError: `no_chain` for a coordinator that settles elsewhere or nowhere,
                `insufficient_credit`, `exit_pending`, `key_conflict`.
        """
        units = parse_hyper(amount_text(amount))
        told = await self.settlement()
        await self.bearer()
        if ledger and ledger != told.ledger:
            raise error_of("no_chain", f"this coordinator settles on {told.ledger}, not {ledger}")
        if told.chain_id not in CHAINS or told.coordinator_key != encode_address(
            self.coordinator_key
        ):
            raise error_of("malformed", "the coordinator does not say where it settles")
        name, issued_ms = key or secrets.token_hex(16), self._clock.wall_ms()
        text = withdrawal_text(
            coordinator_key=self.coordinator_key,
            chain=told.chain_id,
            ledger=_address(told.ledger),
            wallet=self._wallet().address,
            amount=units,
            key=name,
            issued_ms=issued_ms,
        )
        body = {
            "amount": format_hyper(units), "key": name, "issuedAt": iso_seconds(issued_ms),
            **await self._wallet().prove(text),
        }  # fmt: skip
        return await self._ask("POST", "/api/withdrawals", Withdrawn, json=body, signed_in=True)

    async def withdrawals(self) -> list[Withdrawn]:
        """This wallet's newest withdrawals."""
        return await self._ask("GET", "/api/withdrawals", list[Withdrawn], signed_in=True)


def _address(text: str) -> bytes:
    try:
        return decode_address(text)
    except BadAddress as error:
        raise error_of("malformed", "the coordinator does not say where it settles") from error
