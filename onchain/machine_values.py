"""What the chain in this process hands out: outcomes, landed transactions, token accounts.

Shapes of errors, inner instructions and token balances are those of Solana's JSON-RPC, for that is
where they go; everything else is bytes and integers.
Not covered: token accounts of Token-2022 with extensions count as tokens by their first 165 bytes.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

import based58
from solders.account import Account as VmAccount
from solders.message import MessageV0
from solders.rpc.responses import RpcSimulateTransactionResult
from solders.transaction import VersionedTransaction

from onchain.address import decode_address, encode_address
from onchain.chain import LAMPORTS_PER_SIGNATURE
from onchain.drafts import UNITS_MAX
from onchain.lookup_tables import HEAD_BYTES

if TYPE_CHECKING:
    from onchain.machine import Machine

#: The two token programs; both begin an account with mint, owner and amount.
TOKEN_PROGRAMS: Final = frozenset(
    map(
        decode_address,
        (
            "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
            "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
        ),
    )
)
TOKEN_ACCOUNT_BYTES: Final = 165
COMPUTE_BUDGET: Final = decode_address("ComputeBudget111111111111111111111111111111")
#: Compute units of an instruction whose transaction names no limit.
UNITS_PER_INSTRUCTION: Final = 200_000

_TOKEN: Final = Struct("<32s32sQ")
_SET_LIMIT: Final = Struct("<BI")
_SET_PRICE: Final = Struct("<BQ")


class NotRun(Exception):
    """The transaction never got into a block: nothing happened and nothing was paid."""

    def __init__(self, error: object, logs: tuple[str, ...] = ()) -> None:
        super().__init__(str(error))
        #: The `err` of JSON-RPC.
        self.error = error
        self.logs = logs


@dataclass(frozen=True, slots=True)
class Outcome:
    """What running a transaction gave."""

    #: The `err` of JSON-RPC; None for success.
    error: Any
    logs: tuple[str, ...] = ()
    units: int = 0
    #: Program and data that it returned, or None.
    returned: tuple[bytes, bytes] | None = None
    #: The `innerInstructions` of JSON-RPC.
    inner: tuple[dict[str, Any], ...] = ()
    #: What the accounts would be; of simulations that succeed only.
    accounts: tuple[tuple[bytes, VmAccount], ...] = ()

    @property
    def error_name(self) -> str:
        return next(iter(self.error)) if isinstance(self.error, dict) else str(self.error)

    @classmethod
    def failed(cls, error: object) -> Outcome:
        return cls(error)

    @classmethod
    def of(cls, result: Any) -> Outcome:
        """From what LiteSVM returns for sending or simulating."""
        meta = result.meta() if hasattr(result, "meta") else result
        error = error_of(result.err()) if hasattr(result, "err") else None
        after = result.post_accounts() if hasattr(result, "post_accounts") else ()
        data = meta.return_data()
        returned = (bytes(data.program_id), bytes(data.data)) if bytes(data.data) else None
        inner = tuple(
            {"index": index, "instructions": [_inner(each) for each in each_of]}
            for index, each_of in enumerate(meta.inner_instructions())
            if each_of
        )
        return cls(
            error=error,
            logs=tuple(meta.logs()),
            units=meta.compute_units_consumed(),
            returned=returned,
            inner=inner,
            accounts=tuple((bytes(address), account) for address, account in after),
        )


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction in a block: it succeeded, or failed and paid its fee."""

    signature: bytes
    slot: int
    unix_s: int
    raw: bytes
    fee: int
    outcome: Outcome
    #: All addresses: those in the message, then those of lookup tables, writable ones first.
    addresses: tuple[bytes, ...]
    #: Lamports of each address, before and after.
    lamports_before: tuple[int, ...]
    lamports_after: tuple[int, ...]
    #: `preTokenBalances` and `postTokenBalances` of JSON-RPC.
    tokens_before: tuple[dict[str, Any], ...] = ()
    tokens_after: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    mint: bytes
    owner: bytes
    amount: int


def token_of(account: VmAccount | None) -> Token | None:
    """The token account in an account; None where there is none."""
    if account is None or bytes(account.owner) not in TOKEN_PROGRAMS:
        return None
    data = account.data
    return Token(*_TOKEN.unpack_from(data)) if len(data) >= TOKEN_ACCOUNT_BYTES else None


def parse_transaction(raw: bytes) -> VersionedTransaction:
    """A transaction that is well formed, canonical and sane.

    Raises:
        NotRun: it is not.
    """
    try:
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except Exception as error:  # solders has a class for each kind
        raise NotRun("SanitizeFailure") from error
    if bytes(transaction) != raw:
        raise NotRun("SanitizeFailure")  # bytes after its end, which no node passes on
    return transaction


def error_of(error: Any) -> Any:
    """LiteSVM's error as the `err` of JSON-RPC."""
    return json.loads(RpcSimulateTransactionResult(err=error).to_json())["err"]


def loaded_addresses(
    transaction: VersionedTransaction, account: Callable[[bytes], VmAccount | None]
) -> list[bytes]:
    """The addresses that a transaction takes from lookup tables, writable ones first."""
    message = transaction.message
    if not isinstance(message, MessageV0):
        return []
    writable: list[bytes] = []
    readonly: list[bytes] = []
    for lookup in message.address_table_lookups:
        table = account(bytes(lookup.account_key))
        rows = b"" if table is None else bytes(table.data)[HEAD_BYTES:]
        writable += [rows[32 * i : 32 * i + 32] for i in bytes(lookup.writable_indexes)]
        readonly += [rows[32 * i : 32 * i + 32] for i in bytes(lookup.readonly_indexes)]
    # An index beyond its table's end is the runtime's to refuse: here it is no address.
    return [address for address in writable + readonly if len(address) == 32]


def fee_of(transaction: VersionedTransaction) -> int:
    """Lamports that a transaction costs: its signatures, and its compute limit at its price."""
    price, limit, others = 0, None, 0
    keys = transaction.message.account_keys
    for instruction in transaction.message.instructions:
        data = bytes(instruction.data)
        if bytes(keys[instruction.program_id_index]) != COMPUTE_BUDGET:
            others += 1
        elif data[:1] == b"\x02" and len(data) == _SET_LIMIT.size:
            limit = _SET_LIMIT.unpack(data)[1]
        elif data[:1] == b"\x03" and len(data) == _SET_PRICE.size:
            price = _SET_PRICE.unpack(data)[1]
    units = min(UNITS_MAX, others * UNITS_PER_INSTRUCTION if limit is None else limit)
    priority = -(-units * price // 1_000_000)
    return len(transaction.signatures) * LAMPORTS_PER_SIGNATURE + priority


def landed_of(
    machine: Machine,
    transaction: VersionedTransaction,
    raw: bytes,
    outcome: Outcome,
    states: tuple[Sequence[bytes], Sequence[VmAccount | None], Sequence[VmAccount | None]],
) -> Landed:
    """All that is told about a transaction later; `states` are addresses, before, after."""
    addresses, before, after = states
    return Landed(
        signature=bytes(transaction.signatures[0]),
        slot=machine.slot,
        unix_s=machine.time_ms // 1000,
        raw=raw,
        fee=fee_of(transaction),
        outcome=outcome,
        addresses=tuple(addresses),
        lamports_before=tuple(0 if each is None else each.lamports for each in before),
        lamports_after=tuple(0 if each is None else each.lamports for each in after),
        tokens_before=_token_rows(machine, addresses, before),
        tokens_after=_token_rows(machine, addresses, after),
    )


def ui_amount(amount: int, decimals: int) -> dict[str, Any]:
    """An amount of tokens as JSON-RPC tells it."""
    digits = str(amount).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    text = f"{whole}.{fraction.rstrip('0')}".rstrip(".")
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": amount / 10**decimals,
        "uiAmountString": text,
    }


def _token_rows(
    machine: Machine, addresses: Sequence[bytes], accounts: Sequence[VmAccount | None]
) -> tuple[dict[str, Any], ...]:
    rows = []
    for index, (address, account) in enumerate(zip(addresses, accounts, strict=True)):
        token = token_of(account)
        mint = machine.mint_of(address) if token else None
        if account is None or token is None or mint is None:
            continue
        rows.append(
            {
                "accountIndex": index,
                "mint": encode_address(token.mint),
                "owner": encode_address(token.owner),
                "programId": str(account.owner),
                "uiTokenAmount": ui_amount(token.amount, mint[1]),
            }
        )
    return tuple(rows)


def _inner(inner: Any) -> dict[str, Any]:
    instruction = inner.instruction()
    return {
        "programIdIndex": instruction.program_id_index,
        "accounts": list(bytes(instruction.accounts)),
        "data": based58.b58encode(bytes(instruction.data)).decode(),
        "stackHeight": inner.stack_height(),
    }


def in_base64(raw: bytes) -> str:
    return b64encode(raw).decode()
