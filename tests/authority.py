"""An authority for tests: it issues certificates for this machine, and clients can trust it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import trustme

from coordinator.clock import SystemClock
from coordinator.protocol.trust import client_context
from coordinator.tls import Tls

NAMES: Final = ("127.0.0.1", "::1", "localhost")


class Files(NamedTuple):
    """Where a certificate and its key lie."""

    cert: Path
    key: Path

    def flags(self) -> dict[str, Any]:
        """As settings of a coordinator."""
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}

    def tls(self) -> Tls:
        return Tls(self.cert, self.key, SystemClock())


class Authority:
    """Signs certificates; its own one is in `ca`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = trustme.CA()
        self.ca = folder / "ca.pem"
        self._own.cert_pem.write_to_path(str(self.ca))

    def client(self, *alpn: str) -> ssl.SSLContext:
        """A client that trusts this authority alone; with protocols of its own to offer."""
        context = client_context(self.ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def issue(
        self,
        *names: str,
        begins_days: float = -1,
        ends_days: float = 90,
        name: str = "tls",
    ) -> Files:
        """A certificate for these names, written over the one before it.

        Args:
            names: Host names and addresses; this machine's by default.
            begins_days: When it begins, days from now.
            ends_days: When it ends.
            name: Of the files.
        """
        now = datetime.fromtimestamp(SystemClock().wall_ms() / 1000, UTC)
        made = self._own.issue_cert(
            *(names or NAMES),
            not_before=now + timedelta(days=begins_days),
            not_after=now + timedelta(days=ends_days),
        )
        files = Files(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        files.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        files.key.touch()
        files.key.chmod(0o600)
        made.private_key_pem.write_to_path(str(files.key))
        return files
