"""Logs of jobs over HTTP: a part at a time, or as a stream of events.

Rules:
  1. `offset` counts characters; an answer names the place of its text and the next one to ask for.
     `wait` seconds are waited for where there is nothing yet.
  2. Where the request accepts `text/event-stream`, every part is an event whose id is its attempt
     and next place: a browser that connects again (`Last-Event-ID`) goes on where it was. A stream
     ends after `LOG_STREAM_S_MAX`, and with the job.
  3. A reader that does not take what it is sent waits for itself: the next part is made when the
     last one is gone, and what is no longer kept by then is a gap in the places.
Not here: who may read, what there is (logs_desk).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, TypeAlias

import msgspec
import trio
from litestar import Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from coordinator.http_context import SECURED, Api, ApiParam, SessionParam
from coordinator.limits import INTEGER_MAX, LOG_STREAM_S_MAX, LOG_WAIT_S_MAX
from coordinator.protocol.errors import Refusal
from coordinator.store.values import Session
from coordinator.views import LogView

_EVENTS: Final = "text/event-stream"
#: Proxies that gather an answer before they pass it on are told not to.
_STREAM_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}

OffsetQuery: TypeAlias = Annotated[
    int, QueryParameter(ge=0, le=INTEGER_MAX, description="Where the text shall begin, characters.")
]
AttemptQuery: TypeAlias = Annotated[
    int, QueryParameter(ge=0, le=INTEGER_MAX, description="The attempt that `offset` belongs to.")
]
WaitQuery: TypeAlias = Annotated[
    float,
    QueryParameter(ge=0, le=LOG_WAIT_S_MAX, description="Seconds to wait where nothing is there."),
]


@get("/api/jobs/{job:str}/logs", **SECURED)
async def job_logs(
    request: Request[Any, Any, Any],
    api: ApiParam,
    session: SessionParam,
    job: FromPath[str],
    offset: OffsetQuery = 0,
    attempt: AttemptQuery = 0,
    wait: WaitQuery = 0.0,
) -> Response[LogView] | Stream:
    """A job's log from a place on; as a stream of events where `text/event-stream` is accepted."""
    if _EVENTS not in request.headers.get("accept", ""):
        view = await api.logs(session, job, offset=offset, attempt=attempt, wait_s=wait)
        return Response(view, headers={"cache-control": "no-store"})
    if last := request.headers.get("last-event-id", ""):
        attempt, offset = parse_event_id(last)
    # Here, where a refusal is still an answer.
    first = await api.logs(session, job, offset=offset, attempt=attempt)
    return Stream(
        _events(api, session, job, first), media_type=_EVENTS, headers=dict(_STREAM_HEADERS)
    )


def parse_event_id(text: str) -> tuple[int, int]:
    """Attempt and place of an event's id.

    Raises:
        Refusal: `malformed`.
    """
    attempt, sign, offset = text.partition("-")
    if not (sign and attempt.isascii() and offset.isascii()) or len(text) > 32:
        raise Refusal("malformed", "an event's id is ATTEMPT-OFFSET")
    try:
        return int(attempt), int(offset)
    except ValueError as error:
        raise Refusal("malformed", "an event's id is ATTEMPT-OFFSET") from error


async def _events(api: Api, session: Session, job: str, view: LogView) -> AsyncIterator[bytes]:
    """The rest of a log as server-sent events."""
    ends_at = trio.current_time() + LOG_STREAM_S_MAX
    yield event_of(view)
    while not view.is_final and trio.current_time() < ends_at:
        view = await api.logs(
            session, job, offset=view.next_offset, attempt=view.attempt, wait_s=LOG_WAIT_S_MAX
        )
        yield event_of(view)


def event_of(view: LogView) -> bytes:
    """A part of a log as one event; a final one is named `end`."""
    name = b"end" if view.is_final else b"log"
    data = msgspec.json.encode(view)
    return b"event: %s\nid: %d-%d\ndata: %s\n\n" % (name, view.attempt, view.next_offset, data)


ROUTES: Final = [job_logs]
