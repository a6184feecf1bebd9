"""The dev node's methods about transactions.

In:   a `Machine`, parameters of JSON-RPC.
Out:  what a validator's RPC would answer; a refused preflight is -32002 with the simulation.
Not covered: retrying (a transaction runs at once or never).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from solders.message import from_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from onchain.address import encode_address
from onchain.chain import SIGNATURES_PER_CALL_MAX, Commitment
from onchain.chain_errors import Fault, PacketTooLarge, parse_fault
from onchain.devnode_accounts import account_document, with_context
from onchain.devnode_params import (
    BAD_SIGNATURE,
    PREFLIGHT_FAILED,
    Config,
    Params,
    RpcError,
    address as address_of,
    invalid,
    packet,
    signature as signature_of,
)
from onchain.machine import Machine
from onchain.machine_values import Landed, NotRun, Outcome, fee_of, in_base64, parse_transaction
from onchain.simulated import STATUS_BLOCKS, status_of

_AIRDROP_LAMPORTS_MAX: Final = 2**53
#: What a validator says for the faults that people meet most.
_TEXTS: Final = {
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "InsufficientFundsForFee": "Insufficient funds for fee",
}


def send_transaction(machine: Machine, params: Params) -> object:
    config = params.config(1)
    raw = packet(params[0], config.encoding)
    transaction = _parsed(raw)
    if not all(transaction.verify_with_results()):
        raise RpcError(BAD_SIGNATURE, "Transaction signature verification failure")
    if config.more.get("skipPreflight") is not True:
        outcome = machine.simulate(raw, aged=True)
        if outcome.error is not None:
            raise _preflight_error(outcome)
    # Refused without preflight: a node passes it on, and nothing more is heard of it.
    with suppress(NotRun):
        machine.submit(raw)
    return str(transaction.signatures[0])


def _parsed(raw: bytes) -> VersionedTransaction:
    try:
        return parse_transaction(raw)
    except NotRun as error:
        raise invalid("invalid transaction: it failed to sanitize accounts offsets") from error


def _preflight_error(outcome: Outcome) -> RpcError:
    fault = parse_fault(outcome.error) or Fault("Unknown")
    text = f"Transaction simulation failed: {_sentence(fault)}"
    return RpcError(PREFLIGHT_FAILED, text, outcome_document(outcome))


def _sentence(fault: Fault) -> str:
    if fault.instruction is None:
        return _TEXTS.get(fault.name, fault.name)
    what = fault.detail if fault.custom is None else f"custom program error: {fault.custom:#x}"
    return f"Error processing Instruction {fault.instruction}: {what}"


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    returned = outcome.returned and {
        "programId": encode_address(outcome.returned[0]),
        "data": [in_base64(outcome.returned[1]), "base64"],
    }
    return {
        "err": outcome.error,
        "logs": [*outcome.logs],
        "accounts": None,
        "unitsConsumed": outcome.units,
        "returnData": returned,
        "innerInstructions": None,
    }


def simulate_transaction(machine: Machine, params: Params) -> object:
    config = params.config(1)
    raw = packet(params[0], config.encoding)
    signed = config.more.get("sigVerify") is True
    replaced = config.more.get("replaceRecentBlockhash") is True
    if signed and replaced:
        raise invalid("sigVerify may not be used with replaceRecentBlockhash")
    _parsed(raw)
    outcome = machine.simulate(raw, signed=signed, aged=not replaced)
    if outcome.error == "SignatureFailure":
        raise RpcError(BAD_SIGNATURE, "Transaction signature verification failure")
    document = outcome_document(outcome)
    if config.more.get("innerInstructions") is True:
        document["innerInstructions"] = [*outcome.inner]
    if replaced:
        blockhash, height = machine.latest_blockhash(config.commitment)
        document["replacementBlockhash"] = {
            "blockhash": encode_address(blockhash),
            "lastValidBlockHeight": height,
        }
    wanted = config.more.get("accounts")
    if isinstance(wanted, dict):
        document["accounts"] = _simulated_accounts(machine, outcome, wanted, config)
    return with_context(machine, config, document)


def _simulated_accounts(
    machine: Machine, outcome: Outcome, wanted: dict[str, Any], config: Config
) -> list[object]:
    addresses = Params([wanted.get("addresses")]).texts(0, 100)
    after = dict(outcome.accounts)
    in_base = Config(config.commitment, "base64", 0, None, {})
    return [
        account_document(machine, each, after.get(each), in_base)
        for each in map(address_of, addresses)
    ]


def request_airdrop(machine: Machine, params: Params) -> object:
    lamports = params.integer(1)
    if lamports > _AIRDROP_LAMPORTS_MAX:
        raise invalid("an airdrop of more than 2^53 lamports")
    try:
        landed = machine.airdrop(params.address(0), lamports)
    except NotRun as error:
        raise RpcError(-32603, f"Internal error: the faucet failed: {error}") from error
    return str(Signature.from_bytes(landed.signature))


def get_signature_statuses(machine: Machine, params: Params) -> object:
    signatures = [*map(signature_of, params.texts(0, SIGNATURES_PER_CALL_MAX))]
    everything = params.config(1).more.get("searchTransactionHistory") is True
    oldest = 0 if everything else machine.slot - STATUS_BLOCKS
    found = [machine.landed.get(each) for each in signatures]
    rows = [
        None if each is None or each.slot < oldest else _status(machine, each) for each in found
    ]
    return {"context": {"slot": machine.slot, "apiVersion": "2.2.0"}, "value": rows}


def _status(machine: Machine, landed: Landed) -> dict[str, object]:
    status = status_of(machine, landed)
    is_final = status.commitment is Commitment.FINALIZED
    error = landed.outcome.error
    return {
        "slot": landed.slot,
        "confirmations": None if is_final else machine.slot - landed.slot,
        "err": error,
        "status": {"Ok": None} if error is None else {"Err": error},
        "confirmationStatus": status.commitment.value,
    }


def get_fee_for_message(machine: Machine, params: Params) -> object:
    config = params.config(1)
    raw = packet(params[0], "base64")
    try:
        message = from_bytes_versioned(raw)
    except Exception as error:
        raise invalid("this is not a message") from error
    known = machine.is_blockhash_valid(bytes(message.recent_blockhash))
    empty = [Signature.default()] * message.header.num_required_signatures
    fee = fee_of(VersionedTransaction.populate(message, empty)) if known else None
    return with_context(machine, config, fee)


def too_large(error: PacketTooLarge) -> RpcError:
    return invalid(f"decoded transaction too large: {error.size} bytes (max: {error.size_max})")


METHODS: Final = {
    "getFeeForMessage": get_fee_for_message,
    "getSignatureStatuses": get_signature_statuses,
    "requestAirdrop": request_airdrop,
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
}
