"""What a guardian asks the coordinator for, by HTTP; it believes what hashes and signatures prove.

In:   the coordinator's address. Out: a leaf file on its own disk; checked withdrawals.
Rules:
  1. A leaf file has as many bytes as the pending root's leaves need: no more are read.
  2. A file appears whole or not at all, and only with the hash that stands on the chain.
  3. Whatever goes wrong is `NotFetched`: nothing is known then, and time goes on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self, TypeAlias, cast

import httpx
import msgspec
from msgspec import Meta

from coordinator.limits import BODY_BYTES_MAX, WITHDRAWALS_PER_PAGE
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signin import milliseconds_of
from coordinator.protocol.signing import check_point
from coordinator.protocol.token import Form, signed_text
from coordinator.protocol.trust import client_context
from coordinator.protocol.withdrawal import withdrawal_text
from onchain.address import decode_address
from onchain.amounts import parse_hyper
from onchain.errors import OnchainError
from onchain.leaves import HEAD, LEAVES_MAX, ROW_BYTES
from onchain.views import Root

Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
#: Pages of withdrawals of one epoch: more than a million of them are not one epoch's.
_PAGES_MAX = 4096


class NotFetched(OnchainError):
    """The coordinator did not give what was asked for."""


class _Settlement(msgspec.Struct, rename="camel"):
    chain_id: Text
    ledger: Text
    coordinator_key: Text


class _Withdrawal(msgspec.Struct, rename="camel"):
    wallet: Text
    amount: Text
    key: Text
    issued_at: Text
    form: Text
    proof: Text


class _Page(msgspec.Struct):
    withdrawals: Annotated[list[_Withdrawal], Meta(max_length=WITHDRAWALS_PER_PAGE)]
    next: int | None = None


class Coordinator:
    """One coordinator's public pages."""

    def __init__(
        self,
        url: str,
        ca: Path | None = None,
        timeout_s: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        verify = client_context(ca) if url.startswith("https:") else True
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=timeout_s,
            trust_env=False,
            verify=verify,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def identity(self) -> tuple[bytes, bytes, str]:
        """Ledger, coordinator's key, and the chain's name in texts that wallets sign."""
        raw = await self._get("/api/settlement")
        try:
            found = msgspec.json.decode(raw, type=_Settlement)
            return (
                decode_address(found.ledger), decode_address(found.coordinator_key), found.chain_id,
            )  # fmt: skip
        except (msgspec.DecodeError, OnchainError) as error:
            raise NotFetched(str(error)) from error

    async def leaf_file(self, root: Root, folder: Path) -> Path:
        """The leaf file of a root, kept in this folder.

        Raises:
            NotFetched: it was not given, or is another one.
        """
        target = folder / f"epoch-{root.epoch:06}.leaves"
        size = HEAD.size + ROW_BYTES * min(root.leaf_count, LEAVES_MAX)
        draft, digest, got = target.with_suffix(".new"), sha256(), 0
        try:
            with draft.open("wb") as file:
                async with self._http.stream("GET", f"/api/epochs/{root.epoch}/leaves") as answer:
                    if answer.status_code != 200:
                        msg = f"epoch {root.epoch}: HTTP {answer.status_code}"
                        raise NotFetched(msg)
                    async with aclosing(_pieces(answer)) as pieces:
                        async for piece in pieces:
                            got += len(piece)
                            if got > size:
                                msg = f"epoch {root.epoch}: more than {size} bytes of leaves"
                                raise NotFetched(msg)
                            digest.update(piece)
                            file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if digest.digest() != root.data_hash:
                msg = f"epoch {root.epoch}: the file is not the one whose hash is on the chain"
                raise NotFetched(msg)
            draft.rename(target)
        except httpx.HTTPError as error:
            raise NotFetched(type(error).__name__) from error
        finally:
            draft.unlink(missing_ok=True)
        return target

    async def withdrawals(
        self, epoch: int, *, ledger: bytes, coordinator_key: bytes, chain: str
    ) -> Counter[bytes]:
        """What wallets signed away of their credit in an epoch, base units by wallet.

        Raises:
            NotFetched: a page is missing, or one was not signed by its wallet.
        """
        found: Counter[bytes] = Counter()
        seen: set[tuple[str, str]] = set()
        after: int | None = 0
        for _ in range(_PAGES_MAX):
            raw = await self._get(f"/api/epochs/{epoch}/withdrawals?after={after}")
            try:
                page = msgspec.json.decode(raw, type=_Page)
                for each in page.withdrawals:
                    if (each.wallet, each.key) not in seen:
                        seen.add((each.wallet, each.key))
                        wallet, amount = _checked(each, ledger, coordinator_key, chain)
                        found[wallet] += amount
            except (msgspec.DecodeError, OnchainError, Refusal, ValueError, KeyError) as error:
                msg = f"epoch {epoch}: a withdrawal that does not hold ({error})"
                raise NotFetched(msg) from error
            after = page.next
            if after is None:
                return found
        msg = f"epoch {epoch}: withdrawals without an end"
        raise NotFetched(msg)

    async def _get(self, path: str) -> bytes:
        try:
            async with self._http.stream("GET", path) as answer:
                body = b""
                async with aclosing(_pieces(answer)) as pieces:
                    async for piece in pieces:
                        body += piece
                        if len(body) > BODY_BYTES_MAX:
                            msg = f"{path}: more than {BODY_BYTES_MAX} bytes"
                            raise NotFetched(msg)
        except httpx.HTTPError as error:
            raise NotFetched(type(error).__name__) from error
        if answer.status_code != 200:
            msg = f"{path}: HTTP {answer.status_code}"
            raise NotFetched(msg)
        return body


def _pieces(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes; httpx says less of it than it is: it can be closed before its end."""
    return cast("AsyncGenerator[bytes, None]", answer.aiter_bytes())


def _checked(
    said: _Withdrawal, ledger: bytes, coordinator_key: bytes, chain: str
) -> tuple[bytes, int]:
    """Wallet and amount of a withdrawal that its wallet signed."""
    wallet, amount = decode_address(said.wallet), parse_hyper(said.amount)
    check_point(wallet)
    text = withdrawal_text(
        coordinator_key=coordinator_key,
        chain=chain,
        ledger=ledger,
        wallet=wallet,
        amount=amount,
        key=said.key,
        issued_ms=milliseconds_of(f"{said.issued_at[:19]}Z"),
    )
    proof = decode_base64url(said.proof)
    if said.form == Form.TRANSACTION.value:
        signed_text(text, wallet, b"", proof)
    else:
        signed_text(text, wallet, proof)
    return wallet, amount
