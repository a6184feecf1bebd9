"""Open connections by the session that they go on under: they end when it does."""

from __future__ import annotations

from typing import Protocol

from coordinator.protocol.errors import Refusal
from coordinator.store.values import Session


class SessionLink(Protocol):
    """A connection that ends when its session does."""

    session: Session

    def end(self, refusal: Refusal) -> None: ...


class OpenLinks:
    """Who goes on under which session; in memory, as the connections are."""

    def __init__(self) -> None:
        self._links: dict[bytes, dict[SessionLink, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    def note(self, link: SessionLink) -> None:
        self._links.setdefault(link.session.bearer_hash, {})[link] = None

    def forget(self, link: SessionLink) -> None:
        links = self._links.get(link.session.bearer_hash, {})
        links.pop(link, None)
        if not links:
            self._links.pop(link.session.bearer_hash, None)

    def end(self, bearer_hash: bytes) -> None:
        """The session was closed or revoked: its connections end."""
        for link in tuple(self._links.get(bearer_hash, ())):
            link.end(Refusal("session_revoked"))
