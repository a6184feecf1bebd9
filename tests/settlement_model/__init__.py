"""The settlement program in plain Python: the oracle of its tests, from docs/program.md alone.

`Model.apply(call)` answers `Applied` with the events or `Refused` with the error's name, and
changes all or nothing. `World.bytes_of(address)` is what the chain must hold after it.
Not modelled: lamports (that a payer can afford a record), compute units, writable flags, and what
the token program refuses for reasons of its own, but for too little money, a wrong owner, a wrong
mint and a wrong state (all of them `TOKEN_REFUSES`).
"""

from __future__ import annotations

from tests.settlement_model.calls import Before, Call, Meta, call
from tests.settlement_model.model import Applied, Model, Refused
from tests.settlement_model.world import TOKEN_REFUSES, Account, World

__all__ = [
    "TOKEN_REFUSES",
    "Account",
    "Applied",
    "Before",
    "Call",
    "Meta",
    "Model",
    "Refused",
    "World",
    "call",
]
