"""The coordinator, seen from here: whether it is reached, believed, and of our time.

Rules:
  1. The first thing that is wrong is said; what depends on it is skipped.
  2. Nothing is sent that says who asks.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import trio

from agent.link import root_of, why_unreachable
from coordinator.limits import CLOCK_SKEW_MS, KIB
from coordinator.protocol.streams import open_stream
from coordinator.protocol.trust import CaError, client_context, why_untrusted
from hypernode.cli.agent_words import duration
from hypernode.doctor.finding import Finding, failure, ok, skipped, warning

#: Time for each try.
_TRY_S: Final = 5.0
#: A clock that is off by more than this is told: it will be off by more.
_SKEW_S_NOTED: Final = 5.0
_DAY_S: Final = 24 * 3600
_EXPIRES_SOON_S: Final = 14 * _DAY_S
_START: Final = "is a coordinator running there? For one of your own: `hypernode coordinator`"
_UPGRADE: Final = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aHlwZXJub2RlIGRvY3Rvcg==\r\n\r\n"
)


async def check_coordinator(
    http_url: str, ca: Path | None, *, now_ms: Callable[[], int]
) -> list[Finding]:
    """Reach it over HTTP, compare clocks, look at its certificate, try a WebSocket."""
    try:
        tls = client_context(ca)
    except CaError as error:
        return [failure("coordinator", str(error), "name a PEM file of authorities: --ca")]
    try:
        async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=_TRY_S) as http:
            answer = await http.get(f"{http_url}/healthz")
    except httpx.HTTPError as error:
        return [_unreachable(http_url, error)]
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        said = f"{http_url} answers, but not as a coordinator does ({answer.status_code})"
        return [failure("coordinator", said, "check the address, and the proxy before it")]
    findings = [_health(http_url, answer)]
    findings.append(_clock(answer.headers.get("date", ""), now_ms()))
    if http_url.startswith("https:"):
        findings.append(await _certificate(http_url, tls, now_ms()))
    findings.append(await _websocket(http_url, tls))
    return findings


def _health(http_url: str, answer: httpx.Response) -> Finding:
    if answer.status_code != httpx.codes.OK:
        said = f"{http_url} is there, and not ready ({answer.status_code})"
        return warning("coordinator", said, "wait for its owner: an agent keeps trying")
    ms = answer.elapsed.total_seconds() * 1000
    return ok("coordinator", f"{http_url} answers within {ms:.0f} ms")


def _unreachable(http_url: str, error: Exception) -> Finding:
    if why := why_untrusted(error):
        return failure("coordinator", f"{http_url}: {why}", "renew the certificate, or pass --ca")
    cause = root_of(error)
    host = urlsplit(http_url).hostname
    if isinstance(cause, socket.gaierror):
        return failure("coordinator", f"the name {host} is not known", "check --url, and your DNS")
    if isinstance(error, httpx.TimeoutException):
        said = f"{http_url} does not answer within {_TRY_S:.0f} s"
        return failure("coordinator", said, "check the firewalls between here and there")
    if isinstance(cause, ssl.SSLError):
        fix = "use http:// for a coordinator without TLS"
        return failure("coordinator", f"{http_url} does not speak TLS", fix)
    return failure("coordinator", f"{http_url}: {why_unreachable(error)}", _START)


def _clock(date: str, now_ms: int) -> Finding:
    """This machine's clock against the coordinator's `Date`."""
    try:
        theirs_ms = parsedate_to_datetime(date).timestamp() * 1000
    except ValueError:
        return skipped("clock", "the coordinator tells no time")
    # Its second is told without the part that has passed: half of it is the best guess.
    off_s = (now_ms - theirs_ms - 500) / 1000
    said = f"this machine's clock is {abs(off_s):.1f} s {'ahead' if off_s > 0 else 'behind'}"
    fix = "set it by NTP: `timedatectl set-ntp true`, or chrony"
    if abs(off_s) * 1000 > CLOCK_SKEW_MS:
        return failure("clock", f"{said}: tokens and sessions will be refused", fix)
    if abs(off_s) > _SKEW_S_NOTED:
        return warning("clock", said, fix)
    return ok("clock", "agrees with the coordinator's to the second or so")


async def _certificate(http_url: str, tls: ssl.SSLContext, now_ms: int) -> Finding:
    """How long the coordinator's certificate lasts."""
    parts = urlsplit(http_url)
    try:
        with trio.fail_after(_TRY_S):
            stream = await open_stream(parts.hostname or "", parts.port or 443, tls)
            assert isinstance(stream, trio.SSLStream)
            ends = stream.getpeercert()["notAfter"]
            await trio.aclose_forcefully(stream)
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        return skipped("certificate", f"the second look failed: {error}")
    left_s = ssl.cert_time_to_seconds(ends) - now_ms / 1000
    said = f"trusted, expires in {duration(left_s)}"
    if left_s < _EXPIRES_SOON_S:
        return warning("certificate", said, "tell the coordinator's owner to renew it")
    return ok("certificate", said)


async def _websocket(http_url: str, tls: ssl.SSLContext) -> Finding:
    """Whether an upgrade gets through: proxies that know HTTP only stop here."""
    parts = urlsplit(http_url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    stream: trio.abc.Stream | None = None
    try:
        with trio.fail_after(_TRY_S):
            port = parts.port or (443 if is_tls else 80)
            stream = await open_stream(host, port, tls if is_tls else None)
            await stream.send_all(_UPGRADE.format(host=parts.netloc).encode())
            answer = bytes(await stream.receive_some(4 * KIB))
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        answer = str(error).encode()
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)
    line = answer.split(b"\r\n")[0].decode(errors="replace")[:80]
    if " 101 " in f"{line} ":
        return ok("websocket", "an upgrade gets through")
    fix = "let the proxy before the coordinator pass WebSocket upgrades (Upgrade, Connection)"
    return failure("websocket", f"an upgrade does not get through: {line or 'no answer'}", fix)
