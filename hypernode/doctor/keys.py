"""Files that must be private: wallet, node key, token. What is in them is never shown.

Not covered: whether the coordinator still accepts a token (it says so when the agent registers).
"""

from __future__ import annotations

import stat
from pathlib import Path

from agent.welcome import Unwelcome, check_token
from coordinator.limits import TOKEN_BYTES_MAX
from coordinator.protocol.signin import milliseconds_of
from coordinator.protocol.signing import KeyFileError, load_keypair
from coordinator.protocol.token import decode_token
from hypernode.cli.agent_words import duration
from hypernode.doctor.finding import Finding, failure, ok, skipped, warning
from onchain.address import encode_address

#: A token that expires within this is told.
_SOON_MS = 3600 * 1000


def check_key(check: str, path: Path | None, *, fix: str) -> Finding:
    """A key file: there, private, and a key."""
    if path is None or not path.exists():
        return skipped(check, f"there is none at {path}" if path else "there is none")
    try:
        keypair = load_keypair(path)
    except KeyFileError as error:
        said = f"{path}: {error.args[1]}"
        is_open = bool(path.stat().st_mode & 0o077)
        return failure(check, said, f"chmod 600 {path}" if is_open else fix)
    except OSError as error:
        return failure(check, f"{path}: {error.strerror}", fix)
    return ok(check, f"{encode_address(keypair.address)}, at {path}, private")


def check_token_file(path: Path | None, *, is_bound: bool, now_ms: int) -> Finding:
    """A token: private, whole, and not expired by this machine's clock."""
    if path is None:
        if is_bound:
            return ok("token", "not needed: the node key is bound to its wallet")
        return skipped("token", "no --token-file; a new agent needs one: `hypernode token -o FILE`")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        with path.open(encoding="ascii") as file:
            token = file.read(TOKEN_BYTES_MAX + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        return failure("token", f"{path}: {reason}", "make one: `hypernode token -o FILE`")
    if mode & 0o077:
        said = f"{path}: others on this machine can read it (mode {mode:o})"
        return warning("token", said, f"chmod 600 {path}")
    return _judge(path, token, is_bound=is_bound, now_ms=now_ms)


def _judge(path: Path, token: str, *, is_bound: bool, now_ms: int) -> Finding:
    try:
        check_token(token, pinned=None, node_key=b"", now_ms=now_ms)
    except Unwelcome as error:
        if error.code != "token_wrong_node":
            return failure("token", f"{path}: {error.sentence}", error.fix)
    left_ms = milliseconds_of(decode_token(token)[1].expiration_time) - now_ms
    said = f"{path}: whole, private, expires in {duration(max(left_ms, 0) / 1000)}"
    if left_ms < _SOON_MS and not is_bound:
        return warning("token", said, "start the agent before that, or sign a new one")
    return ok("token", said)
