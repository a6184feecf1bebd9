"""What a wallet gives and takes back over HTTP: tokens signed elsewhere, and everything revoked.

Not here: how a session is opened and a call is made (`web.py`).
"""

from __future__ import annotations

from functools import partial
from urllib.parse import quote as escape

from coordinator.protocol.signin import node_key_of, parse_text
from hypernode.answers import IssuedToken, OpenThing, RevokedAll
from hypernode.errors import NotFound, error_of
from hypernode.signin import check_signed
from hypernode.web import Web, decode, patiently
from onchain.address import encode_address


class AccessWeb(Web):
    """HTTP calls about who may do what."""

    async def token_text(self, wallet: bytes, node_key: bytes = b"") -> str:
        """The text that this wallet signs elsewhere to get a token, checked."""
        ask = partial(
            self._challenge, "/api/nodes/challenge", wallet, scope="token", node_key=node_key
        )
        return (await patiently(ask)).text

    async def redeem(self, wallet: bytes, text: str, transaction: str) -> IssuedToken:
        """The token for a memo transaction with this text that a wallet signed elsewhere.

        Raises:
            HypernodeError: the text is not for this coordinator, or was refused.
        """
        fields = parse_text(text)
        node_key = (node_key_of(fields) if fields is not None else None) or b""
        asked = check_signed(
            wallet, text, domain=self.domain, now_ms=self._clock.wall_ms(), node_key=node_key
        )
        proof = {
            "wallet": encode_address(wallet), "nonce": asked.nonce, "transaction": transaction,
        }  # fmt: skip
        # Once: a proof is spent by its first use, whatever becomes of the answer.
        return decode(
            await self._call_once("POST", "/api/nodes/issue-token", json=proof), IssuedToken
        )

    async def open_things(self, wallet: str = "") -> list[OpenThing]:
        """This wallet's sessions, unspent tokens and node keys; another's for an administrator."""
        query = {"wallet": wallet} if wallet else {}
        return await self._ask(
            "GET", "/api/sessions", list[OpenThing], params=query, signed_in=True
        )

    async def revoke(self, name: str, wallet: str = "") -> None:
        """Take back one session, token or node key, by its id in `open_things`.

        Raises:
            NotFound: this wallet has no such thing.
        """
        query = {"wallet": wallet} if wallet else {}
        path = f"/api/sessions/{escape(name, safe='')}"
        try:
            await self._call("DELETE", path, params=query, signed_in=True)
        except NotFound as error:
            sentence = f"this wallet has no {name[:80]!r} to revoke"
            raise error_of("not_found", sentence) from error

    async def revoke_all(self, wallet: str = "", *, with_nodes: bool) -> RevokedAll:
        """Take back all sessions, this one too, and unspent tokens; node keys if asked."""
        query = {
            "nodes": "true" if with_nodes else "false",
            **({"wallet": wallet} if wallet else {}),
        }
        tally = await self._ask("DELETE", "/api/sessions", RevokedAll, params=query, signed_in=True)
        self._bearer = self._bearer if wallet else ""
        return tally
