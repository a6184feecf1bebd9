"""The world's settlement: a small shell between the house and a pretend chain, with bad luck.

It reads the chain and tells the house, closes epochs and publishes them; hosts claim, submitters
withdraw and leave, a thief comes by. It is cut off wherever the house dies, repeats itself, and
tells old reads after new ones.
Not here: what must be true (`settlement_checkers`).
"""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import trio

from coordinator import chain_events as cev, events as ev
from coordinator.protocol.errors import Refusal
from coordinator.protocol.signing import Keypair
from coordinator.protocol.withdrawal import withdrawal_text
from coordinator.store.settlement_values import Epoch, EpochState
from tests.pretend_chain import PretendChain, Record, Root

if TYPE_CHECKING:
    from tests.world import World

#: The chain's limit, s: longer than any history.
EXIT_AFTER_S = 30 * 24 * 3600
#: Refusals that a shell waits out: the world goes on.
_EXPECTED = {
    *("insolvent", "epoch_empty", "leaf_below", "epoch_pending", "exit_pending"),
    *("insufficient_credit", "withdrawal_expired", "too_many_withdrawals"),
}


class Settler:
    """What stands between house and chain."""

    def __init__(self, world: World, chain: PretendChain) -> None:
        self._world = world
        self._chain = chain
        self._rng: random.Random = world.generator("settlement")
        #: Reads that may be told late.
        self._old: list[ev.Event] = []
        #: What the house was told of each epoch.
        self._told: dict[int, str] = {}

    async def run(self) -> None:
        """Settle, for ever."""
        while True:
            await self.round()
            await trio.sleep(self._rng.uniform(2.0, 60.0))

    async def round(self) -> None:
        """One look at the chain, and what follows."""
        world, rng = self._world, self._rng
        self._chain.tick(int(trio.current_time()))
        await self.tell_all()
        if world.happens(0.3):
            await self._tell(rng.choice(self._old))
        await self._follow_root()
        if rng.random() < 0.4:
            await self.close()
        for wallet in sorted(self._chain.active.earnings if self._chain.active else ()):
            if rng.random() < 0.5 and self._chain.claim(wallet):
                world.checkers.seen["claims"] += 1
        self._be_unlucky()

    def _be_unlucky(self) -> None:
        world, chain, rng = self._world, self._chain, self._rng
        if world.happens(world.fate.theft):
            chain.steal(rng.randbytes(32), rng.randrange(1, 500_000))
            world.checkers.seen["thefts"] += 1
        missing = chain.stolen - chain.deposits.get(world.treasury, Record()).deposited
        if missing > 0 and rng.random() < 0.3:
            chain.deposit(world.treasury, missing)
        if world.happens(0.05):
            chain.deposit(chain.ledger, rng.randrange(1, 10_000))
        if world.happens(0.05):
            chain.withdraw_reserve(rng.randrange(1, 5_000))

    async def _ask(self, event: ev.Event) -> Any:
        """Tell the house until it answers; nothing where it refuses what may be refused."""
        try:
            return await self._world.persist(lambda: self._world.api.operations.writer.ask(event))
        except Refusal as refusal:
            if refusal.code == "not_found":
                msg = f"an acknowledged epoch is never lost: {event}"
                raise AssertionError(msg) from refusal
            if refusal.code not in _EXPECTED:
                raise
            self._world.checkers.seen[f"settlement {refusal.code}"] += 1
            self._world.note("settlement", type(event).__name__, refusal.code)
            return None

    async def _tell(self, event: ev.Event) -> None:
        for _ in range(2 if self._world.happens(0.1) else 1):
            await self._ask(event)

    async def tell_all(self) -> None:
        """What one look at the chain shows."""
        for event in list(self._reads()):
            if not isinstance(event, cev.ChainLooked):
                self._old = [*self._old[-20:], event]
            await self._tell(event)

    def _reads(self) -> Iterator[ev.Event]:
        chain = self._chain
        for owner, record in sorted(chain.deposits.items()):
            yield cev.DepositSeen(
                owner, record.deposited, record.exited, record.exit_requested_s, chain.slot
            )
        for wallet, claimed in sorted(chain.claims.items()):
            yield cev.ClaimSeen(wallet, claimed, chain.slot)
        yield cev.ReserveSeen(chain.reserve_withdrawn, chain.slot)
        yield cev.ChainLooked(chain.now_s, chain.last_activation_s, EXIT_AFTER_S, 0, 0)

    async def _follow_root(self) -> None:
        """Let a pending root go its way, and tell what became of the last ones."""
        chain, rng = self._chain, self._rng
        if chain.pending is not None and rng.random() < 0.6:
            (chain.cancel if self._world.happens(0.2) else chain.activate)()
        elif self._world.happens(0.05):
            chain.revoke()
        for number, state in sorted(chain.states.items() - self._told.items()):
            await self._ask(
                cev.EpochMoved(number, EpochState(state), chain.now_s, _root_of(number, b""))
            )
            self._told[number] = state
            self._world.checkers.seen[f"epoch {state}"] += 1

    async def close(self) -> bool:
        """Close an epoch and publish it; whether it is on the chain."""
        chain = self._chain
        if chain.pending is not None:
            return False
        active = chain.active
        number = chain.last_epoch + 1
        stale = self._newest()
        if stale is not None and stale.state is EpochState.CLOSED and stale.number < number:
            # A thief took our number: what was closed under it is never published.
            await self._seal(stale)
            await self._ask(
                cev.EpochMoved(
                    stale.number, EpochState.CANCELLED, chain.now_s, _root_of(stale.number, b"")
                )
            )
        event = cev.EpochClosed(number, active.epoch if active else 0, chain.promised, is_anew=True)
        epoch = await self._ask(event)
        if epoch is None:
            return False
        sealed = await self._seal(epoch)
        if sealed is None:
            return False
        earnings, exits = sealed
        chain.publish(Root(number, _root_of(number, b""), earnings, exits, chain.now_s))
        self._world.checkers.seen["roots"] += 1
        return True

    def _newest(self) -> Epoch | None:
        reader = self._world.reader
        newest = reader.epochs(1) if reader is not None else ()
        return newest[0] if newest else None

    async def _seal(self, epoch: Epoch) -> tuple[dict[bytes, int], dict[bytes, int]] | None:
        reader = self._world.reader
        if reader is None:
            return None
        earnings = dict(reader.earnings_leaves(epoch.number))
        exits = dict(reader.exit_leaves(epoch.number))
        assert list(earnings) == sorted(earnings), "leaves are sorted"
        sums = (sum(earnings.values()), sum(exits.values()))
        sealed = await self._ask(
            cev.EpochSealed(
                epoch.number,
                _root_of(epoch.number, b""),
                _root_of(epoch.number, b"file"),
                len(earnings) + len(exits),
                *sums,
            )
        )
        return None if sealed is None else (earnings, exits)

    async def withdraw(self, keypair: Keypair, key: str, amount: int) -> None:
        """A submitter takes credit back, as often as it takes to hear an answer."""
        api = await self._world.persist(self._world.api_now)
        issued_ms = api.operations.clock.wall_ms()
        realm = api.house.realm
        text = withdrawal_text(
            coordinator_key=realm.coordinator_key, chain=realm.chain, ledger=self._chain.ledger,
            wallet=keypair.address, amount=amount, key=key, issued_ms=issued_ms,
        )  # fmt: skip
        signature = keypair.sign(text.encode())
        event = cev.WithdrawAsked(keypair.address, amount, key, issued_ms, signature)
        await self._ask(event)
        if self._world.happens(0.3):
            await self._ask(event)

    async def finish(self) -> None:
        """In peace: all is told, rooted, claimed and booked."""
        chain = self._chain
        for owner, record in sorted(chain.deposits.items()):
            if record.exit_requested_s:
                chain.ask_to_leave(owner, stays=True)
        missing = chain.stolen - chain.deposits.get(self._world.treasury, Record()).deposited
        if missing > 0:
            chain.deposit(self._world.treasury, missing)
        chain.tick(int(trio.current_time()))
        if chain.pending is not None:
            chain.activate()
        await self.tell_all()
        await self._follow_root()
        # What is due is released in parts, and each part is one asking.
        while not await self.close():  # noqa: ASYNC110
            await trio.sleep(1.0)
        chain.activate()
        for wallet in sorted(chain.active.earnings if chain.active else ()):
            chain.claim(wallet)
        chain.tick(int(trio.current_time()))
        await self.tell_all()
        await self._follow_root()


def _root_of(number: int, salt: bytes) -> bytes:
    return sha256(b"%d %s" % (number, salt)).digest()
