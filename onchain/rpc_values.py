"""Answers of JSON-RPC, read with distrust: what is not of the promised shape is `ChainLied`.

In:   the `result` of an answer, as `json` gives it.
Out:  the values of `chain`.
Not covered: whether what a node says is true; `solana_chain` compares slots, genesis and nodes.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, Final

from onchain.address import decode_address
from onchain.chain import (
    Account,
    Accounts,
    Commitment,
    LatestBlockhash,
    ProgramAccounts,
    SignatureStatus,
    Simulation,
    Statuses,
    TokenBalance,
)
from onchain.chain_errors import ChainLied, parse_fault
from onchain.errors import BadAddress

_U64_MAX: Final = 2**64 - 1


def broken(what: str) -> ChainLied:
    return ChainLied(f"the node told {what} that is none")


def integer(value: Any, what: str) -> int:
    """A u64."""
    if type(value) is not int or not 0 <= value <= _U64_MAX:
        raise broken(what)
    return value


def field(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise broken(key)
    return value[key]


def rows(value: Any, what: str, count: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise broken(what)
    return value


def address(value: Any) -> bytes:
    try:
        return decode_address(value)
    except (BadAddress, TypeError) as error:
        raise broken("an address") from error


def context(value: Any) -> tuple[int, Any]:
    """Slot and value of an answer with a context."""
    return integer(field(field(value, "context"), "slot"), "a slot"), field(value, "value")


def account(key: bytes, value: Any) -> Account:
    data = field(value, "data")
    if not isinstance(data, list) or len(data) != 2 or data[1] != "base64":
        raise broken("an account's data")
    try:
        raw = b64decode(data[0], validate=True)
    except (ValueError, TypeError) as error:
        raise broken("an account's data") from error
    return Account(
        address=key,
        lamports=integer(field(value, "lamports"), "lamports"),
        owner=address(field(value, "owner")),
        data=raw,
        executable=field(value, "executable") is True,
    )


def accounts(addresses: Sequence[bytes], value: Any) -> Accounts:
    slot, found = context(value)
    pairs = zip(addresses, rows(found, "accounts", len(addresses)), strict=True)
    return Accounts(
        slot, tuple(None if each is None else account(key, each) for key, each in pairs)
    )


def program_accounts(value: Any) -> ProgramAccounts:
    slot, found = context(value)
    values = [
        account(address(field(each, "pubkey")), field(each, "account"))
        for each in rows(found, "accounts")
    ]
    return ProgramAccounts(slot, tuple(sorted(values, key=lambda each: each.address)))


def latest_blockhash(value: Any) -> LatestBlockhash:
    slot, found = context(value)
    height = integer(field(found, "lastValidBlockHeight"), "a height")
    return LatestBlockhash(address(field(found, "blockhash")), height, slot)


def token_balance(value: Any) -> TokenBalance:
    slot, found = context(value)
    amount = field(found, "amount")
    if not isinstance(amount, str) or not (amount.isascii() and amount.isdigit()):
        raise broken("an amount")
    decimals = integer(field(found, "decimals"), "decimals")
    return TokenBalance(integer(int(amount[:24]), "an amount"), decimals, slot)


def logs(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def simulation(value: Any) -> Simulation:
    slot, found = context(value)
    told = logs(field(found, "logs"))
    return Simulation(
        units=integer(found.get("unitsConsumed") or 0, "units"),
        logs=told,
        fault=parse_fault(field(found, "err")),
        slot=slot,
    )


def statuses(count: int, value: Any) -> Statuses:
    slot, found = context(value)
    return Statuses(slot, tuple(map(_status, rows(found, "statuses", count))))


def _status(value: Any) -> SignatureStatus | None:
    if value is None:
        return None
    told = value.get("confirmationStatus") if isinstance(value, dict) else None
    if told not in {each.value for each in Commitment}:
        raise broken("a status")
    return SignatureStatus(
        slot=integer(field(value, "slot"), "a slot"),
        fault=parse_fault(field(value, "err")),
        commitment=Commitment(told),
    )


def fees(value: Any) -> tuple[int, ...]:
    found = rows(value, "fees")
    return tuple(integer(field(each, "prioritizationFee"), "a fee") for each in found)
