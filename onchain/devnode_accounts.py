"""The dev node's methods about accounts and tokens.

In:   a `Machine`, parameters of JSON-RPC.
Out:  what a validator's RPC would answer, in its shapes.
Not covered: `base64+zstd`; `jsonParsed` of anything but token accounts (they come as base64, as the
interface allows).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import based58
from solders.account import Account as VmAccount

from onchain.address import encode_address
from onchain.chain import ACCOUNTS_PER_CALL_MAX, BytesAre, Commitment, Filter, SizeIs
from onchain.devnode_params import (
    SLOT_NOT_REACHED,
    Config,
    Params,
    RpcError,
    address as address_of,
    filters,
    invalid,
)
from onchain.machine import Machine
from onchain.machine_values import TOKEN_PROGRAMS, in_base64, token_of, ui_amount
from onchain.simulated import passes

_BASE58_BYTES_MAX: Final = 128
_MINT_BYTES: Final = 82
_SUPPLY: Final = slice(36, 44)
_DECIMALS: Final = 44
#: Offsets of mint and owner in a token account.
_MINT_AT: Final = 0
_OWNER_AT: Final = 32


def check_slot(machine: Machine, config: Config) -> None:
    """Refuse to answer for a slot that has not come yet."""
    slot = machine.slot_at(config.commitment)
    if slot < config.slot_min:
        text = "Minimum context slot has not been reached"
        raise RpcError(SLOT_NOT_REACHED, text, {"contextSlot": slot})


def with_context(machine: Machine, config: Config, value: object) -> dict[str, object]:
    check_slot(machine, config)
    slot = machine.slot_at(config.commitment)
    return {"context": {"slot": slot, "apiVersion": "2.2.0"}, "value": value}


def account_document(
    machine: Machine, address: bytes, account: VmAccount | None, config: Config
) -> dict[str, object] | None:
    """An account as JSON-RPC tells it."""
    if account is None:
        return None
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "executable": account.executable,
        "rentEpoch": account.rent_epoch,
        "space": len(account.data),
        "data": _data(machine, address, account, config),
    }


def _data(machine: Machine, address: bytes, account: VmAccount, config: Config) -> object:
    if config.encoding == "jsonParsed" and (parsed := _parsed(machine, address, account)):
        return parsed
    data = bytes(account.data)
    if config.part is not None:
        offset, length = config.part
        data = data[offset : offset + length]
    if config.encoding in {"base64", "jsonParsed"}:
        return [in_base64(data), "base64"]
    if config.encoding not in {None, "base58"}:
        raise invalid("encodings of an account are base58, base64 and jsonParsed")
    if len(data) > _BASE58_BYTES_MAX:
        raise invalid("Encoded binary (base 58) data should be less than 128 bytes")
    return [based58.b58encode(data).decode(), "base58"]


def _parsed(machine: Machine, address: bytes, account: VmAccount) -> dict[str, object] | None:
    token = token_of(account)
    mint = machine.mint_of(address)
    if token is None or mint is None:
        return None
    data = bytes(account.data)
    info = {
        "mint": encode_address(token.mint),
        "owner": encode_address(token.owner),
        "tokenAmount": ui_amount(token.amount, mint[1]),
        "state": {1: "initialized", 2: "frozen"}.get(data[108], "uninitialized"),
        "isNative": data[109:113] == b"\x01\x00\x00\x00",
    }
    parsed = {"type": "account", "info": info}
    return {"program": "spl-token", "space": len(data), "parsed": parsed}


def get_account_info(machine: Machine, params: Params) -> object:
    address, config = params.address(0), params.config(1)
    account = machine.account(address, config.commitment)
    return with_context(machine, config, account_document(machine, address, account, config))


def get_multiple_accounts(machine: Machine, params: Params) -> object:
    addresses = [*map(address_of, params.texts(0, ACCOUNTS_PER_CALL_MAX))]
    config = params.config(1)
    found = [
        account_document(machine, each, machine.account(each, config.commitment), config)
        for each in addresses
    ]
    return with_context(machine, config, found)


def get_balance(machine: Machine, params: Params) -> object:
    config = params.config(1)
    account = machine.account(params.address(0), config.commitment)
    return with_context(machine, config, 0 if account is None else account.lamports)


def get_program_accounts(machine: Machine, params: Params) -> object:
    program, config = params.address(0), params.config(1)
    found = keyed_accounts(machine, program, filters(config.more.get("filters")), config)
    if config.more.get("withContext") is True:
        return with_context(machine, config, found)
    check_slot(machine, config)
    return found


def keyed_accounts(
    machine: Machine, program: bytes, wanted: Sequence[Filter], config: Config
) -> list[dict[str, object]]:
    """All accounts of a program that pass the filters, by address."""
    return [
        {
            "pubkey": encode_address(address),
            "account": account_document(machine, address, account, config),
        }
        for address in sorted(machine.known)
        if (account := machine.account(address, config.commitment)) is not None
        and bytes(account.owner) == program
        and passes(bytes(account.data), wanted)
    ]


def get_token_account_balance(machine: Machine, params: Params) -> object:
    address, config = params.address(0), params.config(1)
    account = machine.account(address, config.commitment)
    token, mint = token_of(account), machine.mint_of(address)
    if account is None:
        raise RpcError(-32602, "Invalid param: could not find account")
    if token is None or mint is None:
        raise RpcError(-32602, "Invalid param: not a Token account")
    return with_context(machine, config, ui_amount(token.amount, mint[1]))


def get_token_supply(machine: Machine, params: Params) -> object:
    config = params.config(1)
    mint = machine.account(params.address(0), config.commitment)
    if mint is None or bytes(mint.owner) not in TOKEN_PROGRAMS or len(mint.data) < _MINT_BYTES:
        raise RpcError(-32602, "Invalid param: not a Token mint")
    supply = int.from_bytes(mint.data[_SUPPLY], "little")
    return with_context(machine, config, ui_amount(supply, mint.data[_DECIMALS]))


def get_token_accounts_by_owner(machine: Machine, params: Params) -> object:
    owner, which, config = params.address(0), params[1], params.config(2)
    wanted: list[Filter] = [BytesAre(_OWNER_AT, owner)]
    programs = sorted(TOKEN_PROGRAMS)
    if isinstance(which, dict) and "mint" in which:
        wanted.append(BytesAre(_MINT_AT, address_of(which["mint"])))
    elif isinstance(which, dict) and "programId" in which:
        programs = [address_of(which["programId"])]
    else:
        raise invalid("mint or programId is expected")
    found = [row for each in programs for row in _tokens(machine, each, wanted, config)]
    return with_context(machine, config, found)


def _tokens(
    machine: Machine, program: bytes, wanted: list[Filter], config: Config
) -> list[dict[str, Any]]:
    return keyed_accounts(machine, program, [SizeIs(165), *wanted], config)


def get_rent_minimum(machine: Machine, params: Params) -> object:
    size = params.integer(0)
    if size > 10 * 1024 * 1024:
        raise invalid("an account holds 10 MiB at most")
    return machine.rent_minimum(size)


def finalized() -> Config:
    """The options of a call that gives none."""
    return Config(Commitment.FINALIZED, None, 0, None, {})


METHODS: Final = {
    "getAccountInfo": get_account_info,
    "getBalance": get_balance,
    "getMinimumBalanceForRentExemption": get_rent_minimum,
    "getMultipleAccounts": get_multiple_accounts,
    "getProgramAccounts": get_program_accounts,
    "getTokenAccountBalance": get_token_account_balance,
    "getTokenAccountsByOwner": get_token_accounts_by_owner,
    "getTokenSupply": get_token_supply,
}
