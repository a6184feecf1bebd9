"""Sending through drops, delays, lies, expiry and death: what must happen once happens once.

Invariants:
  1. At most one transaction of an intent lands, and where the chain works in the end, one does.
  2. No second signature is made while the first may still land.
  3. What was sent was journalled before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import HealthCheck, given, settings, strategies as st
from solders.pubkey import Pubkey
from solders.system_program import CreateAccountParams, create_account
from trio.testing import MockClock

from onchain.chain import Commitment
from onchain.chain_errors import (
    ChainUnreachable,
    FeeTooHigh,
    TransactionExpired,
    TransactionRefused,
)
from onchain.fees import Fees
from onchain.journal import Attempt, End, MemoryJournal
from onchain.sender import Intent, IntentBusy, Pace, Sender, Sent
from onchain.simulated import SimulatedChain
from onchain.transactions import Recipe
from tests.chain_faults import Crash, FaultyChain, Fuse
from tests.chains import SOL, fresh_machine, key, pay

ALICE, BOB, VAULT = key("alice"), key("bob").address, key("vault")


class BurningJournal(MemoryJournal):
    """A journal that outlives the process, which may die before and after each entry."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse
        self.written: list[bytes] = []
        self.ends: list[End] = []
        self.ended_at: list[float] = []

    async def write(self, attempt: Attempt) -> None:
        self.fuse.burn()
        await super().write(attempt)
        self.written.append(attempt.raw)
        self.fuse.burn()

    async def close(self, attempt: Attempt, end: End) -> None:
        self.fuse.burn()
        await super().close(attempt, end)
        self.ends.append(end)
        self.ended_at.append(trio.current_time())
        self.fuse.burn()


async def never() -> bool:
    await trio.lowlevel.checkpoint()
    return False


@dataclass
class Bench:
    chain: FaultyChain
    journal: BurningJournal
    fees: Fees = field(default_factory=Fees)
    pace: Pace = field(default_factory=Pace)

    @property
    def sender(self) -> Sender:
        """A process of its own: it knows what the journal and the chain know."""
        return Sender(self.chain, self.journal, fees=self.fees, pace=self.pace)

    def payment(
        self, *, name: str = "pay", is_done: Callable[[], Awaitable[bool]] = never
    ) -> Intent:
        """A transfer that the chain would make as often as it is asked."""
        return Intent(name, Recipe((pay(ALICE, BOB, SOL),), (ALICE,)), is_done)

    def opening(self, is_done: Callable[[], Awaitable[bool]] | None = None) -> Intent:
        """An account that can be made once only: the chain itself refuses the second."""
        make = create_account(
            CreateAccountParams(
                from_pubkey=Pubkey(ALICE.address),
                to_pubkey=Pubkey(VAULT.address),
                lamports=SOL,
                space=8,
                owner=Pubkey(BOB),
            )
        )
        return Intent(
            "open", Recipe((make,), (ALICE, VAULT)), is_done or self.is_open, lands_once=True
        )

    async def is_open(self) -> bool:
        return await self.chain.balance(VAULT.address) > 0

    @property
    def paid(self) -> int:
        return self.lamports(BOB) // SOL

    def lamports(self, address: bytes) -> int:
        account = self.chain.inner.machine.account(address, Commitment.PROCESSED)
        return 0 if account is None else account.lamports

    @property
    def landed(self) -> int:
        """Transactions that are no airdrops."""
        return len(self.chain.inner.machine.landed) - 1


@asynccontextmanager
async def on_bench(
    *sends: str, looks: tuple[str, ...] = (), at: int | None = None
) -> AsyncIterator[Bench]:
    machine = fresh_machine(confirm_slots=1, finalize_slots=31)
    machine.airdrop(ALICE.address, 100 * SOL)
    machine.advance(40)
    fuse = Fuse(at)
    chain = FaultyChain(SimulatedChain(machine), [*sends], [*looks], fuse)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chain.pass_time)
        yield Bench(chain, BurningJournal(fuse))
        nursery.cancel_scope.cancel()


async def test_a_plain_send_is_one_send(autojump_clock: MockClock) -> None:
    async with on_bench() as bench:
        sent = await bench.sender.send(bench.payment())

        assert sent.signature == bench.chain.raws[0][1:65]
        assert (bench.paid, len(bench.chain.raws), bench.journal.ends) == (1, 1, [End.LANDED])


async def test_three_drops_are_four_sends_of_the_same_bytes(autojump_clock: MockClock) -> None:
    async with on_bench("drop", "drop", "drop") as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, len(bench.chain.raws), bench.chain.signatures) == (1, 4, 1)
        assert bench.chain.preflights == [True, False, False, False]


async def test_a_lost_answer_is_not_sent_anew(autojump_clock: MockClock) -> None:
    async with on_bench("lost") as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, bench.chain.signatures, bench.landed) == (1, 1, 1)


async def test_requests_for_patience_cost_nothing_but_time(autojump_clock: MockClock) -> None:
    async with on_bench("429", "429", "429", looks=("429", "dead", "behind")) as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, bench.chain.signatures) == (1, 1)


async def test_what_lands_late_is_waited_for(autojump_clock: MockClock) -> None:
    async with on_bench("late 100", *["drop"] * 99) as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, bench.chain.signatures) == (1, 1)


async def test_after_expiry_it_is_signed_anew_and_paid_once(autojump_clock: MockClock) -> None:
    async with on_bench(*["drop"] * 38) as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, bench.chain.signatures) == (1, 2)
        assert bench.journal.ends == [End.EXPIRED, End.LANDED]
        assert bench.journal.ended_at[0] > (150 + 30) * 0.4  # the finalized height decides


async def test_what_the_chain_refuses_twice_need_not_wait_for_the_finalized_height(
    autojump_clock: MockClock,
) -> None:
    async with on_bench(*["drop"] * 31) as bench:
        begun = trio.current_time()
        await bench.sender.send(bench.opening())

        assert await bench.is_open()
        assert 60 < trio.current_time() - begun < 75


async def test_a_second_attempt_offers_more_and_stays_below_the_ceiling(
    autojump_clock: MockClock,
) -> None:
    async with on_bench(*["drop"] * 77) as bench:
        bench.fees = Fees(price_max=3_000_000, lamports_max=6_000)
        await bench.sender.send(bench.payment())

        costs = 100 * SOL - SOL - bench.lamports(ALICE.address)
        assert bench.chain.signatures >= 2
        assert 5_000 < costs <= 6_000


async def test_a_fee_above_the_ceiling_is_refused_before_signing(
    autojump_clock: MockClock,
) -> None:
    async with on_bench() as bench:
        bench.fees = Fees(lamports_max=4_999)
        with pytest.raises(FeeTooHigh) as refused:
            await bench.sender.send(bench.payment())

        assert (refused.value.lamports, bench.journal.written) == (5_000, [])


async def test_a_deed_that_is_done_is_not_done_again(autojump_clock: MockClock) -> None:
    async with on_bench() as bench:
        first = await bench.sender.send(bench.opening())
        again = await bench.sender.send(bench.opening())
        bench.journal = BurningJournal(Fuse())
        forgotten = await bench.sender.send(bench.opening())

        assert first.signature is not None
        assert (again.signature, forgotten) == (first.signature, Sent(None))
        assert bench.chain.signatures == 1


async def test_the_same_name_pays_once_even_where_the_state_cannot_tell(
    autojump_clock: MockClock,
) -> None:
    async with on_bench() as bench:
        await bench.sender.send(bench.payment())
        await bench.sender.send(bench.payment())
        await bench.sender.send(bench.payment(name="another"))

        assert bench.paid == 2


async def test_a_lying_read_of_the_state_pays_nothing_twice(autojump_clock: MockClock) -> None:
    async with on_bench() as bench:
        await bench.sender.send(bench.opening())
        bench.journal = BurningJournal(Fuse())  # and the journal is lost as well

        with pytest.raises(TransactionRefused) as refused:
            await bench.sender.send(bench.opening(is_done=never))

        assert refused.value.code == "custom:0"  # the account is there already
        assert (bench.chain.signatures, bench.landed) == (1, 1)


async def test_what_would_fail_is_refused_before_it_is_signed(autojump_clock: MockClock) -> None:
    async with on_bench() as bench:
        poor = key("poor")
        bench.chain.inner.airdrop(poor.address, SOL)
        intent = Intent("poor", Recipe((pay(poor, BOB, 2 * SOL),), (poor,)), never)
        with pytest.raises(TransactionRefused):
            await bench.sender.send(intent)

        assert (bench.journal.written, bench.chain.raws) == ([], [])


async def test_what_lands_and_fails_tells_its_error_and_ends(autojump_clock: MockClock) -> None:
    async with on_bench("late 5") as bench:
        intent = Intent("all", Recipe((pay(ALICE, BOB, 99 * SOL),), (ALICE,)), never)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_spend_soon, bench)
            with pytest.raises(TransactionRefused) as refused:
                await bench.sender.send(intent)

        assert refused.value.code == "custom:1"
        assert refused.value.signature == bench.chain.raws[0][1:65]
        assert bench.journal.ends == [End.FAILED]


async def _spend_soon(bench: Bench) -> None:
    await trio.sleep(0.5)
    blockhash = (await bench.chain.inner.latest_blockhash()).blockhash
    draft = Recipe((pay(ALICE, key("carol").address, 50 * SOL),), (ALICE,))
    budget = await Fees().budget(bench.chain.inner, draft, (), 0)
    bench.chain.inner.machine.submit(draft.sign(blockhash, budget).raw)


async def test_a_wrong_refusal_is_told_and_the_attempt_waited_for(
    autojump_clock: MockClock,
) -> None:
    """A node says no and passes it on: whoever tries again must not make a second one."""
    async with on_bench("liar 100") as bench:
        with pytest.raises(TransactionRefused):
            await bench.sender.send(bench.payment())
        sent = await bench.sender.send(bench.payment())

        assert sent.signature == bench.chain.raws[0][1:65]
        assert (bench.paid, bench.chain.signatures) == (1, 1)


async def test_what_the_chain_refuses_twice_is_tried_again_at_once(
    autojump_clock: MockClock,
) -> None:
    async with on_bench("refused") as bench:
        with pytest.raises(TransactionRefused):
            await bench.sender.send(bench.opening())
        begun = trio.current_time()
        await bench.sender.send(bench.opening())

        assert trio.current_time() - begun < 5
        assert bench.journal.ends == [End.REFUSED, End.LANDED]


async def test_blind_nodes_do_not_prove_that_nothing_landed(autojump_clock: MockClock) -> None:
    """Past the expiry its nodes still know nothing; only one that has come so far counts."""
    async with on_bench("lost") as bench:
        bench.chain.blind_until = 100.0
        await bench.sender.send(bench.payment())

        assert trio.current_time() >= 100
        assert (bench.paid, bench.chain.signatures) == (1, 1)


async def test_what_lands_in_its_last_block_is_not_given_up_before(
    autojump_clock: MockClock,
) -> None:
    async with on_bench("late 149", *["drop"] * 99) as bench:
        await bench.sender.send(bench.opening())

        assert await bench.is_open()
        assert bench.chain.signatures == 1


async def test_a_node_that_does_not_know_the_blockhash_yet_refuses_nothing(
    autojump_clock: MockClock,
) -> None:
    async with on_bench("vague") as bench:
        await bench.sender.send(bench.payment())

        assert (bench.paid, bench.chain.signatures, len(bench.chain.raws)) == (1, 1, 2)


async def test_a_chain_out_of_reach_leaves_the_attempt_to_a_later_call(
    autojump_clock: MockClock,
) -> None:
    async with on_bench("lost", looks=("dead",) * 10_000) as bench:
        with pytest.raises(ChainUnreachable):
            await bench.sender.send(bench.payment())
        assert await bench.journal.open_intents() == ("pay",)
        bench.chain.looks.clear()
        sent = await bench.sender.send(bench.payment())

        assert sent.signature == bench.chain.raws[0][1:65]
        assert (bench.paid, bench.chain.signatures) == (1, 1)


async def test_a_chain_that_takes_nothing_is_given_up_after_some_signatures(
    autojump_clock: MockClock,
) -> None:
    async with on_bench(*["drop"] * 10_000) as bench:
        bench.pace = Pace(signings_max=2)
        with pytest.raises(TransactionExpired):
            await bench.sender.send(bench.payment())

        assert (bench.chain.signatures, await bench.journal.open_intents()) == (2, ())


async def test_one_intent_is_sent_by_one_task(autojump_clock: MockClock) -> None:
    async with on_bench() as bench:
        sender = bench.sender
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, bench.payment())
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(IntentBusy):
                await sender.send(bench.payment())

        assert bench.paid == 1


async def test_many_intents_are_sent_at_a_time(autojump_clock: MockClock) -> None:
    async with on_bench("drop", "429", "lost", "ok", "late 9") as bench:
        sender = bench.sender
        async with trio.open_nursery() as nursery:
            for number in range(8):
                draft = Recipe((pay(ALICE, BOB, SOL), pay(ALICE, BOB, number)), (ALICE,))
                nursery.start_soon(sender.send, Intent(f"n{number}", draft, never))

        assert (bench.paid, bench.chain.signatures) == (8, 8)


async def _until_it_lives(bench: Bench, intent: Intent) -> bool:
    """Send; after a death or a refusal start again. Whether there was a death."""
    died = False
    for _ in range(20):
        try:
            await bench.sender.send(intent)
        except Crash:
            died, bench.chain.fuse.at = True, None
        except TransactionRefused:
            pass
        else:
            return died
        await trio.sleep(1)
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("sends", [(), ("drop",), ("lost",), ("late 30",), ("drop",) * 38])
async def test_death_at_any_step_pays_once(
    autojump_clock: MockClock, sends: tuple[str, ...]
) -> None:
    """Between journal and send, between send and answer, before and after each entry."""
    moments, died = 0, True
    while died:
        moments += 1
        async with on_bench(*sends, at=moments) as bench:
            died = await _until_it_lives(bench, bench.payment())

            assert bench.paid == 1
            assert set(bench.chain.raws) <= set(bench.journal.written)
    assert moments >= 6


async def test_death_between_journal_and_send_resumes_with_the_same_bytes(
    autojump_clock: MockClock,
) -> None:
    async with on_bench(at=2) as bench:  # after the entry is written
        with pytest.raises(Crash):
            await bench.sender.send(bench.payment())
        assert bench.chain.raws == []
        bench.chain.fuse.at = None
        await bench.sender.send(bench.payment())

        assert bench.chain.raws == bench.journal.written
        assert len(bench.journal.written) == 1


@pytest.mark.slow
@pytest.mark.parametrize("landed", [True, False])
async def test_a_restart_long_after_signs_anew_only_what_did_not_land(
    autojump_clock: MockClock, landed: bool
) -> None:
    async with on_bench("drop", at=4) as bench:  # after the first send
        with pytest.raises(Crash):
            await bench.sender.send(bench.payment())
        if landed:
            bench.chain.inner.machine.submit(bench.journal.written[0])
        bench.chain.fuse.at = None
        await trio.sleep(3600)
        await bench.sender.send(bench.payment())

        assert bench.paid == 1
        assert len(bench.chain.raws) == (1 if landed else 2)


SENDS = st.sampled_from(
    [
        *("ok", "drop", "lost", "dead", "429", "late 3", "late 60", "late 140"),
        *("refused", "liar 3", "liar 100"),
    ]
)
LOOKS = st.sampled_from(["ok", "ok", "dead", "429", "behind", "blind"])


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sends=st.lists(st.one_of(SENDS, st.just("drop")), max_size=60),
    looks=st.lists(LOOKS, max_size=60),
    at=st.one_of(st.none(), st.integers(1, 40)),
    lands_once=st.booleans(),
)
def test_every_schedule_does_the_deed_once(
    sends: list[str], looks: list[str], at: int | None, lands_once: bool
) -> None:
    async def run() -> None:
        async with on_bench(*sends, looks=tuple(looks), at=at) as bench:
            intent = bench.opening() if lands_once else bench.payment()
            await _until_it_lives(bench, intent)
            await trio.sleep(200)  # whatever was held back comes out, or is too old

            done = bench.lamports(VAULT.address) == SOL if lands_once else bench.paid == 1
            assert done
            assert bench.landed == 1 or lands_once  # a refused second one has paid its fee only
            assert set(bench.chain.raws) <= set(bench.journal.written)

    trio.run(run, clock=MockClock(autojump_threshold=0))
