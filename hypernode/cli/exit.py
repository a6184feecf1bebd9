"""How a command ends: what each exit status means, and who decides it.

| status | meaning                                     |
|-------:|---------------------------------------------|
|      0 | done                                        |
|      1 | failed: the coordinator said no, a file ... |
|      2 | usage: an option or a value is wrong        |
|      3 | refused: who asks may not, or is unknown    |
|      4 | the coordinator is out of reach, or too slow|
|      5 | the job itself failed or was rejected       |
|    130 | interrupted                                 |
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    JOB_FAILED = 5
    INTERRUPTED = 130
    TERMINATED = 143


class Interrupted(Exception):
    """A signal ended the command; nothing needs to be said about it."""

    def __init__(self, status: Exit) -> None:
        self.status = status
        super().__init__(status.name)


class Usage(Exception):
    """An option or a value is wrong; the text says which."""


def status_of(error: Exception) -> tuple[Exit, str] | None:
    """Exit status and sentence for an error that people may cause; nothing for one of ours."""
    from coordinator.config import ConfigError
    from coordinator.protocol.errors import CODES, HypernodeError
    from coordinator.protocol.signing import KeyFileError
    from hypernode.errors import JobFailed, Timeout, Unreachable

    match error:
        case Usage() | ConfigError():
            return Exit.USAGE, str(error)
        case JobFailed():
            status = Exit.JOB_FAILED
        case Unreachable() | Timeout():
            status = Exit.UNREACHABLE
        case HypernodeError():
            is_auth = CODES[error.code][1] in {401, 403} and error.code != "faucet_off"
            status = Exit.REFUSED if is_auth else Exit.FAILED
        case KeyFileError():
            return Exit.FAILED, f"{error.args[1]} ({error.args[0]})"
        case OSError():
            return Exit.FAILED, f"{error.strerror or error} ({error.filename or 'system'})"
        case _:
            return None
    return status, f"{error.sentence} ({error.code})"
