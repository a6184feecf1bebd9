"""A chain in process, kept in a folder: so that a demo's chain is still there tomorrow.

In:   a `Machine` and a folder.
Out:  one file, `chain.json`, replaced as a whole; a machine that goes on where that one was.
Rules:
  1. What was written before is complete until what is new is: a crash loses at most the newer.
  2. A file of another format, or a broken one, is refused by name and left alone.
Not covered: how accounts were before the last save at older commitments (all counts as old), and
native programs, which LiteSVM brings along.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from onchain.machine import Machine
from onchain.machine_values import Landed, Outcome, in_base64

FORMAT: Final = "hypernode chain 1"
FILE: Final = "chain.json"


class BadState(ValueError):
    """The folder holds no chain that this program can load."""


def save(machine: Machine, folder: Path) -> None:
    """Write the chain; it is on the disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    target, fresh = folder / FILE, folder / f"{FILE}.new"
    with fresh.open("w", encoding="ascii") as file:
        json.dump(_document(machine), file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(target)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(machine: Machine, folder: Path) -> bool:
    """Put a fresh machine where the saved one was; False where the folder holds none.

    Raises:
        BadState: the file is broken, or of another genesis.
    """
    try:
        text = (folder / FILE).read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            msg = f"{folder / FILE} is not of the format {FORMAT!r}"
            raise BadState(msg)
        if _raw(document["genesis"]) != machine.genesis:
            msg = f"{folder / FILE} is of another chain"
            raise BadState(msg)
        _restore(machine, document)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, BadState):
            raise
        msg = f"{folder / FILE} is broken"
        raise BadState(msg) from error
    return True


def _document(machine: Machine) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "genesis": in_base64(machine.genesis),
        "slot": machine.slot,
        "height": machine.height,
        "time_ms": machine.time_ms,
        "airdrops": machine.airdrops,
        "accounts": [
            [
                in_base64(address),
                account.lamports,
                in_base64(bytes(account.data)),
                in_base64(bytes(account.owner)),
                account.executable,
            ]
            for address in sorted(machine.known)
            if (account := machine.newest(address)) is not None
        ],
        "landed": [_landed_document(each) for each in machine.landed.values()],
    }


def _landed_document(landed: Landed) -> dict[str, Any]:
    outcome = landed.outcome
    return {
        "signature": in_base64(landed.signature),
        "slot": landed.slot,
        "unix_s": landed.unix_s,
        "raw": in_base64(landed.raw),
        "fee": landed.fee,
        "error": outcome.error,
        "logs": outcome.logs,
        "units": outcome.units,
        "returned": outcome.returned and [*map(in_base64, outcome.returned)],
        "inner": outcome.inner,
        "addresses": [*map(in_base64, landed.addresses)],
        "lamports": [landed.lamports_before, landed.lamports_after],
        "tokens": [landed.tokens_before, landed.tokens_after],
    }


def _restore(machine: Machine, document: dict[str, Any]) -> None:
    blocks = document["height"] - machine.height
    machine.advance(document["slot"] - machine.slot, ms=0, blocks=blocks)
    machine.advance(0, ms=document["time_ms"] - machine.time_ms)
    machine.airdrops = document["airdrops"]
    # A program is loaded when its account is put: what it needs must lie there before.
    for address, lamports, data, owner, executable in sorted(
        document["accounts"], key=lambda row: bool(row[4])
    ):
        machine.set_account(_raw(address), lamports, _raw(data), _raw(owner), executable=executable)
    machine.restore_landed(map(_landed, document["landed"]))


def _landed(document: dict[str, Any]) -> Landed:
    outcome = Outcome(
        error=document["error"],
        logs=tuple(document["logs"]),
        units=document["units"],
        inner=tuple(document["inner"]),
    )
    if document["returned"]:
        program, data = map(_raw, document["returned"])
        outcome = replace(outcome, returned=(program, data))
    before, after = document["lamports"]
    tokens_before, tokens_after = document["tokens"]
    return Landed(
        signature=_raw(document["signature"]),
        slot=document["slot"],
        unix_s=document["unix_s"],
        raw=_raw(document["raw"]),
        fee=document["fee"],
        outcome=outcome,
        addresses=tuple(map(_raw, document["addresses"])),
        lamports_before=tuple(before),
        lamports_after=tuple(after),
        tokens_before=tuple(tokens_before),
        tokens_after=tuple(tokens_after),
    )


def _raw(text: str) -> bytes:
    return b64decode(text, validate=True)
