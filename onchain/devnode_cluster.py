"""The dev node's methods about the cluster: slots, blocks, time, health; and those of our own.

In:   a `Machine`, parameters of JSON-RPC.
Out:  what a validator's RPC would answer. `hyperAdvance` lets slots and time pass at once,
      `hyperSetAccount` puts an account: no cluster knows these two, and no product code calls them.
Not covered: stake, votes, leaders, inflation, blocks in full.
"""

from __future__ import annotations

from typing import Final

from coordinator.limits import DEVNODE_WARP_SLOTS_MAX
from onchain.address import encode_address
from onchain.devnode_accounts import check_slot, with_context
from onchain.devnode_params import (
    BLOCK_NOT_AVAILABLE,
    Params,
    RpcError,
    address,
    from_base64,
    integer,
    invalid,
)
from onchain.machine import SLOT_MS, Machine

#: Slots of an epoch, as on mainnet.
SLOTS_PER_EPOCH: Final = 432_000
VERSION: Final = "2.2.0"
_PRIORITIZED_MAX: Final = 128
_WARP_MS_MAX: Final = DEVNODE_WARP_SLOTS_MAX * SLOT_MS
_ACCOUNT_LAMPORTS_MAX: Final = 2**53


def get_slot(machine: Machine, params: Params) -> object:
    config = params.config(0)
    check_slot(machine, config)
    return machine.slot_at(config.commitment)


def get_block_height(machine: Machine, params: Params) -> object:
    config = params.config(0)
    check_slot(machine, config)
    return machine.height_at(config.commitment)


def get_block_time(machine: Machine, params: Params) -> object:
    slot = params.integer(0)
    if slot > machine.slot:
        msg = f"Block not available for slot {slot}"
        raise RpcError(BLOCK_NOT_AVAILABLE, msg)
    return machine.time_of(slot)


def get_latest_blockhash(machine: Machine, params: Params) -> object:
    config = params.config(0)
    blockhash, height = machine.latest_blockhash(config.commitment)
    value = {"blockhash": encode_address(blockhash), "lastValidBlockHeight": height}
    return with_context(machine, config, value)


def is_blockhash_valid(machine: Machine, params: Params) -> object:
    valid = machine.is_blockhash_valid(params.address(0))
    return with_context(machine, params.config(1), valid)


def get_epoch_info(machine: Machine, params: Params) -> object:
    config = params.config(0)
    check_slot(machine, config)
    slot = machine.slot_at(config.commitment)
    return {
        "absoluteSlot": slot,
        "blockHeight": machine.height_at(config.commitment),
        "epoch": slot // SLOTS_PER_EPOCH,
        "slotIndex": slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": len(machine.landed),
    }


def get_epoch_schedule(_machine: Machine, _params: Params) -> object:
    return {
        "slotsPerEpoch": SLOTS_PER_EPOCH,
        "leaderScheduleSlotOffset": SLOTS_PER_EPOCH,
        "warmup": False,
        "firstNormalEpoch": 0,
        "firstNormalSlot": 0,
    }


def get_priority_fees(machine: Machine, params: Params) -> object:
    for each in params.texts(0, _PRIORITIZED_MAX) if params[0] is not None else ():
        address(each)
    return [{"slot": machine.slot, "prioritizationFee": 0}]


def advance(machine: Machine, params: Params) -> object:
    """`[{"slots": n, "ms": n, "blocks": n}]`: all may be left out; answers the new slot."""
    how = params[0] if isinstance(params[0], dict) else {}
    slots = integer(how.get("slots", 1))
    ms = integer(how["ms"]) if "ms" in how else None
    blocks = integer(how["blocks"]) if "blocks" in how else None
    if slots > DEVNODE_WARP_SLOTS_MAX or (ms or 0) > _WARP_MS_MAX or (blocks or 0) > slots:
        msg = f"at most {DEVNODE_WARP_SLOTS_MAX} slots, and no more blocks than slots"
        raise invalid(msg)
    machine.advance(slots, ms=ms, blocks=blocks)
    return machine.slot


def set_account(machine: Machine, params: Params) -> object:
    """`[address, {"lamports", "data" (base64), "owner", "executable"}]`; answers true."""
    found = params[1]
    if not isinstance(found, dict):
        raise invalid("an account is expected")
    owner, data, lamports = found.get("owner"), found.get("data"), integer(found.get("lamports"))
    if not isinstance(data, str) or lamports > _ACCOUNT_LAMPORTS_MAX:
        raise invalid("data in base64, and at most 2^53 lamports")
    executable = found.get("executable") is True
    if executable:
        raise invalid("programs are loaded from a file, when the node starts")
    machine.set_account(params.address(0), lamports, from_base64(data), address(owner))
    return True


METHODS: Final = {
    "getBlockHeight": get_block_height,
    "getBlockTime": get_block_time,
    "getClusterNodes": lambda _machine, _params: [],
    "getEpochInfo": get_epoch_info,
    "getEpochSchedule": get_epoch_schedule,
    "getFirstAvailableBlock": lambda _machine, _params: 0,
    "getGenesisHash": lambda machine, _params: encode_address(machine.genesis),
    "getHealth": lambda _machine, _params: "ok",
    "getIdentity": lambda machine, _params: {"identity": encode_address(machine.genesis)},
    "getLatestBlockhash": get_latest_blockhash,
    "getRecentPrioritizationFees": get_priority_fees,
    "getSlot": get_slot,
    "getTransactionCount": lambda machine, _params: len(machine.landed),
    "getVersion": lambda _machine, _params: {"solana-core": VERSION, "feature-set": 0},
    "hyperAdvance": advance,
    "hyperSetAccount": set_account,
    "isBlockhashValid": is_blockhash_valid,
    "minimumLedgerSlot": lambda _machine, _params: 0,
}
