"""The dev node's methods about what landed: one transaction in full, and lists by address.

In:   a `Machine`, parameters of JSON-RPC.
Out:  what a validator's RPC would answer, in its shapes.
Not covered: blocks; memos in lists; instructions in `jsonParsed` are told by program, accounts and
data only, as a validator tells those of programs that it does not know.
"""

from __future__ import annotations

from typing import Final

import based58
from solders.message import MessageV0, VersionedMessage
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from onchain.address import encode_address
from onchain.devnode_accounts import finalized
from onchain.devnode_params import VERSION_NOT_SUPPORTED, Params, RpcError, invalid
from onchain.devnode_transactions import outcome_document
from onchain.machine import Machine
from onchain.machine_values import Landed, in_base64, parse_transaction
from onchain.simulated import status_of

_LISTED_MAX: Final = 1_000


def get_signatures_for_address(machine: Machine, params: Params) -> object:
    address, config = params.address(0), params.config(1)
    limit = config.more.get("limit")
    limit = _LISTED_MAX if limit is None else limit
    if type(limit) is not int or not 1 <= limit <= _LISTED_MAX:
        raise invalid("a limit is 1 to 1000")
    before, until = config.more.get("before"), config.more.get("until")
    found: list[dict[str, object]] = []
    begun = before is None
    for landed in reversed(machine.landed.values()):
        text = str(Signature.from_bytes(landed.signature))
        if text == until or len(found) == limit:
            break
        sure = status_of(machine, landed).commitment.covers(config.commitment)
        if begun and sure and address in landed.addresses:
            found.append(_listed(machine, landed, text))
        begun = begun or text == before
    return found


def _listed(machine: Machine, landed: Landed, text: str) -> dict[str, object]:
    return {
        "signature": text,
        "slot": landed.slot,
        "err": landed.outcome.error,
        "memo": None,
        "blockTime": landed.unix_s,
        "confirmationStatus": status_of(machine, landed).commitment.value,
    }


def get_transaction(machine: Machine, params: Params) -> object:
    config = params.config(1) if not isinstance(params[1], str) else finalized()
    landed = machine.landed.get(params.signature(0))
    if landed is None or not status_of(machine, landed).commitment.covers(config.commitment):
        return None
    transaction = parse_transaction(landed.raw)
    is_new = isinstance(transaction.message, MessageV0)
    if is_new and config.more.get("maxSupportedTransactionVersion") != 0:
        text = "Transaction version (0) is not supported by the requesting client."
        raise RpcError(VERSION_NOT_SUPPORTED, text)
    encoding = params[1] if isinstance(params[1], str) else config.encoding
    return {
        "slot": landed.slot,
        "blockTime": landed.unix_s,
        "version": 0 if is_new else "legacy",
        "transaction": _transaction_document(landed, transaction, encoding),
        "meta": _meta(landed, transaction),
    }


def _transaction_document(
    landed: Landed, transaction: VersionedTransaction, encoding: str | None
) -> object:
    if encoding == "base64":
        return [in_base64(landed.raw), "base64"]
    if encoding == "base58":
        return [based58.b58encode(landed.raw).decode(), "base58"]
    if encoding not in {None, "json", "jsonParsed"}:
        raise invalid("encodings of a transaction are json, jsonParsed, base64 and base58")
    return {
        "signatures": [*map(str, transaction.signatures)],
        "message": _message_document(landed, transaction, is_parsed=encoding == "jsonParsed"),
    }


def _message_document(
    landed: Landed, transaction: VersionedTransaction, *, is_parsed: bool
) -> dict[str, object]:
    message = transaction.message
    document: dict[str, object] = {"recentBlockhash": str(message.recent_blockhash)}
    document |= _told_in_full(landed, message) if is_parsed else _told_by_index(message)
    if isinstance(message, MessageV0):
        document["addressTableLookups"] = [
            {
                "accountKey": str(each.account_key),
                "writableIndexes": [*bytes(each.writable_indexes)],
                "readonlyIndexes": [*bytes(each.readonly_indexes)],
            }
            for each in message.address_table_lookups
        ]
    return document


def _told_by_index(message: VersionedMessage) -> dict[str, object]:
    header = message.header
    return {
        "accountKeys": [*map(str, message.account_keys)],
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "instructions": [
            {
                "programIdIndex": each.program_id_index,
                "accounts": [*bytes(each.accounts)],
                "data": based58.b58encode(bytes(each.data)).decode(),
                "stackHeight": None,
            }
            for each in message.instructions
        ],
    }


def _told_in_full(landed: Landed, message: VersionedMessage) -> dict[str, object]:
    keys = [*map(encode_address, landed.addresses)]
    own, writable = len(message.account_keys), _loaded_writable(message)
    return {
        "accountKeys": [
            {
                "pubkey": key,
                "signer": index < message.header.num_required_signatures,
                "writable": _is_writable(message, index) or own <= index < own + writable,
                "source": "transaction" if index < own else "lookupTable",
            }
            for index, key in enumerate(keys)
        ],
        "instructions": [
            {
                "programId": keys[each.program_id_index],
                "accounts": [keys[index] for index in bytes(each.accounts)],
                "data": based58.b58encode(bytes(each.data)).decode(),
                "stackHeight": None,
            }
            for each in message.instructions
        ],
    }


def _is_writable(message: VersionedMessage, index: int) -> bool:
    """Whether the message's own address of this index may be written."""
    header, own = message.header, len(message.account_keys)
    if index < header.num_required_signatures:
        return index < header.num_required_signatures - header.num_readonly_signed_accounts
    return index < own - header.num_readonly_unsigned_accounts


def _loaded_writable(message: VersionedMessage) -> int:
    """How many addresses of lookup tables may be written; they come before the others."""
    if not isinstance(message, MessageV0):
        return 0
    return sum(len(bytes(each.writable_indexes)) for each in message.address_table_lookups)


def _meta(landed: Landed, transaction: VersionedTransaction) -> dict[str, object]:
    message, error = transaction.message, landed.outcome.error
    loaded = [*map(encode_address, landed.addresses[len(message.account_keys) :])]
    writable = _loaded_writable(message)
    return {
        **outcome_document(landed.outcome),
        "err": error,
        "status": {"Ok": None} if error is None else {"Err": error},
        "fee": landed.fee,
        "preBalances": [*landed.lamports_before],
        "postBalances": [*landed.lamports_after],
        "preTokenBalances": [*landed.tokens_before],
        "postTokenBalances": [*landed.tokens_after],
        "innerInstructions": [*landed.outcome.inner],
        "logMessages": [*landed.outcome.logs],
        "rewards": [],
        "loadedAddresses": {"writable": loaded[:writable], "readonly": loaded[writable:]},
        "computeUnitsConsumed": landed.outcome.units,
    }


METHODS: Final = {
    "getSignaturesForAddress": get_signatures_for_address,
    "getTransaction": get_transaction,
}
