"""The outlook and the program, side by side: whatever is forecast is what comes.

Random lives of a market: deposits, roots, claims, vouchers, exits, pauses, time. Before each
payment the outlook speaks over what was read; then the transaction is sent whatever it said, and
pays just that, or fails with just that error.
"""

from __future__ import annotations

import random  # noqa: TID251 (seeded: a failing life is lived again)
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import trio
from solders.instruction import Instruction

from onchain import calls
from onchain.chain_errors import TransactionRefused
from onchain.leaves import Kind, LeafFile
from onchain.outlook import (
    Outlook,
    claim_outlook,
    cover_outlook,
    exit_outlook,
    redeem_outlook,
)
from onchain.program.refusals import CODES
from onchain.publication import PublicationError
from onchain.reads import read_claim, read_exit
from onchain.role_calls import Pause
from onchain.settlement_tree import Proof
from onchain.vouchers import sign_voucher, voucher_for
from tests.chains import key
from tests.settlement_chain import Bazaar, open_bazaar, proof_of

HOSTS = [key(f"host {number}").address for number in range(3)]
OWNER = key("owner").address
STEPS = 100


@dataclass
class Life:
    """One market's random life, from one seed."""

    bazaar: Bazaar
    dice: random.Random
    earned: dict[bytes, int] = field(default_factory=lambda: dict.fromkeys(HOSTS, 100))
    exitable: int = 40_000
    files: list[LeafFile] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)

    async def step(self) -> None:
        deeds: list[Callable[[], object]] = [
            *(self.claim, self.claim, self.redeem, self.redeem, self.cover, self.exit),
            *(
                self.earn,
                self.earn,
                self.settle,
                self.wait,
                self.wait,
                self.deposit,
                self.pause,
                self.ask,
            ),
        ]
        await self.dice.choice(deeds)()  # type: ignore[misc]

    async def earn(self) -> None:
        self.earned[self.dice.choice(HOSTS)] += self.dice.choice([0, 1, 4_000, 90_000])
        await trio.lowlevel.checkpoint()

    async def wait(self) -> None:
        self.bazaar.later(self.dice.choice([1, 20, 3_600, 3_600, 95_000]))
        await trio.lowlevel.checkpoint()

    async def deposit(self) -> None:
        owner = self.dice.choice([OWNER, OWNER, self.bazaar.market.ledger])
        await self.expect(
            calls.deposit(
                self.bazaar.market,
                payer=self.bazaar.payer.address,
                authority=key("treasury").address,
                owner=owner,
                amount=self.dice.choice([10_000, 90_000]),
            ),
            signer="treasury",
        )

    async def settle(self) -> None:
        epoch = (await self.bazaar.ledger()).last_epoch + 1
        file = self.bazaar.leaf_file(epoch, self.earned, {OWNER: self.exitable})
        guardian = key("guardian") if self.dice.random() < 0.7 else None
        try:
            await self.bazaar.publish(file, guardian=guardian)
        except PublicationError:
            return
        self.files.append(file)

    async def pause(self) -> None:
        if self.dice.random() < 0.06:
            await self.bazaar.pause(self.dice.choice([Pause.CLAIM, Pause.CLAIM | Pause.REDEEM]))

    async def ask(self) -> None:
        await self.expect(calls.request_exit(self.bazaar.market, owner=OWNER), signer="owner")

    async def expect(self, call: Instruction, signer: str) -> None:
        """Something that sets the stage; it may be refused."""
        with suppress(TransactionRefused):
            await self.bazaar.do(call, signers=(key(signer),))

    def proof(self, kind: Kind) -> Proof | None:
        file = self.dice.choice(self.files[-3:]) if self.files else None
        address = self.dice.choice(HOSTS) if kind is Kind.EARNINGS else OWNER
        return proof_of(file, address, kind) if file else None

    async def claim(self) -> None:
        await self._prove(claim_outlook, pays=True)

    async def cover(self) -> None:
        await self._prove(cover_outlook, pays=False)

    async def _prove(self, forecast: Callable[..., Outlook], *, pays: bool) -> None:
        proof, bazaar = self.proof(Kind.EARNINGS), self.bazaar
        if proof is None:
            return
        state = await read_claim(bazaar.chain, bazaar.market, proof.address)
        said = forecast(state.ledger, state.record, proof, state.clock)
        if pays:
            call = calls.claim(bazaar.market, payer=bazaar.payer.address, proof=proof)
        else:
            call = calls.cover(bazaar.market, proof=proof)
        await self.compare(said, proof.address, call)

    async def redeem(self) -> None:
        bazaar, host = self.bazaar, self.dice.choice(HOSTS)
        state = await read_claim(bazaar.chain, bazaar.market, host)
        voucher = voucher_for(
            bazaar.market,
            host,
            cumulative=self.earned[host] + self.dice.choice([0, 0, 30_000]),
            expires_at=state.clock.unix_s + self.dice.choice([-1, 0, 100, 100, 100]),
            key_epoch=self.dice.choice([0] * 9 + [1]),
        )
        said = redeem_outlook(state.ledger, state.record, voucher, state.clock)
        signed = sign_voucher(key("voucher"), voucher)
        pair = calls.redeem(bazaar.market, payer=bazaar.payer.address, voucher=signed)
        await self.compare(said, host, *pair)

    async def exit(self) -> None:
        proof, bazaar = self.proof(Kind.EXIT), self.bazaar
        if proof is None:
            return
        state = await read_exit(bazaar.chain, bazaar.market, OWNER)
        said = exit_outlook(state.ledger, state.record, proof, state.clock)
        await self.compare(said, OWNER, calls.exit_credit(bazaar.market, proof=proof))

    async def compare(self, said: Outlook, wallet: bytes, *sent: Instruction) -> None:
        bazaar = self.bazaar
        make = calls.create_token_account(bazaar.market, payer=bazaar.payer.address, wallet=wallet)
        before, came = await bazaar.tokens(wallet), ""
        try:
            await bazaar.do(make, *sent)
        except TransactionRefused as error:
            came = error.code
        paid = await bazaar.tokens(wallet) - before
        name = said.refusal
        assert came == (f"custom:{CODES[name]}" if name else ""), (said, came)
        assert paid == said.pay, (said, paid)
        self.seen[name or "paid"] = self.seen.get(name or "paid", 0) + 1


async def live(seed: int) -> dict[str, int]:
    bazaar = await open_bazaar(
        window_limit=100_000,
        window_secs=100,
        voucher_limit=100_000,
        advance_cap=150_000,
        wallet_advance_cap=120_000,
        max_epoch_increase=10**9,
        exit_after=91_000,
    )
    life = Life(bazaar, random.Random(seed))
    await bazaar.deposit(OWNER, 3_000_000)
    await bazaar.deposit(bazaar.market.ledger, 160_000)
    for _ in range(STEPS):
        await life.step()
    return life.seen


@pytest.mark.slow
async def test_what_is_forecast_is_what_comes() -> None:
    seen: dict[str, int] = {}
    for seed in range(20):
        try:
            for name, count in (await live(seed)).items():
                seen[name] = seen.get(name, 0) + count
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise

    wanted = {
        *("paid", "Paused", "StaleEpoch", "NothingToClaim", "InvalidRecord", "VoucherExpired"),
        *("BadVoucher", "AdvanceExhausted", "ExitClosed", "NothingToExit", "RateLimited"),
    }
    assert wanted <= seen.keys(), seen
    assert seen["paid"] > 150, seen
