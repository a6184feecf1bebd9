"""Wallets that sign elsewhere: what people paste, a live coordinator, and the command line."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from functools import partial
from pathlib import Path

import based58
import msgspec
import pytest
import trio
from solders.hash import Hash
from solders.keypair import Keypair as SoldersKeypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import Transaction, VersionedTransaction

from coordinator.protocol import messages as m
from coordinator.protocol.errors import Refusal
from coordinator.protocol.memo import build_memo, parse_memo, with_signature
from coordinator.protocol.signing import Keypair, encode_signature, from_seed, offchain_envelopes
from coordinator.protocol.token import Form, decode_token
from hypernode.cli.app import run
from hypernode.cli.exit import Exit
from hypernode.hardware import Hardware, proof_in, transaction_in
from hypernode.web import Web
from onchain.address import encode_address
from tests.house import House, open_house
from tests.peer import dialled
from tests.test_cli import environment, hypernode

SEED = bytes(range(32))
WALLET, OTHER = from_seed(SEED), from_seed(bytes(32))
ADDRESS = encode_address(WALLET.address)
TEXT = "a text\nof two lines"
UNSIGNED = build_memo(WALLET.address, TEXT)
SIGNATURE = WALLET.sign(parse_memo(UNSIGNED).message)
SIGNED = with_signature(UNSIGNED, SIGNATURE)


def sign_elsewhere(text: str) -> str:
    """What a wallet with Solana's own library does to a transaction it is shown."""
    found = transaction_in(text)
    assert found is not None
    message = VersionedTransaction.from_bytes(found[0]).message
    signature = SoldersKeypair.from_seed(SEED).sign_message(to_bytes_versioned(message))
    return b64encode(bytes(VersionedTransaction.populate(message, [signature]))).decode()


# ---- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b64encode(SIGNED).decode(),
        bytes(based58.b58encode(SIGNED)).decode(),
        f"  {b64encode(SIGNED).decode()}\n",
        json.dumps({"signedTransaction": b64encode(SIGNED).decode()}, indent=1),
        encode_signature(SIGNATURE),
        b64encode(SIGNATURE).decode(),
        f"\nSigners (Pubkey=Signature):\n {ADDRESS}={encode_signature(SIGNATURE)}\n",
    ],
    ids=["base64", "base58", "blanks", "json", "signature", "signature as base64", "sign-only"],
)
def test_a_signed_transaction_is_taken_in_each_form_that_tools_print(answer: str) -> None:
    assert proof_in(answer, WALLET.address, TEXT, UNSIGNED) == {
        "transaction": b64encode(SIGNED).decode()
    }


@pytest.mark.parametrize(
    "message", [TEXT.encode(), *offchain_envelopes(TEXT.encode(), WALLET.address)]
)
def test_a_signature_over_the_text_or_an_envelope_of_it_is_taken_too(message: bytes) -> None:
    signature = encode_signature(WALLET.sign(message))

    assert proof_in(signature, WALLET.address, TEXT, UNSIGNED) == {"signature": signature}


def transfer_transaction() -> bytes:
    """A real transfer, signed."""
    there = transfer(
        TransferParams(
            from_pubkey=Pubkey(WALLET.address), to_pubkey=Pubkey(OTHER.address), lamports=1
        )
    )
    signer = SoldersKeypair.from_seed(SEED)
    return bytes(Transaction.new_signed_with_payer([there], signer.pubkey(), [signer], Hash(SEED)))


OTHERS = build_memo(OTHER.address, TEXT)


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        ("", "bad_signature", "neither"),
        ("yes", "bad_signature", "neither"),
        (b64encode(UNSIGNED).decode(), "bad_transaction", "not signed yet"),
        (b64encode(transfer_transaction()).decode(), "bad_transaction", "writable|program"),
        (
            b64encode(build_memo(WALLET.address, "another text")).decode(),
            "bad_transaction",
            "another text",
        ),
        (
            b64encode(with_signature(OTHERS, OTHER.sign(parse_memo(OTHERS).message))).decode(),
            "bad_transaction",
            "another wallet",
        ),
        (
            encode_signature(OTHER.sign(parse_memo(UNSIGNED).message)),
            "bad_signature",
            "bad_signature",
        ),
        (
            f"{encode_address(OTHER.address)}={encode_signature(SIGNATURE)}",
            "bad_signature",
            "bad_signature",
        ),
        (
            b64encode(with_signature(UNSIGNED, bytes(63) + b"\1")).decode(),
            "bad_signature",
            "bad_signature",
        ),
    ],
)
def test_what_proves_nothing_is_refused_before_it_is_posted(
    answer: str, code: str, reason: str
) -> None:
    with pytest.raises(Refusal, match=reason) as refused:
        proof_in(answer, WALLET.address, TEXT, UNSIGNED)

    assert refused.value.code == code


# ---- a live coordinator -------------------------------------------------------------------------


async def memo_proof(
    house: House, path: str, keypair: Keypair = WALLET, **query: str
) -> dict[str, str]:
    """The proof of a hardware wallet: challenge, memo transaction, signature."""
    wallet = encode_address(keypair.address)
    async with house.http() as http:
        challenge = (await http.get(path, params={"wallet": wallet, **query})).json()
    unsigned = build_memo(keypair.address, challenge["message"])
    signed = with_signature(unsigned, keypair.sign(parse_memo(unsigned).message))
    return {
        "wallet": wallet,
        "nonce": challenge["nonce"],
        "transaction": b64encode(signed).decode(),
    }


async def posted(house: House, path: str, proof: dict[str, str]) -> tuple[int, str]:
    async with house.http() as http:
        answer = await http.post(path, json=proof)
    return answer.status_code, answer.json().get("code", "")


async def test_a_hardware_wallet_gets_a_token_a_session_and_a_socket_once_each(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path) as house:
        proof = await memo_proof(house, "/api/nodes/challenge")
        async with house.http() as http:
            token = (await http.post("/api/nodes/issue-token", json=proof)).json()["token"]
        async with dialled(house) as node:
            await node.register_as_seed(token)
        async with dialled(house) as thief:
            await thief.say(m.Register(token))
            spent = await thief.end()
        session = await memo_proof(house, "/api/session/challenge", scope="wallet")
        opened = await posted(house, "/api/session", session)
        replayed = [
            await posted(house, "/api/nodes/issue-token", proof),
            await posted(house, "/api/session", session),
            await posted(house, "/api/session", {**session, "nonce": proof["nonce"]}),
        ]
        over_socket = await memo_proof(house, "/api/session/challenge", scope="wallet")
        async with dialled(house) as submitter:
            await submitter.say(msgspec.convert(over_socket, m.Open))
            answer = await submitter.expect("opened")
        async with dialled(house) as thief:
            await thief.say(msgspec.convert(over_socket, m.Open))
            refused = await thief.end()

    assert decode_token(token)[0].form is Form.TRANSACTION
    assert (opened[0], answer["wallet"]) == (200, ADDRESS)
    assert (spent.codes, refused.codes) == (["token_spent"], ["challenge_unknown"])
    assert replayed == [(401, "challenge_unknown")] * 3


async def test_transactions_for_something_else_buy_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        ask = partial(memo_proof, house, "/api/nodes/challenge")
        one, other = await ask(), await ask()
        session = await memo_proof(house, "/api/session/challenge", scope="wallet")
        real = b64encode(transfer_transaction()).decode()
        both = {**(await ask()), "signature": "1" * 64}
        answers = {
            "another nonce": {**one, "transaction": other["transaction"]},
            "another scope": {**other, "transaction": session["transaction"]},
            "a real transfer": {**(await ask()), "transaction": real},
            "no base64": {**(await ask()), "transaction": "€"},
            "both": both,
        }
        codes = {
            name: await posted(house, "/api/nodes/issue-token", proof)
            for name, proof in answers.items()
        }

    assert codes == {
        "another nonce": (401, "bad_transaction"),
        "another scope": (401, "bad_transaction"),
        "a real transfer": (401, "bad_transaction"),
        "no base64": (401, "bad_transaction"),
        "both": (400, "malformed"),
    }


async def test_a_client_with_a_hardware_wallet_signs_in(tmp_path: Path) -> None:
    async def ask(_text: str, unsigned: bytes) -> str:
        await trio.lowlevel.checkpoint()
        return sign_elsewhere(b64encode(unsigned).decode())

    async with (
        open_house(tmp_path) as house,
        Web(house.url, Hardware(WALLET.address, ask)) as web,
    ):
        account = await web.account()

    assert account.wallet == ADDRESS


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_token_is_signed_elsewhere_while_the_command_waits(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        arguments = ["token", "--hardware", ADDRESS, "--url", house.url]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, "-m", "hypernode", *arguments],
                    stdin=-1, stdout=-1, stderr=-1, check=False, env=environment(),
                )
            )  # fmt: skip
            asked = b""
            with trio.fail_after(20):
                while b"within ten minutes:" not in asked:
                    asked += await process.stderr.receive_some()
                lines = asked.decode().splitlines()
                transaction = next(line for line in lines if len(line) > 200)
                await process.stdin.send_all(sign_elsewhere(transaction).encode() + b"\n")
                token = b"".join([piece async for piece in process.stdout]).decode()

    assert "wants you to sign in with your Solana account:" in asked.decode()
    decode_token(token.strip())[0].verify(WALLET.address)


@pytest.mark.slow
async def test_a_token_in_two_steps_needs_nothing_but_the_transaction(tmp_path: Path) -> None:
    signed = tmp_path / "signed.txt"
    async with open_house(tmp_path) as house:
        step = partial(hypernode, "token", "--url", house.url)
        shown = await step("--hardware", ADDRESS, "--print-transaction", "--encoding", "base58")
        signed.write_text(sign_elsewhere(shown.stdout.decode().strip()))
        first, again = await step("--signed", str(signed)), await step("--signed", str(signed))
        signed.write_text(shown.stdout.decode())
        unsigned = await step("--signed", str(signed))
        elsewhere = await hypernode("token", "--url", "http://127.0.0.2:9", "--signed", str(signed))

    decode_token(first.stdout.decode().strip())[0].verify(WALLET.address)
    assert (again.returncode, b"challenge_unknown" in again.stderr) == (Exit.REFUSED, True)
    assert (unsigned.returncode, b"not signed yet" in unsigned.stderr) == (Exit.REFUSED, True)
    assert elsewhere.returncode == Exit.REFUSED


@pytest.mark.slow
async def test_a_token_is_not_redeemed_at_a_coordinator_that_it_does_not_name(
    tmp_path: Path,
) -> None:
    signed = tmp_path / "signed.txt"
    (tmp_path / "other").mkdir()
    async with open_house(tmp_path) as house, open_house(tmp_path / "other") as other:
        shown = await hypernode(
            "token", "--url", house.url, "--hardware", ADDRESS, "--print-transaction"
        )
        signed.write_text(sign_elsewhere(shown.stdout.decode().strip()))
        refused = await hypernode("token", "--url", other.url, "--signed", str(signed))

    assert refused.returncode == Exit.REFUSED
    assert b"is not for" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--print-transaction"],
        ["--hardware", "nobody"],
        ["--hardware", "nobody", "--print-transaction"],
        ["--signed", "/dev/null"],
        ["--node-key", "nobody"],
    ],
)
def test_a_slip_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "--url", "http://127.0.0.1:9", *arguments]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: --")
