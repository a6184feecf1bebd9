"""A certificate and its key: read, and tried before they serve.

In:   the paths of a certificate chain and of its key, PEM.
Out:  a `Pair`: the context of new connections, and what stands in the certificate.
Rules:
  1. A pair serves if a client could believe it: it belongs together, is in date and is meant for
     servers. That is tried by a handshake in memory, not guessed from the files.
  2. The key is its owner's alone; root's may be read by a group (PostgreSQL's rule for its own).
  3. TLS 1.2 or newer, no renegotiation. Only HTTP/1.1 is offered: who negotiates HTTP/2 cannot
     upgrade to a WebSocket.
Not here: the exchange while connections go on (`tls`), the clients' side (`protocol/trust.py`).
Not covered: whether the chain is complete and whether a client trusts its root; revocation.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

from coordinator.limits import PEM_BYTES_MAX
from coordinator.settings import ConfigError

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name: the dates are judged here.
_NO_CHECK_TIME: Final = 0x200000
_GROUP_MAY_READ: Final = 0o037
_OWNER_ALONE: Final = 0o077


class TlsError(ConfigError):
    """Why a certificate or its key cannot serve; `code` is stable, the text names the file."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        #: The setting that names the file.
        self.setting = "tls_key" if sentence.startswith("tls_key") else "tls_cert"


class Pair(NamedTuple):
    """A certificate with its key, ready to serve."""

    context: ssl.SSLContext
    #: Seconds since 1970.
    expires_at_s: float
    #: Host names and addresses that it stands for.
    names: tuple[str, ...]


def load_pair(cert: Path, key: Path, now_s: float) -> Pair:
    """Read a chain and its key, and try them.

    Args:
        cert: The chain, the coordinator's own certificate first.
        key: Its key, without a password.
        now_s: Seconds since 1970.

    Raises:
        TlsError: they cannot serve.
    """
    chain = _read(cert, "tls_cert")
    _check_key(key, _read(key, "tls_key"))
    context = _context(cert, key)
    seen = _seen_by_a_client(context, chain, cert)
    begins_s, expires_s = (ssl.cert_time_to_seconds(seen[n]) for n in ("notBefore", "notAfter"))
    if now_s >= expires_s:
        raise TlsError("tls_certificate_expired", f"tls_cert {cert} expired on {seen['notAfter']}")
    if now_s < begins_s:
        sentence = f"tls_cert {cert} is not valid before {seen['notBefore']}"
        raise TlsError("tls_certificate_not_yet_valid", sentence)
    names = tuple(_name(kind, name) for kind, name in seen.get("subjectAltName", ()))
    return Pair(context, float(expires_s), names)


def _name(kind: str, name: str) -> str:
    """A name as it stands in an address: OpenSSL writes `0:0:0:0:0:0:0:1`."""
    return str(ip_address(name)) if kind == "IP Address" else name.lower()


def _read(path: Path, setting: str) -> str:
    """A PEM file's text."""
    try:
        with path.open("rb") as file:
            raw = file.read(PEM_BYTES_MAX + 1)
    except OSError as error:
        sentence = f"{setting} {path} cannot be read: {error.strerror or error}"
        raise TlsError("tls_file_unreadable", sentence) from error
    if len(raw) > PEM_BYTES_MAX or b"-----BEGIN " not in raw:
        raise TlsError("tls_not_pem", f"{setting} {path} is not a PEM file")
    return raw.decode("ascii", errors="replace")


def _check_key(path: Path, text: str) -> None:
    status = path.stat()
    loose = status.st_mode & (_GROUP_MAY_READ if status.st_uid == 0 else _OWNER_ALONE)
    if loose:
        sentence = (
            f"tls_key {path} can be read or changed by others than its owner (mode "
            f"{status.st_mode & 0o777:04o}): chmod 600 {path}"
        )
        raise TlsError("tls_key_exposed", sentence)
    if "ENCRYPTED" in text:
        sentence = f"tls_key {path} has a password, which a service cannot be asked for"
        raise TlsError("tls_key_encrypted", sentence)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password: OpenSSL would ask a terminal for one.
        context.load_cert_chain(cert, key, password=str)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            sentence = f"tls_key {key} does not belong to tls_cert {cert}"
            raise TlsError("tls_pair_mismatched", sentence) from error
        sentence = f"tls_cert {cert} and tls_key {key} cannot be used: {_reason(error)}"
        raise TlsError("tls_not_pem", sentence) from error
    return context


def _seen_by_a_client(server: ssl.SSLContext, chain: str, cert: Path) -> Mapping[str, Any]:
    """The certificate's fields, as a client has them that trusts it and has verified the rest."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        client.load_verify_locations(cadata=chain)
        seen = _handshake(client, server)
    except ssl.SSLError as error:
        sentence = f"clients would refuse tls_cert {cert}: {_reason(error)}"
        raise TlsError("tls_certificate_refused", sentence) from error
    assert seen is not None
    return seen


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> Mapping[str, Any] | None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    waiting = [asking, server.wrap_bio(to_server, to_client, server_side=True)]
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    return asking.getpeercert()


def _reason(error: ssl.SSLError) -> str:
    said = getattr(error, "verify_message", "") or error.reason or str(error)
    return str(said).replace("_", " ").lower()
