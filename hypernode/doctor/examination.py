"""Which role needs which checks, and all of them run: findings in a fixed order.

In:   roles, the settings that would hold for them (flags, environment, file).
Out:  findings, each as soon as it is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec.structs import replace

from agent.config import SCHEMA as OF_AGENT, AgentConfig, read_config as read_agent_config
from agent.device import Gpus
from agent.disk import FolderDisk, in_thread
from agent.main import KEY_FILE
from agent.state import State
from coordinator.clock import SystemClock
from coordinator.config import SCHEMA as OF_COORDINATOR, read_config
from hypernode.doctor import gpu, host, keys, sandbox, wire
from hypernode.doctor.finding import Finding, failure, ok
from hypernode.wallet_file import known_wallet_path

ROLES: Final = ("agent", "submitter", "coordinator")
_WALLET_FIX: Final = "restore it from your copy, or make one: `hypernode wallet new`"
_NODE_KEY_FIX: Final = "remove it: a new one is made, and a new token is needed once"


class Examination:
    """One visit."""

    def __init__(
        self,
        roles: tuple[str, ...],
        flags: Mapping[str, Any],
        environ: Mapping[str, str],
        file: Path | None,
    ) -> None:
        self._roles = roles
        self._flags = {name: value for name, value in flags.items() if value is not None}
        self._environ = environ
        self._file = file
        self._clock = SystemClock()

    async def findings(self) -> AsyncIterator[Finding]:
        """All of them, the cheap ones first."""
        yield host.check_python()
        yield host.check_packages(host.requirements(), check="packages")
        yield host.check_sqlite()
        agent, problems = self._agent_settings()
        for finding in problems if "agent" in self._roles else ():
            yield finding
        if "submitter" in self._roles:
            yield self._wallet()
        if "agent" in self._roles and agent is not None:
            async for finding in self._of_an_agent(agent):
                yield finding
        if "coordinator" in self._roles:
            async for finding in self._of_a_coordinator():
                yield finding
        if agent is not None and {"agent", "submitter"} & set(self._roles):
            for finding in await wire.check_coordinator(
                agent.http_url, agent.ca, now_ms=self._clock.wall_ms
            ):
                yield finding

    def _agent_settings(self) -> tuple[AgentConfig | None, list[Finding]]:
        flags = {name: self._flags[name] for name in OF_AGENT.fields if name in self._flags}
        config, reading = read_agent_config(flags, self._environ, self._file)
        wrong = [
            failure("agent settings", problem, "`hypernode config check --role agent`")
            for problem in map(str, reading.problems)
            # What is wrong with the token file is told by its own check.
            if "token_file" not in problem
        ]
        if config is None and not wrong:
            config = self._without_token(flags)
        return config, wrong or [ok("agent settings", "they hold together")]

    def _without_token(self, flags: Mapping[str, Any]) -> AgentConfig | None:
        environ = {k: v for k, v in self._environ.items() if k != "HYPERNODE_TOKEN_FILE"}
        kept = {name: value for name, value in flags.items() if name != "token_file"}
        return read_agent_config(kept, environ, None)[0]

    def _wallet(self) -> Finding:
        named = self._flags.get("keypair")
        path = Path(named).expanduser() if named else known_wallet_path(self._environ)
        if path is not None and not path.exists():
            return failure("wallet", f"there is none at {path}", _WALLET_FIX)
        return keys.check_key("wallet", path, fix=_WALLET_FIX)

    async def _of_an_agent(self, config: AgentConfig) -> AsyncIterator[Finding]:
        yield host.check_packages(host.requirements("agent"), check="agent packages")
        gpus = await in_thread(Gpus)
        is_wanted = config.devices not in {("auto",), ("cpu",), ("none",)}
        yield await in_thread(partial(gpu.check_gpus, gpus, is_wanted=is_wanted))
        yield await in_thread(partial(gpu.check_cuda, gpus))
        yield await in_thread(sandbox.check_programs)
        yield sandbox.check_namespaces()
        yield sandbox.check_cgroup()
        yield await sandbox.check_level(needs_commands=config.allow_command)
        folder = config.state_dir
        yield keys.check_key("node key", folder / KEY_FILE, fix=_NODE_KEY_FIX)
        is_bound = folder.exists() and (await State.load(FolderDisk(folder))).is_bound
        yield keys.check_token_file(
            self._path("token_file"),
            is_bound=is_bound,
            now_ms=self._clock.wall_ms(),
        )
        yield host.check_room(folder)
        yield await in_thread(partial(host.check_sync, folder))
        yield host.check_files("agent")

    async def _of_a_coordinator(self) -> AsyncIterator[Finding]:
        flags = {name: self._flags[name] for name in OF_COORDINATOR.fields if name in self._flags}
        config, reading = read_config(flags, self._environ, self._file)
        for problem in map(str, reading.problems):
            yield failure(
                "coordinator settings", problem, "`hypernode config check --role coordinator`"
            )
        if config is None:
            return
        folder = _folder_of(config.db)
        for finding in (
            host.check_room(folder),
            await in_thread(partial(host.check_sync, folder)),
            host.check_files("coordinator"),
            host.check_port(config.host, config.port),
        ):
            # The agent's have the same names.
            yield replace(finding, check=f"coordinator {finding.check}")

    def _path(self, setting: str) -> Path | None:
        """A file that a flag or the environment names."""
        named = self._flags.get(setting) or self._environ.get(f"HYPERNODE_{setting.upper()}")
        return Path(named).expanduser() if named else None


def _folder_of(file: str) -> Path:
    return Path(file).expanduser().parent
