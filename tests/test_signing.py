from __future__ import annotations

import json
import os
import pickle
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from coordinator.protocol import signing
from coordinator.protocol.base64url import decode_base64url, encode_base64url
from coordinator.protocol.errors import Refusal

VECTORS = Path(__file__).parent / "vectors"
#: Order of the group that the base point generates.
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
KEYPAIR = signing.from_seed(bytes(range(32)))
OTHER = signing.from_seed(bytes(32))


def vectors(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())["cases"]
    return cases


def test_a_signature_is_accepted_from_its_own_key_only() -> None:
    signature = KEYPAIR.sign(b"text")

    signing.verify(KEYPAIR.address, b"text", signature)
    with pytest.raises(Refusal, match="bad_signature"):
        signing.verify(OTHER.address, b"text", signature)
    with pytest.raises(Refusal, match="bad_signature"):
        signing.verify(KEYPAIR.address, b"texT", signature)


@pytest.mark.parametrize("case", vectors("ed25519_speccheck.json"), ids=lambda case: case["about"])
def test_the_speccheck_vectors_are_answered_as_libsodium_answered(case: dict[str, Any]) -> None:
    address, message, signature = (
        bytes.fromhex(case[name]) for name in ("address", "message", "signature")
    )

    if case["is_accepted"]:
        signing.verify(address, message, signature)
    else:
        with pytest.raises(Refusal, match="bad_signature"):
            signing.verify(address, message, signature)


@pytest.mark.parametrize("index", range(12))
def test_no_odd_key_of_the_speccheck_vectors_may_register(index: int) -> None:
    # 6 and 7 are honest keys under a scalar that is too large.
    address = bytes.fromhex(vectors("ed25519_speccheck.json")[index]["address"])

    if index in {6, 7}:
        signing.check_point(address)
    else:
        with pytest.raises(Refusal, match="weak_key"):
            signing.check_point(address)


SMALL_ORDER = vectors("ed25519_small_order.json")


@pytest.mark.parametrize("case", SMALL_ORDER, ids=lambda case: case["about"])
def test_a_key_of_small_order_may_not_register_and_signs_nothing(case: dict[str, Any]) -> None:
    address = bytes.fromhex(case["address"])

    with pytest.raises(Refusal, match="weak_key"):
        signing.check_point(address)
    for other in SMALL_ORDER:
        forged = bytes.fromhex(other["address"]) + bytes(32)
        for message in (b"", b"a", b"text"):
            with pytest.raises(Refusal, match="bad_signature"):
                signing.verify(address, message, forged)


@pytest.mark.parametrize("address", [b"", bytes(31), bytes(33), b"\xff" * 32, bytes(32)])
def test_what_is_no_point_of_full_order_may_not_register(address: bytes) -> None:
    with pytest.raises(Refusal, match="weak_key"):
        signing.check_point(address)


def test_adding_the_group_order_to_a_signature_breaks_it() -> None:
    signature = KEYPAIR.sign(b"text")
    scalar = int.from_bytes(signature[32:], "little") + GROUP_ORDER

    with pytest.raises(Refusal, match="bad_signature"):
        signing.verify(KEYPAIR.address, b"text", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(Refusal, match="bad_signature"):
        signing.verify(KEYPAIR.address, b"text", (KEYPAIR.sign(b"text") * 2)[:size])


@given(st.integers(0, 511), st.binary(max_size=64))
def test_flipping_any_bit_of_a_signature_breaks_it(bit: int, message: bytes) -> None:
    signature = bytearray(KEYPAIR.sign(message))
    signature[bit // 8] ^= 1 << bit % 8

    with pytest.raises(Refusal, match="bad_signature"):
        signing.verify(KEYPAIR.address, message, bytes(signature))


@given(st.binary(min_size=64, max_size=64))
def test_a_signature_is_read_from_each_text_that_wallets_write(signature: bytes) -> None:
    assert signing.decode_signature(signing.encode_signature(signature)) == signature
    assert signing.decode_signature(b64encode(signature).decode()) == signature
    assert signing.decode_signature(urlsafe_b64encode(signature).decode()) == signature


def test_a_base64url_signature_is_read_without_padding() -> None:
    signature = KEYPAIR.sign(b"text")

    assert signing.decode_signature(encode_base64url(signature)) == signature


@pytest.mark.parametrize(
    "text",
    ["", "1", "0" * 88, "1" * 63, "z" * 88, "A" * 85, "A" * 85 + "B", "é" * 86, "=" * 88,
     encode_base64url(b"\xff" * 63), encode_base64url(b"\xff" * 65), "1" * 100_000],
)  # fmt: skip
def test_what_is_no_text_of_64_bytes_is_a_bad_signature(text: str) -> None:
    with pytest.raises(Refusal, match="bad_signature"):
        signing.decode_signature(text)


@given(st.binary(max_size=100))
def test_base64url_survives_the_round_trip(raw: bytes) -> None:
    assert decode_base64url(encode_base64url(raw)) == raw


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A A", "AA\n", "+A", "/A", "ÄA", "AAAAA"])
def test_a_second_base64url_text_of_the_same_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


def test_a_key_pair_shows_its_address_only_and_cannot_be_pickled() -> None:
    shown = f"{KEYPAIR!r} {KEYPAIR} {[KEYPAIR]}"

    assert bytes(range(32)).hex() not in shown
    assert "Keypair(" in shown
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(KEYPAIR)


def test_two_generated_key_pairs_differ() -> None:
    assert signing.generate().address != signing.generate().address


def test_a_key_file_is_solanas_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "id.json"

    signing.save_keypair(path, KEYPAIR)

    assert json.loads(path.read_text()) == [*range(32), *KEYPAIR.address]
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing.load_keypair(path).address == KEYPAIR.address
    with pytest.raises(FileExistsError):
        signing.save_keypair(path, OTHER)
    assert signing.load_keypair(path).address == KEYPAIR.address


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "id.json"
    signing.save_keypair(path, KEYPAIR)
    path.chmod(mode)

    with pytest.raises(signing.KeyFileExposed, match="chmod 600"):
        signing.load_keypair(path)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (json.dumps([*range(32), *OTHER.address]), signing.KeyFileMismatch),
        (json.dumps([0] * 64), signing.KeyFileMismatch),
        (json.dumps([0] * 63), signing.KeyFileMalformed),
        (json.dumps([0] * 63 + [256]), signing.KeyFileMalformed),
        (json.dumps([0] * 63 + [True]), signing.KeyFileMalformed),
        (json.dumps([0] * 63 + [1.0]), signing.KeyFileMalformed),
        (json.dumps({"seed": "secret"}), signing.KeyFileMalformed),
        ("[" * 900, signing.KeyFileMalformed),
        ("not json", signing.KeyFileMalformed),
        ("", signing.KeyFileMalformed),
        (" " * 100_000, signing.KeyFileMalformed),
    ],
)  # fmt: skip
def test_a_key_file_of_another_content_is_refused_without_showing_it(
    tmp_path: Path, document: str, error: type[signing.KeyFileError]
) -> None:
    path = tmp_path / "id.json"
    path.touch(0o600)
    path.write_text(document)

    with pytest.raises(error) as caught:
        signing.load_keypair(path)
    assert "secret" not in str(caught.value)


def test_a_link_in_place_of_a_key_file_is_refused(tmp_path: Path) -> None:
    signing.save_keypair(tmp_path / "id.json", KEYPAIR)
    (tmp_path / "link.json").symlink_to(tmp_path / "id.json")

    with pytest.raises(OSError, match="symbolic links"):
        signing.load_keypair(tmp_path / "link.json")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        (b"one line", b"\x00\x08\x00"),
        (b"two\nlines", b"\x01\x09\x00"),
        (b"a" * 1212, b"\x00\xbc\x04"),
        (b"a" * 1213, b"\x02\xbd\x04"),
    ],
)
def test_the_offchain_envelope_has_solanas_header(text: bytes, header: bytes) -> None:
    assert signing.wrap_offchain(text) == b"\xffsolana offchain\x00" + header + text


@pytest.mark.parametrize(
    ("text", "text_format"), [(b"one line", 0), (b"a" * 1232, 0), (b"two\nlines", 1)]
)
def test_the_whole_envelope_names_no_application_and_the_signer(
    text: bytes, text_format: int
) -> None:
    _short, whole, version_1 = signing.offchain_envelopes(text, KEYPAIR.address)

    head = bytes(33) + bytes([text_format, 1]) + KEYPAIR.address
    assert whole == b"\xffsolana offchain" + head + len(text).to_bytes(2, "little") + text
    assert version_1 == b"\xffsolana offchain\x01\x01" + KEYPAIR.address + text


def test_a_key_that_the_disk_does_not_take_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        signing.save_keypair(tmp_path / "key", signing.generate())
    monkeypatch.undo()
    signing.save_keypair(tmp_path / "key", signing.generate())

    assert signing.load_keypair(tmp_path / "key").address
