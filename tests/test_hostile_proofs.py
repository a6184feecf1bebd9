"""Proofs that prove something else, posted to a live coordinator: 401 each, and never a 500."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import pytest
from solders.hash import Hash
from solders.keypair import Keypair as SoldersKeypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer

from coordinator.protocol.signing import encode_signature, from_seed, generate, offchain_envelopes
from onchain.address import encode_address
from tests.house import House, open_house

SEED: Final = bytes(range(32))
WALLET: Final = from_seed(SEED)
#: Points of small order, and what is no point, in Solana's base58.
WEAK: Final = {
    "the neutral element": bytes([1, *bytes(31)]),
    "zero": bytes(32),
    "order two": bytes.fromhex("ec" + "ff" * 30 + "7f"),
    "not canonical": b"\xff" * 32,
    "no point": bytes([2, *bytes(31)]),
}
ORDER: Final = 2**252 + 27742317777372353535851937790883648493


async def refused(house: House, path: str, proof: dict[str, Any]) -> tuple[int, str]:
    async with house.http() as http:
        answer = await http.post(path, json=proof)
    return answer.status_code, answer.json().get("code", "")


async def test_signatures_of_a_wrong_length_or_form_are_refused_and_break_nothing(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        found = {}
        for size in (0, 1, 32, 63, 65, 96):
            proof = await house.proof("/api/session/challenge", WALLET, scope="wallet")
            wrong = b64encode(bytes(size)).decode()
            found[size] = await refused(house, "/api/session", {**proof, "signature": wrong})
        proof = await house.proof("/api/session/challenge", WALLET, scope="wallet")
        nonsense = await refused(house, "/api/session", {**proof, "signature": "0OIl" * 20})

    assert set(found.values()) == {(401, "bad_signature")}
    assert nonsense == (401, "bad_signature")


async def test_a_signature_with_the_groups_order_added_is_refused(tmp_path: Path) -> None:
    """S + L verifies where S is not bounded: a second signature for the same text."""
    async with open_house(tmp_path) as house:
        proof = await house.proof("/api/nodes/challenge", WALLET)
        async with house.http() as http:
            query = {"wallet": proof["wallet"]}
            challenge = (await http.get("/api/nodes/challenge", params=query)).json()
        good = WALLET.sign(challenge["message"].encode())
        scalar = int.from_bytes(good[32:], "little") + ORDER
        bad = encode_signature(good[:32] + scalar.to_bytes(32, "little"))
        ask = {"wallet": proof["wallet"], "nonce": challenge["nonce"], "signature": bad}
        assert await refused(house, "/api/nodes/issue-token", ask) == (401, "bad_signature")


@pytest.mark.parametrize("key", WEAK.values(), ids=WEAK)
async def test_a_weak_key_gets_no_challenge_as_wallet_or_as_node_key(
    tmp_path: Path, key: bytes
) -> None:
    async with open_house(tmp_path) as house, house.http() as http:
        weak, good = encode_address(key), encode_address(WALLET.address)
        answers = [
            await http.get("/api/nodes/challenge", params={"wallet": weak}),
            await http.get("/api/nodes/challenge", params={"wallet": good, "node": weak}),
            await http.get("/api/session/challenge", params={"wallet": weak}),
        ]

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(401, "weak_key")] * 3


async def test_what_a_wallet_signs_elsewhere_is_no_login(tmp_path: Path) -> None:
    """A transfer's signature, a login at another coordinator, an envelope for another signer."""
    async with open_house(tmp_path) as house, open_house(tmp_path / "b") as other:
        signer, there = SoldersKeypair.from_seed(SEED), Pubkey(generate().address)
        move = transfer(TransferParams(from_pubkey=signer.pubkey(), to_pubkey=there, lamports=1))
        message = Message.new_with_blockhash([move], signer.pubkey(), Hash(SEED))
        signatures = {
            "a transaction": bytes(signer.sign_message(bytes(message))),
            "a login elsewhere": WALLET.sign((await _text(other)).encode()),
            "an earlier text": WALLET.sign((await _text(house)).encode()),
        }
        proof = await house.proof("/api/session/challenge", WALLET, scope="wallet")
        foreign = offchain_envelopes((await _text(house)).encode(), generate().address)[1]
        signatures["an envelope for another signer"] = WALLET.sign(foreign)
        found = {}
        for name, signature in signatures.items():
            ask = {
                **(await house.proof("/api/session/challenge", WALLET, scope="wallet")),
                "signature": encode_signature(signature),
            }
            found[name] = await refused(house, "/api/session", ask)
        good = await refused(house, "/api/session", proof)

    assert set(found.values()) == {(401, "bad_signature")}
    assert good == (200, "")


async def _text(house: House) -> str:
    query = {"wallet": encode_address(WALLET.address)}
    async with house.http() as http:
        text: str = (await http.get("/api/session/challenge", params=query)).json()["message"]
    return text
