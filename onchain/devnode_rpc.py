"""JSON-RPC 2.0 around the dev node's methods: bodies in, bodies out.

In:   the bytes of a body: one request or a batch of them.
Out:  the bytes of the answer; errors have their numbers, unknown methods are -32601.
Rules:
  1. No body makes it fail: whatever is wrong is an error of JSON-RPC with the request's id.
  2. A request without an id is a notification: it is carried out and not answered.
  3. A body and a batch have limits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from coordinator.limits import DEVNODE_BATCH_MAX, DEVNODE_BODY_BYTES_MAX
from onchain import devnode_accounts, devnode_cluster, devnode_history, devnode_transactions
from onchain.chain_errors import PacketTooLarge
from onchain.devnode_params import (
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Params,
    RpcError,
)
from onchain.machine import Machine

Method = Callable[[Machine, Params], object]
METHODS: Final[Mapping[str, Method]] = {
    **devnode_accounts.METHODS,
    **devnode_cluster.METHODS,
    **devnode_history.METHODS,
    **devnode_transactions.METHODS,
}


def parse(body: bytes | str) -> Any:
    """The document in a body.

    Raises:
        RpcError: too long, or not JSON.
    """
    if len(body) > DEVNODE_BODY_BYTES_MAX:
        raise RpcError(INVALID_REQUEST, f"a body holds {DEVNODE_BODY_BYTES_MAX} bytes at most")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RpcError(PARSE_ERROR, "Parse error") from error


def answer(machine: Machine, body: bytes) -> bytes:
    """The answer to a body; empty where there is nothing to answer."""
    try:
        document = parse(body)
        if not isinstance(document, list):
            return encode(answer_one(machine, document))
        answers = [answer_one(machine, each) for each in _batch(document)]
        return encode([each for each in answers if each is not None] or None)
    except RpcError as error:
        return encode(failed(None, error))


def _batch(document: list[Any]) -> list[Any]:
    if not 0 < len(document) <= DEVNODE_BATCH_MAX:
        raise RpcError(INVALID_REQUEST, f"a batch holds 1 to {DEVNODE_BATCH_MAX} requests")
    return document


def encode(document: object) -> bytes:
    return b"" if document is None else json.dumps(document, separators=(",", ":")).encode()


def failed(number: object, error: RpcError) -> dict[str, object]:
    return {"jsonrpc": "2.0", "error": error.document, "id": number}


def succeeded(number: object, result: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "result": result, "id": number}


def answer_one(machine: Machine, request: Any) -> dict[str, object] | None:
    """The answer to one request; None for a notification."""
    number = request.get("id") if isinstance(request, dict) else None
    if isinstance(number, (dict, list)):
        number = None
    try:
        told = succeeded(number, _call(machine, request))
    except RpcError as error:
        told = failed(number, error)
    except PacketTooLarge as error:
        told = failed(number, devnode_transactions.too_large(error))
    return None if _is_notification(request) else told


def _is_notification(request: Any) -> bool:
    return (
        isinstance(request, dict)
        and isinstance(request.get("method"), str)
        and ("id" not in request)
    )


def _call(machine: Machine, request: Any) -> object:
    if not isinstance(request, dict) or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Invalid request")
    method = METHODS.get(request["method"])
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, "Method not found")
    return method(machine, Params(request.get("params")))
