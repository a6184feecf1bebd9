"""`python -m benchmarks.echo`: a server on trio-websocket that sends back what it is sent.

What any server on this library costs at least: no JSON, no state, no disk, one process.
"""

from __future__ import annotations

import sys

import trio
import trio_websocket as tw

from coordinator.limits import FRAME_BYTES_MAX, READ_AHEAD_FRAMES_MAX

_RECEIVE_BYTES = 64 * 1024


async def _echo(request: tw.WebSocketRequest) -> None:
    ws = await request.accept()
    try:
        while True:
            await ws.send_message(await ws.get_message())
    except tw.ConnectionClosed:
        return


async def serve() -> None:
    """Serve on a free port of this machine, and say which."""
    server = tw.WebSocketServer(
        _echo,
        await trio.open_tcp_listeners(0, host="127.0.0.1"),
        message_queue_size=READ_AHEAD_FRAMES_MAX,
        max_message_size=FRAME_BYTES_MAX,
        receive_buffer_size=_RECEIVE_BYTES,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        sys.stdout.write(f"listening on {server.port}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(serve)
