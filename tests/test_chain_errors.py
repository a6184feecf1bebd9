"""Errors of the chain: what a node says becomes a name of ours, whatever it says."""

from __future__ import annotations

import pytest

from onchain.chain import Commitment
from onchain.chain_errors import Fault, PacketTooLarge, TransactionRefused, parse_fault


@pytest.mark.parametrize(
    ("said", "fault", "code"),
    [
        ("BlockhashNotFound", Fault("BlockhashNotFound"), "BlockhashNotFound"),
        (
            {"InstructionError": [1, {"Custom": 6001}]},
            Fault("InstructionError", 1, "Custom", 6001),
            "custom:6001",
        ),
        (
            {"InstructionError": [0, "InvalidAccountData"]},
            Fault("InstructionError", 0, "InvalidAccountData"),
            "InvalidAccountData",
        ),
        (
            {"InstructionError": [0, {"BorshIoError": "x"}]},
            Fault("InstructionError", 0, "BorshIoError"),
            "BorshIoError",
        ),
        (
            {"InsufficientFundsForRent": {"account_index": 1}},
            Fault("InsufficientFundsForRent"),
            "InsufficientFundsForRent",
        ),
        ({"InstructionError": "odd"}, Fault("InstructionError"), "InstructionError"),
        (17, Fault("17"), "17"),
        ({"a": 1, "b": 2}, Fault("{'a': 1, 'b': 2}"), "{'a': 1, 'b': 2}"),
    ],
)
def test_an_error_of_the_runtime_gets_one_name(said: object, fault: Fault, code: str) -> None:
    assert parse_fault(said) == fault
    assert fault.code == code


def test_no_error_is_no_fault() -> None:
    assert parse_fault(None) is None


def test_a_refusal_tells_its_code_and_where() -> None:
    error = TransactionRefused(Fault("InstructionError", 2, "Custom", 1), ("log",))

    assert (error.code, error.logs) == ("custom:1", ("log",))
    assert "instruction 2" in str(error)


def test_a_packet_that_is_too_large_tells_both_sizes() -> None:
    error = PacketTooLarge(1233, 1232)

    assert (error.size, error.size_max) == (1233, 1232)


def test_what_is_finalized_is_confirmed_and_processed_too() -> None:
    assert Commitment.FINALIZED.covers(Commitment.CONFIRMED)
    assert Commitment.CONFIRMED.covers(Commitment.CONFIRMED)
    assert not Commitment.PROCESSED.covers(Commitment.CONFIRMED)
