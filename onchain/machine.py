"""A chain in this process: LiteSVM, and what a cluster has around its virtual machine.

In:   transactions as bytes, airdrops, accounts and programs set from outside, the passing of slots.
Out:  accounts at a commitment, what landed (`machine_values.Landed`), recent blockhashes.
Rules:
  1. A blockhash is good for 150 blocks after its own; a transaction lands once, whatever it is
     sent again with.
  2. What is larger than a packet, or not signed by all its signers, never runs.
  3. Nothing moves by itself: slots and time pass in `advance` only.
Why our own checks: LiteSVM knows one blockhash only, the latest, so it runs without looking at it;
signatures are looked at here, because a simulation may come without them.
Not covered: forks (what is processed stays), rewards, votes, block limits, durable nonces.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

from solders.account import Account as VmAccount
from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import FeatureSet, LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from coordinator.limits import CHAIN_HISTORY_MAX, TRANSACTION_BYTES_MAX
from onchain.chain import BLOCKHASH_BLOCKS, CLOCK_ADDRESS, LAMPORTS_PER_SIGNATURE, Commitment
from onchain.chain_errors import PacketTooLarge
from onchain.extended_precision import give_back
from onchain.machine_values import (
    Landed,
    NotRun,
    Outcome,
    fee_of,
    landed_of,
    loaded_addresses,
    parse_transaction,
    token_of,
)

SLOT_MS: Final = 400
#: Slots whose hashes programs see (lookup tables are made with one of them).
SLOT_HASHES: Final = 512
#: Lamports of the faucet: half of what a u64 holds, so that no airdrop overflows it.
FAUCET_LAMPORTS: Final = 2**62
#: Failures of programs: the transaction lands, fails and pays. Others never get into a block.
_LANDING: Final = frozenset({"InstructionError", "InsufficientFundsForRent"})
_SYSTEM: Final = Pubkey.default()


class Machine:
    """One chain. Nothing in it is async and nothing takes a lock: one task moves it at a time.

    Args:
        name: Names the genesis: two machines of one name begin with the same hashes.
        unix_s: The chain's time at its beginning.
        confirm_slots: Slots until what landed counts as confirmed; 0 for at once.
        finalize_slots: Slots until it counts as finalized; a cluster takes 31.
        deployable: With the runtime's features off, so that the upgradeable loader takes programs
            of SBPF v0; with all on, as by default, this LiteSVM refuses every deployment.
    """

    def __init__(
        self,
        *,
        name: str = "hypernode",
        unix_s: int = 1_700_000_000,
        confirm_slots: int = 0,
        finalize_slots: int = 0,
        deployable: bool = False,
    ) -> None:
        assert 0 <= confirm_slots <= finalize_slots <= BLOCKHASH_BLOCKS
        self.genesis = sha256(b"genesis " + name.encode()).digest()
        self.time_ms = unix_s * 1000
        self.slot = self.height = finalize_slots + 1
        self.landed: dict[bytes, Landed] = {}
        #: Addresses that were ever written: LiteSVM cannot list its accounts.
        self.known: set[bytes] = set()
        #: Blockhash → height of its block, oldest first.
        self.blockhashes: dict[bytes, int] = {}
        self.airdrops = 0
        #: Counted up with every change to an account: what is saved is new when this is.
        self.changes = 0
        self._lag = {
            Commitment.PROCESSED: 0,
            Commitment.CONFIRMED: confirm_slots,
            Commitment.FINALIZED: finalize_slots,
        }
        self._messages: dict[bytes, bytes] = {}
        self._before: dict[bytes, deque[tuple[int, VmAccount | None]]] = {}
        self._times: dict[int, int] = {}
        self._hashes_are_old = True
        self._vm = LiteSVM().with_sigverify(False).with_blockhash_check(False)
        if deployable:
            self._vm = self._vm.with_builtins(FeatureSet.default())
        self._vm.set_account(
            self._faucet.pubkey(), VmAccount(FAUCET_LAMPORTS, b"", _SYSTEM, executable=False)
        )
        self._open_blocks(BLOCKHASH_BLOCKS)

    @property
    def _faucet(self) -> Keypair:
        # Its key is no secret: the lamports of a simulated chain are worth nothing.
        return Keypair.from_seed(sha256(b"faucet " + self.genesis).digest())

    # ---- time -------------------------------------------------------------------------------

    def advance(self, slots: int = 1, *, ms: int | None = None, blocks: int | None = None) -> None:
        """Let slots pass.

        Args:
            slots: How many; 0 to move the time alone.
            ms: How much time passes; 400 a slot unless said.
            blocks: How many of the slots have a block; all of them unless said.
        """
        blocks = slots if blocks is None else blocks
        assert slots >= 0
        assert 0 <= blocks <= slots
        if slots:
            self._remember(CLOCK_ADDRESS)
        self.slot += slots
        self.height += blocks
        self.time_ms += slots * SLOT_MS if ms is None else ms
        self._open_blocks(min(blocks, 2 * BLOCKHASH_BLOCKS))
        self._forget()

    def _open_blocks(self, count: int) -> None:
        """Give the newest blocks their hashes, forget the old ones, and set the machine's clock."""
        for height in range(max(0, self.height - count + 1), self.height + 1):
            block = sha256(b"block" + self.genesis + height.to_bytes(8, "little"))
            self.blockhashes[block.digest()] = height
        for old in [
            *islice(self.blockhashes, max(0, len(self.blockhashes) - 2 * BLOCKHASH_BLOCKS))
        ]:
            del self.blockhashes[old]
        clock = self._vm.get_clock()
        clock.slot, clock.unix_timestamp = self.slot, self.time_ms // 1000
        self._vm.set_clock(clock)
        self._vm.warp_to_slot(self.slot)
        self._times[self.slot] = self.time_ms // 1000
        self._hashes_are_old = True

    def _forget(self) -> None:
        rooted = self.slot_at(Commitment.FINALIZED)
        for address, changes in [*self._before.items()]:
            while changes and changes[0][0] <= rooted:
                changes.popleft()
            if not changes:
                del self._before[address]
        for old in [*islice(self._times, max(0, len(self._times) - CHAIN_HISTORY_MAX))]:
            del self._times[old]

    def slot_at(self, commitment: Commitment) -> int:
        return self.slot - self._lag[commitment]

    def height_at(self, commitment: Commitment) -> int:
        return max(0, self.height - self._lag[commitment])

    def time_of(self, slot: int) -> int | None:
        """Unix s of a slot that was stopped at; None for others."""
        return self._times.get(slot)

    def latest_blockhash(self, commitment: Commitment) -> tuple[bytes, int]:
        """The newest blockhash at a commitment, and the last height that it is good for."""
        wanted = self.height_at(commitment)
        for blockhash, height in reversed(self.blockhashes.items()):
            if height <= wanted:
                return blockhash, height + BLOCKHASH_BLOCKS
        blockhash, height = next(iter(self.blockhashes.items()))
        return blockhash, height + BLOCKHASH_BLOCKS

    def is_blockhash_valid(self, blockhash: bytes) -> bool:
        height = self.blockhashes.get(blockhash)
        return height is not None and self.height <= height + BLOCKHASH_BLOCKS

    # ---- accounts ---------------------------------------------------------------------------

    def account(self, address: bytes, commitment: Commitment) -> VmAccount | None:
        """The account as it was at a commitment's slot; None where there is none."""
        wanted = self.slot_at(commitment)
        for slot, before in self._before.get(address, ()):
            if slot > wanted:
                return before
        return self.newest(address)

    def set_account(
        self,
        address: bytes,
        lamports: int,
        data: bytes,
        owner: bytes = bytes(32),
        *,
        executable: bool = False,
    ) -> None:
        """Put an account as if it had always been so: for fixtures, and for loading a state."""
        account = VmAccount(lamports, data, Pubkey(owner), executable=executable)
        self._vm.set_account(Pubkey(address), account)
        self._before.pop(address, None)
        self._note([address])

    def add_program(self, address: bytes, program: Path | bytes) -> None:
        """Load a program, from a file or its bytes.

        Raises:
            ValueError: LiteSVM does not take it for a program.
        """
        elf = program if isinstance(program, bytes) else program.read_bytes()
        try:
            self._vm.add_program(Pubkey(address), elf)
        except BaseException as error:
            # A broken file makes the Rust inside panic, which no `except Exception` sees.
            if type(error).__name__ != "PanicException":
                raise
            msg = "not a program that this LiteSVM can load"
            raise ValueError(msg) from error
        self._note([address])

    def rent_minimum(self, size: int) -> int:
        return self._vm.minimum_balance_for_rent_exemption(size)

    def newest(self, address: bytes) -> VmAccount | None:
        """The account as the last transaction left it; None where there is none."""
        account = self._vm.get_account(Pubkey(address))
        return None if account is None or account.lamports == 0 else account

    def _note(self, addresses: Iterable[bytes]) -> None:
        self.known.update(addresses)
        self.changes += 1

    def _remember(self, address: bytes) -> None:
        if self._lag[Commitment.FINALIZED] == 0:
            return
        changes = self._before.setdefault(address, deque())
        if not changes or changes[-1][0] != self.slot:
            changes.append((self.slot, self.newest(address)))

    # ---- transactions -----------------------------------------------------------------------

    def airdrop(self, address: bytes, lamports: int) -> Landed:
        """Give lamports from the faucet, by a transaction like any other.

        Raises:
            NotRun: the faucet cannot.
        """
        self.airdrops += 1
        move = TransferParams(
            from_pubkey=self._faucet.pubkey(), to_pubkey=Pubkey(address), lamports=lamports
        )
        # The limit, counted up, makes every airdrop a transaction of its own.
        instructions = [set_compute_unit_limit(10_000 + self.airdrops), transfer(move)]
        blockhash, _ = self.latest_blockhash(Commitment.PROCESSED)
        message = MessageV0.try_compile(
            self._faucet.pubkey(), instructions, [], Hash.from_bytes(blockhash)
        )
        return self.submit(bytes(VersionedTransaction(message, [self._faucet])))

    def check(self, raw: bytes) -> VersionedTransaction:
        """A transaction that may run now: its size, shape, signatures, age and newness.

        Raises:
            PacketTooLarge: it would not fit in a packet.
            NotRun: by the runtime's name for what is wrong.
        """
        if len(raw) > TRANSACTION_BYTES_MAX:
            raise PacketTooLarge(len(raw), TRANSACTION_BYTES_MAX)
        transaction = parse_transaction(raw)
        if not all(transaction.verify_with_results()):
            raise NotRun("SignatureFailure")
        self._check_age(transaction)
        return transaction

    def _check_age(self, transaction: VersionedTransaction) -> None:
        if not self.is_blockhash_valid(bytes(transaction.message.recent_blockhash)):
            raise NotRun("BlockhashNotFound")
        if bytes(transaction.message.hash()) in self._messages:
            raise NotRun("AlreadyProcessed")

    def submit(self, raw: bytes) -> Landed:
        """Run a transaction for good.

        Returns:
            What landed, also where a program failed: its fee is paid then.

        Raises:
            PacketTooLarge, NotRun: nothing happened, nothing was paid.
        """
        transaction = self.check(raw)
        addresses = self._addresses(transaction)
        for address in addresses:
            self._remember(address)
        before = [self.newest(address) for address in addresses]
        self._charge(addresses[0], before[0], transaction)
        outcome = self._run(transaction)
        if outcome.error is not None and outcome.error_name not in _LANDING:
            if before[0] is not None:
                self._vm.set_account(Pubkey(addresses[0]), before[0])
            raise NotRun(outcome.error, outcome.logs)
        self._note(addresses)
        after = [self.newest(address) for address in addresses]
        landed = landed_of(self, transaction, raw, outcome, (addresses, before, after))
        self._keep(landed, bytes(transaction.message.hash()))
        return landed

    def _charge(
        self, payer: bytes, account: VmAccount | None, transaction: VersionedTransaction
    ) -> None:
        """Take the priority fee, which this LiteSVM forgets."""
        base = len(transaction.signatures) * LAMPORTS_PER_SIGNATURE
        priority = fee_of(transaction) - base
        if priority == 0 or account is None:
            return
        if account.lamports < base + priority:
            raise NotRun("InsufficientFundsForFee")
        left = account.lamports - priority
        kept = VmAccount(left, account.data, account.owner, executable=account.executable)
        self._vm.set_account(Pubkey(payer), kept)

    def simulate(self, raw: bytes, *, signed: bool = False, aged: bool = False) -> Outcome:
        """What a transaction would do now.

        Args:
            raw: The transaction; its signatures may be zeros unless `signed`.
            signed: Look at its signatures.
            aged: Look at its blockhash, and whether it landed already.
        """
        if len(raw) > TRANSACTION_BYTES_MAX:
            raise PacketTooLarge(len(raw), TRANSACTION_BYTES_MAX)
        transaction = parse_transaction(raw)
        if signed and not all(transaction.verify_with_results()):
            return Outcome.failed("SignatureFailure")
        try:
            if aged:
                self._check_age(transaction)
            return self._run(transaction, for_good=False)
        except NotRun as error:
            return Outcome.failed(error.error)

    def _run(self, transaction: VersionedTransaction, *, for_good: bool = True) -> Outcome:
        if self._hashes_are_old:
            self._set_slot_hashes()
        run = self._vm.send_transaction if for_good else self._vm.simulate_transaction
        outcome = Outcome.of(run(transaction))
        give_back()
        return outcome

    def _set_slot_hashes(self) -> None:
        newest = [*islice(reversed(self.blockhashes), SLOT_HASHES)]
        first = self.slot - 1
        rows = [(first - i, Hash.from_bytes(each)) for i, each in enumerate(newest) if i < first]
        self._vm.set_slot_hashes(rows)
        self._hashes_are_old = False

    def _addresses(self, transaction: VersionedTransaction) -> list[bytes]:
        """All addresses that the transaction names, those of lookup tables last."""
        keys = [bytes(key) for key in transaction.message.account_keys]
        return keys + loaded_addresses(transaction, self.newest)

    def _keep(self, landed: Landed, message: bytes) -> None:
        self.landed[landed.signature] = landed
        self._messages[message] = landed.signature
        while len(self.landed) > CHAIN_HISTORY_MAX:
            del self.landed[next(iter(self.landed))]
        while len(self._messages) > CHAIN_HISTORY_MAX:
            del self._messages[next(iter(self._messages))]

    def restore_landed(self, landed: Iterable[Landed]) -> None:
        """Put back what landed before a restart, oldest first."""
        for each in landed:
            self._keep(each, bytes(parse_transaction(each.raw).message.hash()))

    def mint_of(self, address: bytes) -> tuple[bytes, int] | None:
        """Mint and decimals of a token account."""
        token = token_of(self.newest(address))
        mint = token and self.newest(token.mint)
        return (token.mint, mint.data[44]) if token and mint else None
