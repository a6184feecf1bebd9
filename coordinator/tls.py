"""TLS on the one port: the pair that serves, and its exchange while connections go on.

In:   the configuration's certificate and key.
Out:  listeners whose connections begin under the newest pair that could serve.
Rules:
  1. A pair that cannot serve is refused by name: at the start it ends the start, at a reload the
     one before it stays and the log says why.
  2. Open connections keep what they began with.
Not here: what makes a pair good (`certificate`), how long a handshake may take (`server`).
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import trio

from coordinator.certificate import TlsError, load_pair
from coordinator.clock import Clock, iso_seconds
from coordinator.config import Config
from coordinator.limits import CERTIFICATE_LOOK_S, CERTIFICATE_WARN_S
from coordinator.log import get_log
from coordinator.metrics import Metrics

log = get_log(__name__)


class Tls:
    """The pair that serves, and the exchange for a newer one."""

    def __init__(self, cert: Path, key: Path, clock: Clock) -> None:
        """Load the pair.

        Raises:
            TlsError: it cannot serve.
        """
        self.cert = cert
        self._key = key
        self._clock = clock
        self.pair = load_pair(cert, key, self._now_s())

    def reload(self) -> None:
        """Read the files again: the next connections begin with what they hold now.

        Raises:
            TlsError: they cannot serve; the pair before them stays.
        """
        self.pair = load_pair(self.cert, self._key, self._now_s())

    @property
    def is_ending(self) -> bool:
        """Whether the certificate expires soon."""
        return self.pair.expires_at_s - self._now_s() < CERTIFICATE_WARN_S

    @property
    def expires(self) -> str:
        """When the certificate expires, for people."""
        return iso_seconds(round(self.pair.expires_at_s * 1000))

    def stands_for(self, domain: str) -> bool:
        """Whether clients who dial this host, with or without a port, may believe it."""
        host = (urlsplit(f"//{domain}").hostname or "").lower()
        return not {host, f"*.{host.partition('.')[2]}"}.isdisjoint(self.pair.names)

    def _now_s(self) -> float:
        return self._clock.wall_ms() / 1000


def tls_of(config: Config, clock: Clock) -> Tls | None:
    """The certificate that a configuration names, or None where it names none.

    Raises:
        TlsError: it cannot serve.
    """
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Tls(Path(config.tls_cert), Path(config.tls_key), clock)


class TlsListener(trio.abc.Listener["trio.SSLStream[trio.SocketStream]"]):
    """Connections of a plain listener, each under the pair that serves when it begins.

    Why not Trio's `SSLListener`: it keeps the context that it was made with.
    """

    def __init__(self, plain: trio.SocketListener, tls: Tls) -> None:
        self.plain = plain
        self._tls = tls

    async def accept(self) -> trio.SSLStream[trio.SocketStream]:
        stream = await self.plain.accept()
        return trio.SSLStream(
            stream, self._tls.pair.context, server_side=True, https_compatible=True
        )

    async def aclose(self) -> None:
        await self.plain.aclose()


def is_not_tls(error: trio.BrokenResourceError) -> bool:
    """Whether a handshake failed because the peer speaks plain HTTP, or at least no TLS."""
    cause = error.__cause__
    return isinstance(cause, ssl.SSLError) and cause.reason in {
        *("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER"),
    }


def has_greeted(stream: trio.SSLStream[trio.SocketStream]) -> bool:
    """Whether the handshake is done, so that something can be said under it."""
    try:
        stream.selected_alpn_protocol()
    except trio.NeedHandshakeError:
        return False
    return True


async def reload_certificate(tls: Tls | None, metrics: Metrics) -> None:
    """Exchange the pair for what the files hold now, if that can serve; and say which it is."""
    if tls is None:
        log.info("nothing to reload", reason="there is no certificate: tls_cert is not set")
        return
    try:
        await trio.to_thread.run_sync(tls.reload)
    except TlsError as error:
        log.error(  # noqa: TRY400 (an owner's mistake: the text says all)
            "certificate not reloaded", code=error.code, reason=str(error), expires=tls.expires
        )
        return
    metrics.certificate_expires(tls.pair.expires_at_s)
    log.info("certificate reloaded", cert=str(tls.cert), expires=tls.expires, names=tls.pair.names)


async def watch_certificate(tls: Tls, metrics: Metrics, domain: str) -> None:
    """Say when the certificate ends: as a number at once, in the log before it is too late."""
    metrics.certificate_expires(tls.pair.expires_at_s)
    if not tls.stands_for(domain):
        log.warning("the certificate does not name the domain", domain=domain, names=tls.pair.names)
    while True:
        if tls.is_ending:
            log.warning("the certificate expires soon", cert=str(tls.cert), expires=tls.expires)
        await trio.sleep(CERTIFICATE_LOOK_S)
