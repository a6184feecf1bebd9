"""Whom a client believes under TLS: the system's authorities, or a file of one's own.

Rules:
  1. A file of authorities replaces the system's: a coordinator with a private authority is believed
     by that one's word alone.
  2. TLS 1.2 or newer, host names checked; HTTP/1.1 only, since an upgrade to a WebSocket needs it.
Not here: the coordinator's own certificate (`coordinator.certificate`).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

#: The variable that names the file of authorities.
CA_VARIABLE: Final = "HYPERNODE_CA"
#: What a person can do whose authority is not known.
CA_HINT: Final = f"an authority of your own is named by --ca FILE or {CA_VARIABLE}"


class CaError(ValueError):
    """A file of authorities cannot serve; the text names it."""


def client_context(ca: Path | None = None) -> ssl.SSLContext:
    """The TLS settings of a client.

    Args:
        ca: Certificates of authorities, PEM; the system's own if None.

    Raises:
        CaError: the file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        msg = f"{ca} holds no certificates of authorities (PEM)"
        raise CaError(msg) from error
    except OSError as error:
        msg = f"the certificates of authorities cannot be read: {error.strerror or error} ({ca})"
        raise CaError(msg) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def why_untrusted(error: BaseException | None) -> str:
    """What is wrong with the coordinator's certificate, if an error came of that; else `""`."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    if error is None:
        return ""
    return f"its certificate is not trusted: {error.verify_message} ({CA_HINT})"
