from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, strategies as st

from coordinator.limits import FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_AUTH
from coordinator.protocol import messages as m
from coordinator.protocol.codec import encode
from coordinator.protocol.errors import ProtocolError
from coordinator.protocol.session import OPEN_STATES, SENT_BY, TRANSITIONS, Role, Session, State

WALLET = "4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"
#: One message of every type of the wire.
MESSAGES: list[m.AnyMessage] = [
    m.Hello(2, WALLET, "A"), m.Register("token"), m.Heartbeat(), m.JobResult("job-1", "done"),
    m.Inventory([], [], 0, 1, 1), m.Resume(), m.Results([]), m.Progress([]),
    m.ReceiptsSigned(1, "A"), m.Open(), m.Submit([]), m.Watch([]), m.Cancel([]), m.Quote([]),
    m.Revoke(), m.Revoked(),
    m.Challenge("A" * 43, WALLET, "A" * 86), m.Registered("node-1"), m.Ack(), m.Job("job-1", "id"),
    m.Jobs([]), m.Acks([]), m.CancelAttempts([]), m.Resumed(), m.Receipts([]), m.Papers(),
    m.Drain(5), m.Standing("drained", "why", 9),
    m.Error("no"), m.Opened(WALLET, "wallet", WALLET), m.Submitted([]), m.Cancelled([]),
    m.Quoted([]), m.Update([]), m.JobOutput("job-1"), m.JobOutputs([]),
]  # fmt: skip
PAIRS = [(role, state, message) for role in Role for state in State for message in MESSAGES]


def session_in(role: Role, state: State) -> Session:
    session = Session(role)
    session._enter(state)
    return session


def received_by(role: Role) -> frozenset[type[Any]]:
    if role is Role.COORDINATOR:
        return frozenset(get_args(m.ToCoordinator))
    return frozenset(get_args(m.ToAgent if role is Role.AGENT else m.ToSubmitter))


def test_every_type_of_the_wire_is_tried() -> None:
    assert {type(message) for message in MESSAGES} == set(get_args(m.AnyMessage))


def test_the_table_has_every_state_of_every_role_and_only_messages_of_the_wire() -> None:
    for role in Role:
        assert set(TRANSITIONS[role]) == set(State)
        for row in TRANSITIONS[role].values():
            assert set(row) <= SENT_BY[role] | received_by(role)
    assert {kind for row in TRANSITIONS[Role.COORDINATOR].values() for kind in row} == set(
        get_args(m.AnyMessage)
    )


def test_no_type_goes_both_ways() -> None:
    for role in Role:
        assert not SENT_BY[role] & received_by(role)


def test_an_open_session_stays_open_and_a_closed_one_says_nothing() -> None:
    for role in Role:
        assert not TRANSITIONS[role][State.CLOSED]
        for state in OPEN_STATES:
            assert set(TRANSITIONS[role][state].values()) <= {state}


@pytest.mark.parametrize(
    ("role", "state", "message"),
    PAIRS,
    ids=[f"{role.value}-{state.value}-{type(message).__name__}" for role, state, message in PAIRS],
)
def test_a_message_leads_to_the_tables_next_state_or_is_out_of_order(
    role: Role, state: State, message: m.AnyMessage
) -> None:
    after = TRANSITIONS[role][state].get(type(message))
    session = session_in(role, state)
    may_send = after is not None and type(message) in SENT_BY[role]

    assert session.may_send(type(message)) is may_send
    if may_send:
        session.send(message)
        assert session.state is after
    else:
        with pytest.raises(ProtocolError, match="out_of_order"):
            session.send(message)
        assert session.state is state

    session = session_in(role, state)
    if after is not None and type(message) in received_by(role):
        assert session.receive(encode(message))[0] == message
        assert session.state is after
    else:
        # A tag of the other direction is no type here; `cancel` and `error` have one each way.
        with pytest.raises(ProtocolError, match=r"out_of_order|unknown_type|malformed"):
            session.receive(encode(message))
        assert session.state is state


TALK = [m.Hello(2, WALLET, "A"), m.Challenge("A", WALLET, "A"), m.Register(), m.Registered("n")]
SEED_TALK = [m.Register("token"), m.Registered("n"), m.Heartbeat(), m.Ack()]
SUBMITTER_TALK = [m.Open(), m.Opened(WALLET, "wallet", WALLET), m.Submit([])]


@pytest.mark.parametrize(
    ("role", "talk", "state"),
    [
        (Role.AGENT, [*TALK, m.Inventory([], [], 0, 1, 1), m.Resume()], State.NODE),
        (Role.AGENT, SEED_TALK, State.SEED),
        (Role.SUBMITTER, SUBMITTER_TALK, State.SUBMITTER),
        (Role.AGENT, [m.Register("token"), m.Error("no")], State.CLOSED),
        (Role.AGENT, [*TALK[:2], m.Error("too late")], State.CLOSED),
    ],
)
def test_both_ends_walk_through_the_same_states(
    role: Role, talk: list[m.AnyMessage], state: State
) -> None:
    coordinator, client = Session(Role.COORDINATOR), Session(role)

    for message in talk:
        sender, receiver = (
            (client, coordinator) if type(message) in SENT_BY[role] else (coordinator, client)
        )
        assert receiver.receive(sender.send(message))[0] == message
        assert coordinator.state is client.state

    assert client.state is state
    assert client.is_open is (state in OPEN_STATES)


@pytest.mark.parametrize("state", State)
def test_a_frame_past_the_states_limit_is_too_large(state: State) -> None:
    session = session_in(Role.COORDINATOR, state)
    limit = FRAME_BYTES_MAX if state in OPEN_STATES else FRAME_BYTES_MAX_BEFORE_AUTH
    head, tail = '{"type":"job_result","id":"', '","status":"x"}'

    with pytest.raises(ProtocolError, match="too_large"):
        session.receive(head + "a" * (limit + 1 - len(head) - len(tail)) + tail)
    with pytest.raises(ProtocolError, match="too_large"):
        session.receive(bytes(limit + 1))
    with pytest.raises(ProtocolError, match="malformed"):
        session.receive(head + "a" * (limit - len(head) - len(tail)) + tail)


def test_a_limit_counts_bytes_and_not_characters() -> None:
    with pytest.raises(ProtocolError, match="too_large"):
        Session(Role.COORDINATOR).receive("é" * (FRAME_BYTES_MAX_BEFORE_AUTH // 2 + 1))


@pytest.mark.parametrize(
    "frame",
    [
        '{"type":"register","token":"a","token":"b"}',
        '{"type":"register","token":"a","more":99999999999999999999}',
        '{"type":"register","token":"a","more":NaN}',
    ],
)
def test_what_only_a_strict_decoder_refuses_is_refused_before_the_session_is_open(
    frame: str,
) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        Session(Role.COORDINATOR).receive(frame)


def test_arrays_travel_behind_their_message_in_one_frame() -> None:
    result = m.ResultItem("job-1", 1, "completed", outputs=[m.Array("uint8", [4], 4, offset=0)])

    frame = session_in(Role.AGENT, State.NODE).send(m.Results([result]), b"\1\2\3\4")
    message, data = session_in(Role.COORDINATOR, State.NODE).receive(frame)

    assert message == m.Results([result])
    assert bytes(data) == b"\1\2\3\4"


def test_a_message_that_the_peer_would_find_too_large_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="would refuse"):
        Session(Role.AGENT).send(m.Register("é" * FRAME_BYTES_MAX_BEFORE_AUTH))


def test_a_closed_session_neither_receives_nor_sends() -> None:
    session = session_in(Role.COORDINATOR, State.NODE)

    session.close()

    assert not session.may_send(m.Ack)
    with pytest.raises(ProtocolError, match="out_of_order"):
        session.receive(encode(m.Heartbeat()))
    with pytest.raises(ProtocolError, match="out_of_order"):
        session.send(m.Ack())


TAGS = [type(message).__struct_config__.tag for message in MESSAGES]
FIELDS = sorted({name for message in MESSAGES for name in message.__struct_encode_fields__})
NAMES = st.sampled_from(FIELDS)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats()
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", WALLET]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PIECES = st.sampled_from(["{", "[", '"', ":", ",", "\\ud800", "\ud800", "\0", "1e999", "type"])
DOCUMENTS = st.builds(
    lambda tag, rest: {"type": tag, **rest},
    st.sampled_from(TAGS),
    st.dictionaries(NAMES, JSON, max_size=5),
)
NOISE = st.binary(max_size=200)
FRAMES = st.one_of(
    NOISE,
    NOISE.map(lambda raw: raw.decode("latin-1")),
    st.lists(PIECES).map("".join),
    DOCUMENTS.map(json.dumps),
    DOCUMENTS.map(lambda document: json.dumps(document).encode("utf-16")),
    st.tuples(DOCUMENTS, st.integers(0, 300), NOISE).map(
        lambda it: it[1].to_bytes(4, "little") + json.dumps(it[0]).encode() + it[2]
    ),
    st.tuples(DOCUMENTS, NOISE).map(
        lambda it: len(raw := json.dumps(it[0]).encode()).to_bytes(4, "little") + raw + it[1]
    ),
)


@given(st.sampled_from(Role), st.sampled_from(State), FRAMES)
def test_whatever_comes_nothing_but_a_protocol_error_comes_out(
    role: Role, state: State, frame: str | bytes
) -> None:
    session = session_in(role, state)

    try:
        message, _data = session.receive(frame)
    except ProtocolError:
        assert session.state is state
    else:
        assert session.state is TRANSITIONS[role][state][type(message)]
        assert msgspec.json.encode(message)
