"""A chain in process (LiteSVM) with the settlement program on it: accounts, time, transactions.

In:   the program's file, accounts to put there, instructions to run.
Out:  what a transaction came to (`Outcome`: the error's name, events, compute units), accounts.
Rules:
  1. Signatures of transactions are not verified: who signs is what the message says. The Ed25519
     program verifies what it is given all the same.
  2. Nothing is remembered of a transaction, so the same one runs twice.
  3. Only calls that LiteSVM has had since solders 0.26: the suite runs under later ones too.
Not covered: consensus, fees markets, finality; rent is never collected.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.clock import Clock
from solders.instruction import AccountMeta, Instruction
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.rent import Rent
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata

from onchain.extended_precision import give_back
from onchain.program import DEVELOPMENT_ID
from onchain.program.instructions import Instruction as Declared
from onchain.program.refusals import CODES
from tests.program_bytes import pack_instruction, unpack_event
from tests.tree import ROOT

PROGRAM: Final = Pubkey.from_bytes(DEVELOPMENT_ID)
#: Another file to test: SBPF v3 where LiteSVM is recent enough for it.
FILE_SETTING: Final = "HYPERNODE_PROGRAM_FILE"
#: `mainnet`: the features that the main cluster has, where LiteSVM knows them; else all.
FEATURES_SETTING: Final = "HYPERNODE_CHAIN_FEATURES"
BUILT: Final = ROOT / "onchain" / "program" / "hyper_settlement.v0.so"
FEE_PAYER: Final = Pubkey.from_bytes(b"fee payer of every transaction".ljust(32, b"."))
#: Lamports a byte and threshold that the chain begins with: LiteSVM's, as on the main cluster.
RENT: Final = (3_480, 2.0)
_NAMES: Final = {code: name for name, code in CODES.items()}


class Outcome(NamedTuple):
    """What became of a transaction."""

    #: None: it succeeded. Else a name of `refusals`, or the runtime's (`ReadonlyDataModified`).
    error: str | None
    #: Number of the instruction that failed.
    at: int | None
    #: Name and values of each event of the program, in order.
    events: list[tuple[str, dict[str, Any]]]
    units: int
    logs: list[str]


def program_file() -> Path:
    """The file under test: `HYPERNODE_PROGRAM_FILE`, or the built one."""
    return Path(os.environ.get(FILE_SETTING, BUILT))


def key_of(name: str) -> Pubkey:
    """A key that nobody holds, the same in every run."""
    return Pubkey.from_bytes(name.encode().ljust(32, b"."))


def found(seeds: Sequence[bytes], program: Pubkey = PROGRAM) -> tuple[Pubkey, int]:
    """Canonical address and bump."""
    return Pubkey.find_program_address(list(seeds), program)


def instruction_of(
    declared: Declared,
    keys: Mapping[str, Pubkey],
    args: Mapping[str, Any],
    *,
    flags: Mapping[str, tuple[bool, bool]] | None = None,
) -> Instruction:
    """An instruction as declared; `flags` overrides (signs, writable) of accounts by name."""
    metas = []
    for account in declared.accounts:
        signs, writable = (flags or {}).get(account.name, (account.signer, account.writable))
        metas.append(AccountMeta(keys[account.name], signs, writable))
    return Instruction(PROGRAM, pack_instruction(declared, args), metas)


class World:
    """One chain. Accounts that are put there stay until they are put anew or removed."""

    def __init__(self, program: bytes | Path | None, *, at: Pubkey = PROGRAM) -> None:
        svm = LiteSVM()
        if os.environ.get(FEATURES_SETTING) == "mainnet":
            svm = _with_mainnet_features(svm)
        self._svm = (
            svm.with_sigverify(False).with_transaction_history(0).with_blockhash_check(False)
        )
        if program is not None:
            self.load(program, at=at)
        self.put(FEE_PAYER, Account(10**15, b"", Pubkey.default()))
        self._blockhash = self._svm.latest_blockhash()

    def load(self, program: bytes | Path, *, at: Pubkey = PROGRAM) -> None:
        """Put a program there, in place of the one that is."""
        data = program.read_bytes() if isinstance(program, Path) else program
        self._svm.add_program(at, data)

    def put(self, key: Pubkey, account: Account) -> None:
        self._svm.set_account(key, account)

    def remove(self, key: Pubkey) -> None:
        self._svm.set_account(key, Account(0, b"", Pubkey.default()))

    def account(self, key: Pubkey) -> Account | None:
        """None where there is nothing: no lamports, no account."""
        account = self._svm.get_account(key)
        return account if account is not None and account.lamports else None

    def set_clock(self, now: int, slot: int) -> None:
        """Unix seconds, and the slot."""
        self._svm.set_clock(Clock(slot, 0, 0, 0, now))

    def set_rent(self, lamports_per_byte: int, threshold: float) -> None:
        self._svm.set_rent(Rent(lamports_per_byte, threshold, 50))

    def transaction(
        self,
        instructions: Iterable[Instruction],
        tables: Sequence[AddressLookupTableAccount] = (),
        fee_payer: Pubkey = FEE_PAYER,
    ) -> VersionedTransaction:
        message = MessageV0.try_compile(
            fee_payer, list(instructions), list(tables), self._blockhash
        )
        signatures = [Signature.default()] * message.header.num_required_signatures
        return VersionedTransaction.populate(message, signatures)

    def send(
        self,
        instructions: Iterable[Instruction],
        tables: Sequence[AddressLookupTableAccount] = (),
        fee_payer: Pubkey = FEE_PAYER,
        program: Pubkey = PROGRAM,
    ) -> Outcome:
        """Run one transaction. Events are those of the program at that address."""
        result = self._svm.send_transaction(self.transaction(instructions, tables, fee_payer))
        give_back()
        if isinstance(result, FailedTransactionMetadata):
            error, at = _named(result.err())
            meta = result.meta()
        else:
            error, at, meta = None, None, result
        logs = meta.logs()
        return Outcome(
            error, at, list(_events(logs, str(program))), meta.compute_units_consumed(), logs
        )


def _with_mainnet_features(svm: Any) -> Any:
    """The same chain with the main cluster's features; LiteSVM of solders 0.29 knows them."""
    return svm.with_mainnet_features()


def _named(error: Any) -> tuple[str, int | None]:
    """The name of an error, and the number of the instruction where there is one."""
    inner = getattr(error, "err", error)
    code = getattr(inner, "code", None)
    at = getattr(error, "index", None)
    if code is not None:
        return _NAMES.get(code, f"Custom({code})"), at
    words = str(inner).rsplit(".", 1)[-1].removeprefix("InstructionError")
    return words.removeprefix("Fieldless"), at


def _events(logs: Iterable[str], program: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What our program logged as data; what programs that it calls log is theirs."""
    running: list[str] = []
    for line in logs:
        words = line.split(" ")
        if words[0] == "Program" and words[2:3] == ["invoke"]:
            running.append(words[1])
        elif words[0] == "Program" and (words[2:3] == ["success"] or words[2:3] == ["failed:"]):
            running.pop()
        elif line.startswith("Program data: ") and running[-1] == program:
            (data,) = words[2:]
            yield unpack_event(base64.b64decode(data, validate=True))
