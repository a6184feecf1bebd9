"""The settlement program's interface: declared once, the same in C, IDLs and page."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from anchorpy import Idl, Program, Provider, Wallet
from anchorpy.program.common import translate_address
from solana.rpc.async_api import AsyncClient
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from onchain.program import DEVELOPMENT_ID
from onchain.program.generate import HERE, generated, main, stale
from onchain.program.idl import camel
from onchain.program.instructions import EVENTS, INSTRUCTIONS, PROPOSALS
from onchain.program.layout import ACCOUNTS, CLAIM_RECORD, LEDGER, STRUCTS, Layout, size_of
from onchain.program.refusals import CODES, REFUSALS
from tests.tree import read

PAGE = Path("docs/program.md")


def old_program() -> Program:
    idl = Idl.from_json((HERE / "hyper_settlement.json").read_text())
    provider = Provider(AsyncClient("http://127.0.0.1:1"), Wallet(Keypair()))
    return Program(idl, Pubkey.from_bytes(DEVELOPMENT_ID), provider)


@pytest.mark.parametrize("layout", [*ACCOUNTS, *STRUCTS.values()], ids=lambda each: each.name)
def test_fields_follow_each_other_and_numbers_are_aligned(layout: Layout) -> None:
    spans = [(at, at + size_of(field.type), field) for at, field in layout.offsets()]

    assert all(one[1] == two[0] for one, two in pairwise(spans))
    for start, _, field in spans:
        primitive = field.type.split("*")[0]
        assert start % {"u8": 1, "pubkey": 1, "hash": 1, "u32": 4}.get(primitive, 8) == 0, (
            field.name
        )


def test_accounts_have_the_sizes_that_rent_was_reckoned_with() -> None:
    assert [(a.name, a.size) for a in ACCOUNTS] == [
        ("Ledger", 1024),
        ("ClaimRecord", 32),
        ("DepositRecord", 112),
    ]


def test_discriminators_are_anchors() -> None:
    """`initialize` has the bytes that every Anchor program has for it."""
    by_name = {each.name: each.discriminator for each in INSTRUCTIONS}

    assert by_name["initialize"].hex() == "afaf6d1f0d989bed"
    assert LEDGER.discriminator == sha256(b"account:Ledger").digest()[:8]
    everything = [*by_name.values(), *(a.discriminator for a in ACCOUNTS)]
    assert len(set(everything)) == len(INSTRUCTIONS) + len(ACCOUNTS)


def test_errors_are_numbered_from_6000_without_a_gap() -> None:
    assert list(CODES.values()) == list(range(6000, 6000 + len(REFUSALS)))
    assert len(CODES) == len(REFUSALS)


def test_generated_files_say_what_is_declared() -> None:
    """If one does not: `python -m onchain.program.generate`."""
    assert stale() == []
    assert main(["--check"]) == 0
    assert {path.name for path in generated()} == {
        *("interface.h", "hyper_settlement.json", "hyper_settlement.idl.json"),
    }


def test_a_changed_file_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nonsense"]) == 2
    assert "usage" in capsys.readouterr().err


def test_anchorpy_encodes_every_instruction_as_declared() -> None:
    coder = old_program().coder.instruction
    values = {"u8": 1, "u32": 2, "u64": 3, "i64": 4, "pubkey": Pubkey.default()}
    limits = {f.name: 5 for _, f in STRUCTS["Limits"].offsets()}

    for each in INSTRUCTIONS:
        args = {
            field.name: values.get(field.type)
            or {"hash": [7] * 32, "proof": [[8] * 32], "Limits": limits}[field.type]
            for field in each.args
        }
        data = coder.encode(each.name, args)
        proof = sum(36 for field in each.args if field.type == "proof")
        size = sum(size_of(field.type) for field in each.args if field.type != "proof")
        assert data[:8] == each.discriminator
        assert len(data) == 8 + size + proof, each.name


def test_anchorpy_decodes_an_account_at_the_declared_offsets() -> None:
    raw = bytearray(LEDGER.size)
    raw[:8] = LEDGER.discriminator
    for number, (at, field) in enumerate(LEDGER.offsets()):
        if field.type == "u64":
            raw[at : at + 8] = number.to_bytes(8, "little")

    decoded = old_program().coder.accounts.decode(bytes(raw))

    for number, (_, field) in enumerate(LEDGER.offsets()):
        if field.type == "u64":
            assert getattr(decoded, field.name) == number
    assert translate_address(Pubkey.default()) == decoded.admin


def test_both_idls_have_the_same_names() -> None:
    old = json.loads((HERE / "hyper_settlement.json").read_text())
    new = json.loads((HERE / "hyper_settlement.idl.json").read_text())

    assert [camel(each["name"]) for each in new["instructions"]] == [
        each["name"] for each in old["instructions"]
    ]
    assert new["errors"] == old["errors"]
    assert {each["name"] for each in new["types"]} == {
        *(each.name for each in (*ACCOUNTS, *STRUCTS.values())),
        *(each.name for each in EVENTS),
    }


def test_the_page_names_every_instruction_error_event_and_kind() -> None:
    page = read(PAGE)
    told = page.split("## Instructions")[1].split("## Errors")[0]

    for each in INSTRUCTIONS:
        assert re.search(rf"^### .*\b{each.name}\b", told, re.MULTILINE), each.name
    rules = page.split("## What every instruction does first")[1].split("## Errors")[0]
    assert [r.name for r in REFUSALS if f"`{r.name}`" not in rules] == []
    assert [e.name for e in EVENTS if f"`{e.name}`" not in rules] == []
    assert [name for name, _ in PROPOSALS.values() if name not in rules] == []


def test_a_record_of_a_wallet_costs_the_rent_of_32_bytes() -> None:
    assert (128 + CLAIM_RECORD.size) * 6_960 == 1_113_600
