"""What hosts and thieves do at a counter whose house pays for claims; `spent` says what it cost."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
from solders.instruction import AccountMeta, Instruction
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.protocol.signing import Keypair, save_keypair
from coordinator.settlement_views import ClaimView
from onchain.address import encode_address
from onchain.sponsor import CLAIM_RECORD_LAMPORTS, TOKEN_ACCOUNT_LAMPORTS
from tests.build import OPERATOR
from tests.chains import SOL, key
from tests.claim_counter import Counter, parsed, signed_by

HOST = encode_address(OPERATOR.address)
SPONSOR = key("sponsor")
#: Two signatures, a token account and a record.
FIRST = 10_000 + TOKEN_ACCOUNT_LAMPORTS + CLAIM_RECORD_LAMPORTS
AGAIN = 10_000
DAY_S = 24 * 3600


def flags(folder: Path, **more: Any) -> dict[str, Any]:
    path = folder / "sponsor.json"
    if not path.exists():
        save_keypair(path, SPONSOR)
    return {"sponsor_key": str(path), "sponsor_payout_min": "0.000001", **more}


async def begun(counter: Counter) -> None:
    """The sponsor has money; the host has earned, and a root is active in which it has a leaf."""
    counter.house.bazaar.chain.airdrop(SPONSOR.address, SOL)
    await earned(counter, "k")
    counter.follow()


async def earned(counter: Counter, key_: str) -> int:
    amount = counter.house.market.earn(key_)
    await counter.house.settle()
    return amount


async def spent(counter: Counter) -> int:
    return SOL - await counter.house.bazaar.chain.balance(SPONSOR.address)


async def asked(counter: Counter, wallet: str = HOST) -> httpx.Response:
    return await counter.http.post("/api/claims", json={"wallet": wallet})


async def given(counter: Counter, claim: str, raw: bytes) -> httpx.Response:
    body = {"transaction": b64encode(raw).decode()}
    return await counter.http.post(f"/api/claims/{claim}", json=body)


async def offered(counter: Counter, wallet: Keypair = OPERATOR) -> tuple[str, bytes]:
    """An offer: its name, and what its wallet returns."""
    answer = await asked(counter, encode_address(wallet.address))
    transaction = parsed(answer)
    assert answer.json()["state"] == "building"
    return answer.json()["claim"], signed_by(transaction, wallet)


async def claimed(counter: Counter) -> dict[str, Any]:
    """A claim from the offer to its end."""
    claim, raw = await offered(counter)
    answer = await given(counter, claim, raw)
    assert (answer.status_code, answer.json()["state"]) == (200, "sent"), answer.text
    return await ended(counter, claim)


async def ended(counter: Counter, claim: str) -> dict[str, Any]:
    """Time passes until a claim has ended."""
    told: dict[str, Any] = {}
    for _ in range(1_000):
        # Not through the door, which bounds how often one may ask.
        told = as_json(await counter.api.sponsored_claim(claim))
        if told.get("endedAt"):
            return told
        counter.house.bazaar.chain.advance(1)
        await trio.sleep(0.001)
    pytest.fail(f"it does not end: {told}")


def as_json(view: ClaimView) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    return shown


def code_of(answer: httpx.Response) -> str:
    assert answer.status_code >= 400, answer.text
    code: str = answer.json()["code"]
    return code


def changed(raw: bytes, *more: Instruction, drop: int = 0) -> VersionedTransaction:
    """The transaction with other instructions among its own, as wallets' guards would be."""
    message = VersionedTransaction.from_bytes(raw).message
    assert isinstance(message, MessageV0)
    keys = message.account_keys
    signed, header = message.header.num_required_signatures, message.header
    kept = []
    for each in message.instructions[drop:]:
        metas = [
            AccountMeta(
                keys[index],
                is_signer=index < signed,
                is_writable=index < signed - header.num_readonly_signed_accounts
                or signed <= index < len(keys) - header.num_readonly_unsigned_accounts,
            )
            for index in each.accounts
        ]
        kept.append(Instruction(keys[each.program_id_index], bytes(each.data), metas))
    fresh = MessageV0.try_compile(keys[0], [*more, *kept], [], message.recent_blockhash)
    empty = [Signature.default()] * fresh.header.num_required_signatures
    return VersionedTransaction.populate(fresh, empty)


GUARD = Instruction(Pubkey(bytes([9]) * 32), b"assert", [])
