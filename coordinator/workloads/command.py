"""command: a shell command, as the seed's jobs are: run in the agent's sandbox.

Output:  `log` (bytes,) uint8: what it wrote to standard output and standard error.

Nothing here can be recomputed: a command may read the clock or the host. It is paid by the time it
took on the coordinator's clock, runs in a sandbox of level 1 at least, and its receipt says
*unverified*.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from coordinator.limits import COMMAND_CHARS_MAX
from coordinator.protocol.errors import Refusal
from coordinator.workloads.unchecked import Unchecked
from coordinator.workloads.workload import OutputSchema, Params


class CommandParams(Params, frozen=True):
    #: One line for `/bin/sh -c`.
    command: Annotated[str, Meta(min_length=1, max_length=COMMAND_CHARS_MAX)]


class Command(Unchecked[CommandParams]):
    """A shell command."""

    kind = "command"
    params_type = CommandParams

    def check_params(self, params: CommandParams) -> None:
        # A NUL would end the line early for the shell, not for whoever reads it here.
        if "\0" in params.command:
            raise Refusal("bad_spec", "command: `$.command` holds a NUL")

    def schema(self, params: CommandParams) -> tuple[OutputSchema, ...]:  # noqa: ARG002 - an interface
        return (OutputSchema("log", "uint8", (None,)),)
