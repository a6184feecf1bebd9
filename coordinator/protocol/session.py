"""A session: what may come when, for every role. No sockets, no clocks.

In:   frames as the WebSocket delivered them.    Out: messages, or a `ProtocolError`.
Rules:
  1. Everything that decides which message is allowed stands in `TRANSITIONS`; what is missing there
     is `out_of_order`, and the session stays as it was.
  2. Before a session is open, frames are small and decoded strictly.
  3. `receive` raises nothing but `ProtocolError`, whatever bytes come.
  4. A message that may not be sent is our own mistake, but it costs this session, not the house: it
     is a `ProtocolError` too.
Both ends walk the same table: until a session is open the ends take turns, and once it is open
no message changes the state, so that frames crossing on the wire do no harm.
Not here: rates and deadlines (the shells), the proofs that `hello` begins (`handshake.py`).
Source: h11 `_state.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias, get_args

from coordinator.limits import FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_AUTH
from coordinator.protocol import messages as m
from coordinator.protocol.codec import (
    Decoder,
    agent_decoder,
    coordinator_decoder,
    encode_payload,
    submitter_decoder,
)
from coordinator.protocol.errors import ProtocolError


class Role(Enum):
    """Whose end of the wire this is."""

    # An enumeration's own hash is a call of Python for each look into a table.
    __hash__ = object.__hash__

    COORDINATOR = "coordinator"
    #: An agent of ours, or a seed client.
    AGENT = "agent"
    SUBMITTER = "submitter"


class State(Enum):
    """How far a session is."""

    #: Connected; the client speaks first.
    FRESH = "fresh"
    #: `hello` came: the coordinator owes its challenge.
    GREETED = "greeted"
    #: Challenged: the node key owes its proof.
    CHALLENGED = "challenged"
    #: A proof came: the coordinator decides.
    PROVING = "proving"
    #: A bare token came: the coordinator decides.
    CLAIMING = "claiming"
    #: A bearer or a wallet's signature came: the coordinator decides.
    OPENING = "opening"
    #: Open, for a seed client: registered by a bare token.
    SEED = "seed"
    #: Open, for an agent of ours: registered by a node key.
    NODE = "node"
    #: Open, for a submitter.
    SUBMITTER = "submitter"
    #: Nothing more is said.
    CLOSED = "closed"


#: States in which the peer has authenticated.
OPEN_STATES: Final = frozenset({State.SEED, State.NODE, State.SUBMITTER})

Transitions: TypeAlias = Mapping[State, Mapping[type[Any], State]]

_SEED_MESSAGES: Final = (m.Heartbeat, m.JobResult, m.Ack, m.Job, m.Error)
_NODE_MESSAGES: Final = (
    m.Heartbeat, m.Inventory, m.Resume, m.Results, m.Progress, m.ReceiptsSigned,
    m.Ack, m.Jobs, m.Acks, m.CancelAttempts, m.Resumed, m.Receipts, m.Papers, m.Drain, m.Standing,
    m.Error,
)  # fmt: skip
_SUBMITTER_MESSAGES: Final = (
    m.Submit, m.Watch, m.Cancel, m.Quote, m.Revoke,
    m.Submitted, m.Cancelled, m.Quoted, m.Revoked, m.Update, m.JobOutput,
    m.JobOutputs, m.Drain, m.Error,
)  # fmt: skip

_AGENT: Final[Transitions] = {
    State.FRESH: {
        m.Hello: State.GREETED,
        m.Register: State.CLAIMING,
        m.Error: State.CLOSED,
    },
    State.GREETED: {m.Challenge: State.CHALLENGED, m.Error: State.CLOSED},
    State.CHALLENGED: {m.Register: State.PROVING, m.Error: State.CLOSED},
    State.PROVING: {m.Registered: State.NODE, m.Error: State.CLOSED},
    State.CLAIMING: {m.Registered: State.SEED, m.Error: State.CLOSED},
    State.SEED: dict.fromkeys(_SEED_MESSAGES, State.SEED),
    State.NODE: dict.fromkeys(_NODE_MESSAGES, State.NODE),
    State.CLOSED: {},
}
_SUBMITTER: Final[Transitions] = {
    State.FRESH: {m.Open: State.OPENING, m.Error: State.CLOSED},
    State.OPENING: {m.Opened: State.SUBMITTER, m.Error: State.CLOSED},
    State.SUBMITTER: dict.fromkeys(_SUBMITTER_MESSAGES, State.SUBMITTER),
    State.CLOSED: {},
}
#: The whole of it: by role, by state, by type of message (received or sent), the next state.
TRANSITIONS: Final[Mapping[Role, Transitions]] = {
    Role.COORDINATOR: {
        state: {**_AGENT.get(state, {}), **_SUBMITTER.get(state, {})} for state in State
    },
    Role.AGENT: {state: _AGENT.get(state, {}) for state in State},
    Role.SUBMITTER: {state: _SUBMITTER.get(state, {}) for state in State},
}

_TO_COORDINATOR: Final = frozenset(get_args(m.ToCoordinator))
_FROM_COORDINATOR: Final = frozenset(get_args(m.ToAgent)) | frozenset(get_args(m.ToSubmitter))
#: Which types a role sends.
SENT_BY: Final[Mapping[Role, frozenset[type[Any]]]] = {
    Role.COORDINATOR: _FROM_COORDINATOR,
    Role.AGENT: _TO_COORDINATOR,
    Role.SUBMITTER: _TO_COORDINATOR,
}
_DECODERS: Final[Mapping[Role, Decoder[Any]]] = {
    Role.COORDINATOR: coordinator_decoder,
    Role.AGENT: agent_decoder,
    Role.SUBMITTER: submitter_decoder,
}


class Session:
    """One connection's life, seen from one end."""

    __slots__ = ("_decoder", "_next", "_state", "frame_bytes_max", "is_open", "role")

    def __init__(self, role: Role) -> None:
        self.role: Final = role
        self._decoder = _DECODERS[role]
        self._enter(State.FRESH)

    @property
    def state(self) -> State:
        return self._state

    def _enter(self, state: State) -> None:
        # Looked up once a state: a session stays in its last one for a million messages.
        self._state = state
        self._next = TRANSITIONS[self.role][state]
        #: Whether the peer has authenticated and may go on.
        self.is_open = state in OPEN_STATES
        #: Largest frame, either way, in this state.
        self.frame_bytes_max = FRAME_BYTES_MAX if self.is_open else FRAME_BYTES_MAX_BEFORE_AUTH

    def receive(self, frame: str | bytes) -> tuple[m.AnyMessage, memoryview]:
        """The message of a frame, and the data that its arrays point into.

        Raises:
            ProtocolError: the peer broke the wire; send `error` and close.
        """
        message: m.AnyMessage
        message, data = self._decoder.decode(
            frame, limit=self.frame_bytes_max, strict=not self.is_open
        )
        self._advance(type(message))
        return message, data

    def send(self, message: m.AnyMessage, data: bytes | bytearray = b"") -> str | bytes:
        """The frame of a message.

        Raises:
            ProtocolError: `out_of_order` if it may not be sent now.
        """
        payload, is_text = self.send_payload(message, data)
        return payload.decode() if is_text else payload

    def send_payload(
        self, message: m.AnyMessage, data: bytes | bytearray = b""
    ) -> tuple[bytes, bool]:
        """The bytes of a message's frame, and whether they are text.

        Raises:
            ProtocolError: `out_of_order` if it may not be sent now.
        """
        if type(message) not in SENT_BY[self.role]:
            raise ProtocolError("out_of_order", f"a {self.role.value} does not send this")
        payload, is_text = encode_payload(message, data)
        # The peer applies the same bound.
        assert len(payload) <= self.frame_bytes_max, "the peer would refuse this frame"
        self._advance(type(message))
        return payload, is_text

    def may_send(self, kind: type[Any]) -> bool:
        """Whether a message of this type may be sent now."""
        return kind in SENT_BY[self.role] and kind in self._next

    def close(self) -> None:
        """The connection has ended, or is about to."""
        self._enter(State.CLOSED)

    def _advance(self, kind: type[Any]) -> None:
        after = self._next.get(kind)
        if after is None:
            name = kind.__struct_config__.tag
            raise ProtocolError("out_of_order", f"{name} is not allowed while {self._state.value}")
        if after is not self._state:
            self._enter(after)
