"""Small frames that carry no message, counted as they come in: a bound on pings and on fragments.

In:   the bytes below a WebSocket, from its HTTP head on, in pieces as the network cuts them.
Out:  how many of them may pass now; after how long the next frame may.
Rules:
  1. A control frame (ping, pong, close) and a fragment of less than `FRAGMENT_BYTES_FREE` cost a
     token each; messages in one frame and large fragments cost none here (`MESSAGES_PER_S` is
     theirs).
  2. What exceeds the rate waits, and what comes behind it: a flood delays its sender only.
Why: answering a ping costs as much as a message, and trio-websocket answers as many as come; a
message in 200,000 empty fragments is one message to whoever counts messages.
Not here: what frames mean (trio-websocket), how long a peer may take (conversation).
"""

from __future__ import annotations

import re
from typing import Final

from coordinator.limits import PIECES_BURST, PIECES_PER_S
from coordinator.ratelimit import RateLimiter

#: Fragments whose length does not fit seven bits are free: there are few of them in a megabyte.
FRAGMENT_BYTES_FREE: Final = 126
#: As `head` and h11 read it: a line may end in LF alone.
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_WHOLE_MESSAGES: Final = frozenset({0x81, 0x82})
#: Bytes of the length behind the second one.
_MORE_BYTES: Final = {126: 2, 127: 8}
_HEAD_BYTES_MAX: Final = 14
#: A wait that a clock can tell from none.
_WAIT_S_MIN: Final = 0.001


class FrameMeter:
    """The frames of one peer, one after the other."""

    __slots__ = ("_head", "_http", "_is_paid", "_rate", "_skip")

    def __init__(self) -> None:
        #: None until there is something to count: most peers send messages only.
        self._rate: RateLimiter | None = None
        #: The last bytes of the HTTP head so far; None once it has ended.
        self._http: bytes | None = b""
        #: Bytes of a frame's head that came without its end.
        self._head = b""
        self._is_paid = False
        #: Bytes of the present payload that are still to come.
        self._skip = 0

    def admit(self, data: bytes | bytearray, now: float) -> tuple[int, float]:
        """How many of these bytes may pass, and if not all, after how many seconds more may.

        What did not pass is to be given again.
        """
        at = self._skip_http(data) if self._http is not None else 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            taken, wait_s = self._read_head(data, at, now)
            if wait_s:
                return at, wait_s
            at += taken
        return at, 0.0

    def _skip_http(self, data: bytes | bytearray) -> int:
        """The length of what is still HTTP."""
        assert self._http is not None
        seen = self._http + data
        end = _HEAD_END.search(seen)
        if end is None:
            self._http = seen[-3:]
            return len(data)
        at = end.end() - len(self._http)
        self._http = None
        return at

    def _read_head(self, data: bytes | bytearray, at: int, now: float) -> tuple[int, float]:
        """Bytes of a frame's head that stand here, or the seconds for which it must wait."""
        before = len(self._head)
        head = self._head + data[at : at + _HEAD_BYTES_MAX - before]
        if len(head) < 2:
            self._head = bytes(head)
            return len(head) - before, 0.0
        size = head[1] & 0x7F
        if head[0] not in _WHOLE_MESSAGES and not self._is_paid:
            # A control frame is never larger, or its connection ends.
            if size < FRAGMENT_BYTES_FREE:
                if self._rate is None:
                    self._rate = RateLimiter(PIECES_PER_S, PIECES_BURST, keys_max=1)
                wait_s = self._rate.allow("", now)
                if wait_s:
                    return 0, max(wait_s, _WAIT_S_MIN)
            self._is_paid = True
        more = _MORE_BYTES.get(size, 0)
        length = 2 + more + (4 if head[1] & 0x80 else 0)
        if len(head) < length:
            self._head = bytes(head)
            return len(head) - before, 0.0
        self._head, self._is_paid = b"", False
        self._skip = int.from_bytes(head[2 : 2 + more], "big") if more else size
        return length - before, 0.0
