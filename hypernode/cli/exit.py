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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.protocol.errors import HypernodeError


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
    from agent.config import ConfigError as AgentConfigError
    from agent.welcome import Unwelcome
    from coordinator.config import ConfigError
    from coordinator.protocol.errors import HypernodeError
    from coordinator.protocol.signing import KeyFileError
    from coordinator.store.interface import StoreError

    match error:
        case Usage() | ConfigError() | AgentConfigError():
            described = Exit.USAGE, str(error)
        case Unwelcome():
            described = Exit.REFUSED, f"{error.sentence} Fix: {error.fix}. ({error.code})"
        case HypernodeError():
            described = (
                _status_of_refusal(error),
                f"{error.sentence} ({error.code}){_log_of(error)}",
            )
        case KeyFileError():
            described = Exit.FAILED, f"{error.args[1]} ({error.args[0]})"
        case StoreError():
            described = Exit.FAILED, str(error)
        case OSError():
            described = Exit.FAILED, f"{error.strerror or error} ({error.filename or 'system'})"
        case _:
            return None
    return described


def _log_of(error: HypernodeError) -> str:
    """What a failed command wrote, below the line that says that it failed."""
    from hypernode.errors import JobFailed

    return "\n" + error.log.rstrip() if isinstance(error, JobFailed) and error.log else ""


def _status_of_refusal(error: HypernodeError) -> Exit:
    from coordinator.protocol.errors import CODES
    from hypernode.errors import JobFailed, Timeout, Unreachable

    if isinstance(error, JobFailed):
        return Exit.JOB_FAILED
    if isinstance(error, Unreachable | Timeout):
        return Exit.UNREACHABLE
    # The faucet is off for everybody: nobody is refused.
    is_about_who_asks = CODES[error.code][1] in {401, 403} and error.code != "faucet_off"
    return Exit.REFUSED if is_about_who_asks else Exit.FAILED
