"""A built program in LiteSVM, by either release of it: loaded or deployed, called, answering.

In:   a program file; as a script also whether it is deployed by the loader's own transactions.
Out:  for each call of a fixed story its error or its return data, logs left out: what two versions,
      two compilers and two virtual machines must agree on.
Why it imports nothing of ours: it runs in an environment that has solders and nothing else too.
Not covered: compute units (they differ by design), the token program.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM, CreateAccountParams, create_account
from solders.transaction import VersionedTransaction

LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
RENT = Pubkey.from_string("SysvarRent111111111111111111111111111111111")
CLOCK = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
#: SIMD-0500: no deployment, upgrade or end of upgrades for programs of SBPF v0 to v2.
WITHOUT_OLD_VERSIONS = Pubkey.from_string("B8JJXCy5amZyWG9r7EnUYLwzXSXTxG7GZ1qZ1qggo83g")
#: Bytes that the loader keeps before a buffer's, a program's data, and in a program's account.
BUFFER_HEAD, DATA_HEAD, PROGRAM_BYTES = 37, 45, 36
#: What one transaction can write besides signatures and addresses.
WRITE_BYTES = 900


class Refused(Exception):
    """The virtual machine did not take a transaction that had to pass."""


def key(name: str) -> Keypair:
    """The same key in every run."""
    return Keypair.from_seed(hashlib.sha256(name.encode()).digest())


@dataclass(slots=True)
class Machine:
    """A chain in process with one payer."""

    svm: LiteSVM = field(default_factory=LiteSVM)
    payer: Keypair = field(default_factory=lambda: key("payer"))

    def __post_init__(self) -> None:
        self.svm.airdrop(self.payer.pubkey(), 100_000_000_000)

    def send(self, instructions: list[Instruction], *signers: Keypair) -> Any:
        self.svm.expire_blockhash()
        everyone = [self.payer, *(s for s in signers if s != self.payer)]
        message = Message.new_with_blockhash(
            instructions, self.payer.pubkey(), self.svm.latest_blockhash()
        )
        return self.svm.send_transaction(VersionedTransaction(message, everyone))

    def pass_(self, instructions: list[Instruction], *signers: Keypair) -> Any:
        done = self.send(instructions, *signers)
        if refusal := refusal_of(done):
            raise Refused(refusal, done.meta().logs())
        return done

    def load(self, program: bytes, address: Pubkey) -> None:
        """Put a program there without a transaction."""
        self.svm.add_program(address, program)

    def deploy(self, program: bytes, address: Keypair) -> Any:
        """Deploy by the upgradeable loader's transactions; returns what it says of the last one."""
        buffer = self._buffer(program)
        payer = self.payer.pubkey()
        data = Pubkey.find_program_address([bytes(address.pubkey())], LOADER)[0]
        places = [(payer, True), (data, True), (address.pubkey(), True), (buffer, True)]
        places += [(RENT, False), (CLOCK, False), (SYSTEM, False)]
        metas = [AccountMeta(place, place == payer, writable) for place, writable in places]
        metas.append(AccountMeta(payer, is_signer=True, is_writable=False))
        words = struct.pack("<IQ", 2, len(program)) + b"\1"
        account = self._account(address.pubkey(), PROGRAM_BYTES)
        done = self.send([account, Instruction(LOADER, words, metas)], address)
        # A program is there from the slot after its deployment.
        self.svm.warp_to_slot(self.svm.get_clock().slot + 2)
        return done

    def _account(self, address: Pubkey, size: int) -> Instruction:
        return create_account(
            CreateAccountParams(
                from_pubkey=self.payer.pubkey(),
                to_pubkey=address,
                lamports=self.svm.minimum_balance_for_rent_exemption(size),
                space=size,
                owner=LOADER,
            )
        )

    def _buffer(self, program: bytes) -> Pubkey:
        """A buffer that holds the program, written piece by piece."""
        buffer, payer = key(f"buffer {hashlib.sha256(program).hexdigest()}"), self.payer.pubkey()
        metas = [
            AccountMeta(buffer.pubkey(), is_signer=False, is_writable=True),
            AccountMeta(payer, is_signer=True, is_writable=False),
        ]
        account = self._account(buffer.pubkey(), BUFFER_HEAD + len(program))
        self.pass_([account, Instruction(LOADER, struct.pack("<I", 0), metas)], buffer)
        for at in range(0, len(program), WRITE_BYTES):
            piece = program[at : at + WRITE_BYTES]
            words = struct.pack("<IIQ", 1, at, len(piece)) + piece
            self.pass_([Instruction(LOADER, words, metas)])
        return buffer.pubkey()


@dataclass(slots=True)
class Tally:
    """The sample program's calls and what came of them."""

    machine: Machine
    address: Pubkey
    owner: Keypair = field(default_factory=lambda: key("owner"))
    answers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def account(self) -> tuple[Pubkey, int]:
        seeds = [b"tally", bytes(self.owner.pubkey())]
        return Pubkey.find_program_address(seeds, self.address)

    def call(self, name: str, data: bytes, *places: tuple[Pubkey, bool, bool]) -> None:
        """Call, keep the answer; a place is an address, whether it signs, whether it is written."""
        metas = [AccountMeta(*place) for place in places]
        signers = [self.owner, key("stranger")]
        signing = [s for s in signers if (s.pubkey(), True) in {(p[0], p[1]) for p in places}]
        done = self.machine.send([Instruction(self.address, data, metas)], *signing)
        answer = refusal_of(done) or bytes(done.return_data().data).hex()
        self.answers.append((name, answer))

    def read(self) -> None:
        account = self.machine.svm.get_account(self.account[0])
        self.answers.append(("account", bytes(account.data).hex() if account else "none"))


def story(machine: Machine, address: Pubkey) -> list[tuple[str, str]]:
    """Every way through the sample program, each refusal included."""
    tally = Tally(machine, address)
    machine.svm.airdrop(tally.owner.pubkey(), 1_000_000_000)
    _tell_account(tally)
    _tell_refusals(tally)
    _tell_arithmetic(tally)
    return tally.answers


def _tell_account(tally: Tally) -> None:
    owner, (account, bump) = tally.owner.pubkey(), tally.account
    places = ((owner, True, True), (account, False, True), (SYSTEM, False, False))
    make = struct.pack("<QB", 0, bump)
    tally.call("create: another bump", struct.pack("<QB", 0, bump - 1), *places)
    tally.call("create: an address of somebody", make, places[0], (RENT, False, False), places[2])
    tally.call("create: unsigned", make, (owner, False, True), *places[1:])
    tally.call("create", make, *places)
    tally.read()
    tally.call("create: again", make, *places)
    for amount in (5, 0x0102_0304_0506, 2**63):
        tally.call(f"add {amount}", struct.pack("<QQ", 1, amount), places[0], places[1])
    tally.read()


def _tell_refusals(tally: Tally) -> None:
    owner, account = (tally.owner.pubkey(), True, False), (tally.account[0], False, True)
    stranger = (key("stranger").pubkey(), True, False)
    one = struct.pack("<QQ", 1, 1)
    tally.call("add: a stranger", one, stranger, account)
    tally.call("add: too much", struct.pack("<QQ", 1, 2**63), owner, account)
    tally.call("add: unsigned", one, (owner[0], False, False), account)
    tally.call("add: one account", one, owner)
    tally.call("add: four accounts", one, owner, account, stranger, (SYSTEM, False, False))
    tally.call("add: the account twice", one, owner, account, account)
    tally.call("add: not ours", one, owner, (SYSTEM, False, False))
    tally.call("add: a byte short", one[:-1], owner, account)
    tally.call("add: a byte long", one + b"\0", owner, account)
    tally.call("no such instruction", struct.pack("<Q", 3))
    tally.call("no instruction", b"")
    tally.read()


def _tell_arithmetic(tally: Tally) -> None:
    for number in range(24):
        digest = hashlib.sha256(bytes([number])).digest()
        value, rounds = int.from_bytes(digest[:8], "little"), number % 21
        tally.call(f"mix {value}, {rounds}", struct.pack("<QQI", 2, value, rounds))
    for value in (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1):
        tally.call(f"mix {value}, 20", struct.pack("<QQI", 2, value, 20))


def refusal_of(done: Any) -> str | None:
    """Why a transaction was not taken: a number of ours or a name; None where it was."""
    if hasattr(done, "return_data"):
        return None
    # The two releases spell their classes otherwise; what is innermost is the same.
    return str(re.findall(r"\((\w+)\)", str(done.err()))[-1])


def network(*, without_old: bool) -> LiteSVM:
    """The main network's features; without_old: and the one that ends SBPF v0 to v2."""
    newest: Any = LiteSVM
    features = newest.mainnet_feature_set()
    if without_old:
        features.activate(WITHOUT_OLD_VERSIONS, 0)
    svm: LiteSVM = (
        newest.default()
        .with_feature_set(features)
        .with_builtins()
        .with_lamports(10**15)
        .with_sysvars()
        .with_feature_accounts()
        .with_default_programs()
        .with_sigverify(True)
        .with_blockhash_check(True)
    )
    return svm


def main(path: str, how: str) -> None:
    """Print the answers as JSON: `load`, or `deploy` with the features of the main network."""
    program, address = Path(path).read_bytes(), key("program")
    if how == "load":
        machine = Machine()
        machine.load(program, address.pubkey())
        refusal = None
    else:
        machine = Machine(network(without_old=how == "deploy-without-old-versions"))
        done = machine.deploy(program, address)
        refusal = refusal_of(done) and str(done.meta().logs())
    answers = [] if refusal else story(machine, address.pubkey())
    json.dump({"refusal": refusal, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
