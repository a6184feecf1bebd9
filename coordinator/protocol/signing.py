"""Ed25519: key pairs, key files, signatures, Solana's off-chain envelope. The one importer of nacl.

Covered:
  - forged, malleable (S + L) and small-order signatures, and signatures of a wrong length;
  - public keys that are no points, or not of full order (`check_point`, at every registration);
  - key files that others may read, links in their place, halves that do not belong together.
Not covered: secrets in this process's memory and swap (Python cannot wipe them).
Not here: transactions of hardware wallets (`memo.py`).
Rules:
  1. Signature bytes never name anything: a library's upgrade may accept a second one for a text.
  2. What our keys sign starts with 0xff or is a sign-in text: neither parses as a transaction.
Source: "Taming the many EdDSAs" (its 12 vectors are a test), Solana's key file; the envelope:
solana-sdk `offchain-message`, docs.anza.xyz/proposals/off-chain-message-signing, and @solana/kit's
offchain-messages for version 1.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Final, NoReturn

import based58
import nacl.bindings
import nacl.exceptions
import nacl.signing

from coordinator.limits import KIB
from coordinator.protocol.base64url import decode_base64url
from coordinator.protocol.errors import Refusal
from onchain.address import encode_address

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
#: 64 numbers of at most three digits, commas and blanks; more is no key file.
_KEY_FILE_BYTES_MAX: Final = 1 * KIB
#: Base58 of 64 bytes: at least one character a byte (zeros), at most 88.
_BASE58_SIGNATURE: Final = re.compile(r"[1-9A-HJ-NP-Za-km-z]{64,88}\Z")
_BASE64_SIGNATURE: Final = re.compile(r"[A-Za-z0-9+/_-]{86}==\Z")
_ENVELOPE: Final = b"\xffsolana offchain"
#: Application domain of an envelope that names none: what wallets write.
_NO_APPLICATION: Final = bytes(32)
#: Longest texts of format 1: a packet less the header in the short envelope, a packet in the whole.
_SHORT_TEXT_BYTES_MAX: Final = 1212
_WHOLE_TEXT_BYTES_MAX: Final = 1232
_ENVELOPE_TEXT_BYTES_MAX: Final = 2**16 - 1


class KeyFileError(Exception):
    """This file cannot serve as a key."""


class KeyFileExposed(KeyFileError):
    """Others may read this key file: `chmod 600` it, and replace the key if it was ever shared."""


class KeyFileMalformed(KeyFileError):
    """A key file is a JSON list of 64 numbers from 0 to 255."""


class KeyFileMismatch(KeyFileError):
    """The two halves of this key file do not belong together."""


class Keypair:
    """A signing key. Its text form shows the address only, and it cannot be pickled."""

    __slots__ = ("_key", "address")

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == KEY_BYTES
        self._key = nacl.signing.SigningKey(seed)
        #: The public key, 32 bytes.
        self.address = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of a message; equal messages have equal signatures."""
        return self._key.sign(message).signature

    def __repr__(self) -> str:
        return f"Keypair({encode_address(self.address)})"

    def __reduce__(self) -> NoReturn:
        msg = "a key pair is never pickled"
        raise TypeError(msg)


def generate() -> Keypair:
    """A fresh key pair from the system's randomness."""
    return Keypair(os.urandom(KEY_BYTES))


def from_seed(seed: bytes) -> Keypair:
    """The key pair of a 32-byte seed."""
    return Keypair(seed)


def save_keypair(path: Path, keypair: Keypair) -> None:
    """Write a Solana key file (a JSON list: seed, then public key) that only its owner may read.

    Raises:
        FileExistsError: something is there already; a key is never overwritten.
        OSError: it could not be written whole, and nothing is left of it.
    """
    numbers = list(bytes(keypair._key) + keypair.address)  # noqa: SLF001 (the one writer of seeds)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        try:
            file.write(json.dumps(numbers, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # On a full disk half a key would stand in the way of a whole one.
            path.unlink(missing_ok=True)
            raise


def load_keypair(path: Path) -> Keypair:
    """Read a Solana key file.

    Raises:
        OSError: there is no such file, it is a symbolic link, or it may not be read.
        KeyFileExposed: group or world may read, write or run it.
        KeyFileMalformed: not a list of 64 bytes.
        KeyFileMismatch: its public half is not the seed's.
    """
    # Mode and content come from one open file: a swap in between would be seen by neither check.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileMalformed(path, KeyFileMalformed.__doc__)
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyFileExposed(path, KeyFileExposed.__doc__)
        raw = _numbers_of(file.read(_KEY_FILE_BYTES_MAX + 1))
    if raw is None:
        raise KeyFileMalformed(path, KeyFileMalformed.__doc__)
    keypair = Keypair(raw[:KEY_BYTES])
    if keypair.address != raw[KEY_BYTES:]:
        raise KeyFileMismatch(path, KeyFileMismatch.__doc__)
    return keypair


def _numbers_of(document: bytes) -> bytes | None:
    """The 64 bytes of a key file, or nothing. No error text here may quote the document."""
    if len(document) > _KEY_FILE_BYTES_MAX:
        return None
    try:
        numbers = json.loads(document)
    except (ValueError, RecursionError):
        return None
    if not isinstance(numbers, list) or len(numbers) != 2 * KEY_BYTES:
        return None
    if any(type(number) is not int or not 0 <= number <= 255 for number in numbers):
        return None
    return bytes(numbers)


def verify(address: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Raises:
        Refusal: `bad_signature`, whatever is wrong with it.
    """
    if len(address) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        raise Refusal("bad_signature")
    try:
        nacl.signing.VerifyKey(address).verify(message, signature)
    except nacl.exceptions.BadSignatureError as error:
        raise Refusal("bad_signature") from error


def check_point(address: bytes) -> None:
    """Check that a public key is a point of full order, in its one encoding.

    Raises:
        Refusal: `weak_key`.
    """
    if len(address) != KEY_BYTES or not nacl.bindings.crypto_core_ed25519_is_valid_point(address):
        raise Refusal("weak_key")


def decode_signature(text: str) -> bytes:
    """The 64 bytes of a wallet's signature, as base58, base64 or base64url: wallets differ.

    An unpadded base64url text can look like base58 (two in a million do); base58 is then meant.

    Raises:
        Refusal: `bad_signature` for anything else.
    """
    if _BASE58_SIGNATURE.match(text):
        raw = bytes(based58.b58decode(text.encode()))
        if len(raw) == SIGNATURE_BYTES:
            return raw
    unpadded = text
    if _BASE64_SIGNATURE.match(text):
        unpadded = text.removesuffix("==")
    try:
        return decode_base64url(unpadded.replace("+", "-").replace("/", "_"), size=SIGNATURE_BYTES)
    except ValueError as error:
        raise Refusal("bad_signature", "a signature has 64 bytes, as base58 or base64") from error


def encode_signature(signature: bytes) -> str:
    """Base58 text of a signature, as Solana writes it."""
    assert len(signature) == SIGNATURE_BYTES
    return bytes(based58.b58encode(signature)).decode()


def wrap_offchain(text: bytes) -> bytes:
    """The short off-chain envelope (version 0) of a text: what Solana's command line signs."""
    assert len(text) <= _ENVELOPE_TEXT_BYTES_MAX
    text_format = _format_of(text, _SHORT_TEXT_BYTES_MAX)
    return _ENVELOPE + bytes((0, text_format)) + len(text).to_bytes(2, "little") + text


def offchain_envelopes(text: bytes, signer: bytes) -> tuple[bytes, ...]:
    """Every off-chain envelope of a text that one wallet may have signed.

    Returns:
        The short envelope of version 0; the whole one, which names an application (none) and the
        signer (Ledgers sign that); version 1, which has neither application nor format.
    """
    assert len(signer) == KEY_BYTES
    text_format = _format_of(text, _WHOLE_TEXT_BYTES_MAX)
    head = _NO_APPLICATION + bytes((text_format, 1)) + signer + len(text).to_bytes(2, "little")
    return (
        wrap_offchain(text),
        _ENVELOPE + b"\x00" + head + text,
        _ENVELOPE + b"\x01\x01" + signer + text,
    )


def _format_of(text: bytes, short_max: int) -> int:
    """0: printable ASCII; 1: UTF-8; 2: UTF-8 too long for a hardware wallet."""
    if len(text) > short_max:
        return 2
    return 0 if all(0x20 <= byte <= 0x7E for byte in text) else 1
