"""A wallet that claims at its coordinator's cost: the client, and the command line over sockets."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

from coordinator.protocol.signing import save_keypair
from hypernode.answers import ClaimInfo
from hypernode.errors import HypernodeError, error_of
from hypernode.settlement_web import SettlementWeb
from hypernode.sponsored_claims import claim_sponsored
from onchain.address import encode_address
from onchain.devnode import DevNode
from onchain.settlement_tree import Proof
from onchain.solana_chain import SolanaChain
from onchain.sponsored import ForeignOffer
from tests.build import OPERATOR
from tests.chains import SOL
from tests.claim_counter import Counter, open_counter, parsed
from tests.serving import local_config, serving
from tests.sponsor_scenes import FIRST, GUARD, HOST, SPONSOR, begun, changed, flags, offered, spent


@pytest.fixture
async def counter(tmp_path: Path) -> AsyncIterator[Counter]:
    async with open_counter(tmp_path, settler=flags(tmp_path)) as made:
        await begun(made)
        yield made


class Web(SettlementWeb):
    """The client's own calls, over the counter."""

    def __init__(self, counter: Counter) -> None:
        super().__init__("http://hyper.example", None)
        self.counter = counter
        #: In place of the transactions that are offered.
        self.swap: bytes | None = None

    async def _ask(self, method: str, path: str, kind: type[Any], **how: Any) -> Any:
        answer = await self.counter.http.request(method, path, json=how.get("json"))
        if answer.status_code >= 400:
            raise error_of(answer.json()["code"], answer.json()["error"])
        found = msgspec.json.decode(answer.content, type=kind)
        if self.swap is not None and isinstance(found, ClaimInfo):
            found = replace(found, transaction=b64encode(self.swap).decode())
        return found


async def proof_now(counter: Counter) -> Proof:
    proofs = counter.house.settlement.proofs
    assert proofs is not None
    proof = await proofs.find(OPERATOR.address)
    assert proof is not None
    return proof


async def test_a_client_signs_what_it_would_build_itself_and_is_paid(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypernode.sponsored_claims.POLL_S", 0.01)
    bazaar = counter.house.bazaar
    proof = await proof_now(counter)
    async with Web(counter) as web:
        paid = await claim_sponsored(bazaar.chain, bazaar.market, OPERATOR, proof, web)
        with pytest.raises(HypernodeError) as caught:
            await claim_sponsored(bazaar.chain, bazaar.market, OPERATOR, proof, web)

    assert (paid.before, paid.after) == (0, proof.amount)
    assert paid.signature
    assert caught.value.code in {"claim_refused", "claim_out"}
    assert await spent(counter) == FIRST


async def test_a_client_signs_nothing_else(counter: Counter) -> None:
    """A coordinator that offers something else: a theft, another's claim, a cut one, nonsense."""
    bazaar = counter.house.bazaar
    proof = await proof_now(counter)
    _, raw = await offered(counter)
    theft = Instruction(
        Pubkey(bytes(32)),
        (2).to_bytes(4, "little") + (5_000).to_bytes(8, "little"),
        [
            AccountMeta(Pubkey(OPERATOR.address), is_signer=True, is_writable=True),
            AccountMeta(Pubkey(SPONSOR.address), is_signer=True, is_writable=True),
        ],
    )
    bazaar.chain.airdrop(OPERATOR.address, SOL)
    own = parsed(await counter.http.post("/api/actions/claim", json={"account": HOST}))
    async with Web(counter) as web:
        for swapped in (
            bytes(changed(raw, theft)), bytes(changed(raw, GUARD)), bytes(changed(raw, drop=1)),
            bytes(own), raw, raw[:99], b"x", bytes(1_300),
        ):  # fmt: skip
            web.swap = swapped
            with pytest.raises(ForeignOffer):
                await claim_sponsored(bazaar.chain, bazaar.market, OPERATOR, proof, web)
    assert await spent(counter) == 0


async def test_a_client_that_waits_in_vain_says_so(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter.life.cancel()
    monkeypatch.setattr("hypernode.sponsored_claims.PATIENCE_S", 0.05)
    monkeypatch.setattr("hypernode.sponsored_claims.POLL_S", 0.01)
    bazaar = counter.house.bazaar
    async with Web(counter) as web:
        with pytest.raises(HypernodeError, match="on its way"):
            await claim_sponsored(
                bazaar.chain, bazaar.market, OPERATOR, await proof_now(counter), web
            )


# ---- over sockets -------------------------------------------------------------------------------


async def run_claim(counter: Counter, url: str, node: str, *words: str) -> tuple[int, Any]:
    """`hypernode claim` as a process of its own: its status and its document."""
    path = counter.house.folder / "host.json"
    if not path.exists():
        save_keypair(path, OPERATOR)
    ledger = encode_address(counter.house.bazaar.market.ledger)
    command = [
        sys.executable, "-m", "hypernode", "claim", *words, "--url", url, "--rpc", node,
        "--ledger", ledger, "-k", str(path), "--json",
    ]  # fmt: skip
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
async def test_a_host_without_sol_claims_at_the_command_line(tmp_path: Path) -> None:
    """Coordinator, chain and wallet talk by HTTP alone: JSON-RPC of the development node."""
    async with open_counter(tmp_path, settler=flags(tmp_path)) as counter:
        house, bazaar = counter.house, counter.house.bazaar
        await begun(counter)
        # A slot in 20 ms: final in a second.
        node = DevNode(bazaar.chain.machine, slot_s=0.02)
        ports = await counter.nursery.start(node.serve, "127.0.0.1", 0)
        rpc = f"http://127.0.0.1:{ports.http}"
        house.chain = SolanaChain.of(rpc)
        await counter.restart(**flags(tmp_path))
        async with serving(counter.app, config=local_config(), within_s=90) as served:
            own = await run_claim(counter, served.url, rpc)
            status, told = await run_claim(counter, served.url, rpc, "--sponsored")
            again = await run_claim(counter, served.url, rpc, "--sponsored")
            both = await run_claim(counter, served.url, rpc, "--sponsored", "--kept")
            bazaar.chain.airdrop(OPERATOR.address, SOL)
            link = await counter.http.post("/api/actions/claim", json={"account": HOST})

        assert own[0] == 1, "without SOL it cannot pay"
        assert (status, told["before"]) == (0, "0")
        assert told["amount"] == told["after"] != "0"
        assert (again[0], again[1]["code"]) in {(1, "claim_refused"), (1, "claim_out")}
        assert both[0] == 2
        assert link.json()["code"] == "claim_refused"
        assert await spent(counter) == FIRST


@pytest.mark.slow
async def test_a_refusal_says_what_to_do(tmp_path: Path) -> None:
    async with open_counter(tmp_path, settler=flags(tmp_path, sponsor_payout_min="5")) as counter:
        await begun(counter)
        node = DevNode(counter.house.bazaar.chain.machine, slot_s=0.05)
        ports = await counter.nursery.start(node.serve, "127.0.0.1", 0)
        rpc = f"http://127.0.0.1:{ports.http}"
        async with serving(counter.app, config=local_config(), within_s=60) as served:
            status, told = await run_claim(counter, served.url, rpc, "--sponsored")

    assert (status, told["code"]) == (1, "payout_too_small")
    assert "hypernode claim" in told["hint"]
