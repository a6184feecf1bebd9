"""A certificate and its key: which pairs serve, and by which name the others are refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from coordinator.certificate import TlsError, load_pair
from coordinator.clock import SystemClock
from coordinator.limits import PEM_BYTES_MAX
from tests.authority import Authority, Files

DAY_S = 24 * 3600.0


def now_s() -> float:
    return SystemClock().wall_ms() / 1000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_good_pair_tells_its_names_and_its_end(authority: Authority) -> None:
    files = authority.issue("hyper.example", "*.hyper.example", "127.0.0.1", "::1", ends_days=30)

    pair = load_pair(*files, now_s())

    assert abs(pair.expires_at_s - now_s() - 30 * DAY_S) < 60
    assert set(pair.names) == {"hyper.example", "*.hyper.example", "127.0.0.1", "::1"}


def test_the_dates_are_judged_by_the_time_that_is_given(authority: Authority) -> None:
    files = authority.issue(begins_days=-1, ends_days=90)

    load_pair(*files, now_s() + 89 * DAY_S)
    with pytest.raises(TlsError) as late:
        load_pair(*files, now_s() + 91 * DAY_S)
    with pytest.raises(TlsError) as early:
        load_pair(*files, now_s() - 2 * DAY_S)

    assert late.value.code == "tls_certificate_expired"
    assert early.value.code == "tls_certificate_not_yet_valid"


def no_cert(files: Files) -> None:
    files.cert.unlink()


def no_key(files: Files) -> None:
    files.key.unlink()


def a_folder(files: Files) -> None:
    files.cert.unlink()
    files.cert.mkdir()


def not_pem(files: Files) -> None:
    files.cert.write_bytes(os.urandom(100))


def too_large(files: Files) -> None:
    files.cert.write_bytes(files.cert.read_bytes() + b"\n" * PEM_BYTES_MAX)


def broken_pem(files: Files) -> None:
    files.cert.write_bytes(files.cert.read_bytes().replace(b"M", b"N", 40))


def half_a_pem(files: Files) -> None:
    files.cert.write_bytes(files.cert.read_bytes()[:300])


def exchanged(files: Files) -> None:
    cert, key = files.cert.read_bytes(), files.key.read_bytes()
    files.cert.write_bytes(key)
    files.key.write_bytes(cert)


def of_another(files: Files) -> None:
    other = Authority(files.cert.parent).issue(name="other")
    files.key.write_bytes(other.key.read_bytes())


def with_a_password(files: Files) -> None:
    key = load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    )


def expired(files: Files) -> None:
    Authority(files.cert.parent).issue(begins_days=-2, ends_days=-1)


def to_come(files: Files) -> None:
    Authority(files.cert.parent).issue(begins_days=1)


@pytest.mark.parametrize(
    ("spoil", "code", "names"),
    [
        (no_cert, "tls_file_unreadable", "tls_cert"),
        (no_key, "tls_file_unreadable", "tls_key"),
        (a_folder, "tls_file_unreadable", "tls_cert"),
        (not_pem, "tls_not_pem", "tls_cert"),
        (too_large, "tls_not_pem", "tls_cert"),
        (broken_pem, "tls_not_pem", "tls_cert"),
        (half_a_pem, "tls_not_pem", "tls_cert"),
        (exchanged, "tls_not_pem", "tls_cert"),
        (of_another, "tls_pair_mismatched", "tls_key"),
        (with_a_password, "tls_key_encrypted", "tls_key"),
        (expired, "tls_certificate_expired", "tls_cert"),
        (to_come, "tls_certificate_not_yet_valid", "tls_cert"),
    ],
)
def test_a_pair_that_cannot_serve_is_refused_by_name(
    authority: Authority, spoil: Callable[[Files], None], code: str, names: str
) -> None:
    files = authority.issue()
    spoil(files)

    with pytest.raises(TlsError) as refused:
        load_pair(*files, now_s())

    assert refused.value.code == code
    assert f"{names} {getattr(files, names.removeprefix('tls_'))}" in str(refused.value)


def test_a_certificate_that_is_not_for_servers_is_refused(tmp_path: Path) -> None:
    files = Files(tmp_path / "cert.pem", tmp_path / "key.pem")
    words = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x "
        f"-addext extendedKeyUsage=clientAuth -keyout {files.key} -out {files.cert}"
    )
    try:
        subprocess.run(words.split(), check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no openssl to make a certificate with")

    with pytest.raises(TlsError) as refused:
        load_pair(*files, now_s())

    assert refused.value.code == "tls_certificate_refused"


@pytest.mark.parametrize(
    ("mode", "owner", "is_exposed"),
    [
        (0o600, 1000, False),
        (0o400, 1000, False),
        (0o640, 1000, True),
        (0o604, 1000, True),
        (0o660, 1000, True),
        (0o644, 1000, True),
        (0o600, 0, False),
        (0o440, 0, False),
        (0o640, 0, False),
        (0o660, 0, True),
        (0o644, 0, True),
    ],
)
def test_a_key_is_its_owners_alone_and_roots_may_be_a_groups(
    authority: Authority, mode: int, owner: int, *, is_exposed: bool
) -> None:
    if os.getuid() != 0 and owner != os.getuid():
        pytest.skip("only root gives files away")
    files = authority.issue()
    files.key.chmod(mode)
    if os.getuid() == 0:
        os.chown(files.key, owner, -1)

    try:
        load_pair(*files, now_s())
        code = ""
    except TlsError as error:
        code = error.code

    assert code == ("tls_key_exposed" if is_exposed else "")
