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
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from coordinator.protocol.errors import HypernodeError
    from onchain.chain_errors import Shortage
    from onchain.errors import OnchainError


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


class Ending(NamedTuple):
    """How a command ended that did not do what it was asked to."""

    status: Exit
    sentence: str
    #: Stable, for programs: the wire's, or one of ours.
    code: str
    #: The job that it is about, if there is one.
    job: str = ""
    #: What a failed command wrote, if it did.
    log: str = ""
    #: What to do, if it is not in the sentence.
    hint: str = ""


class Interrupted(Exception):
    """A signal ended the command."""

    def __init__(self, status: Exit) -> None:
        self.status = status
        #: The job that goes on without us, if there is one.
        self.job = ""
        super().__init__(status.name.lower())


class Usage(Exception):
    """An option or a value is wrong; the text says which."""


#: What to do where the coordinator is not there.
START_ONE: Final = (
    "Is a coordinator running there? For one of your own: `hypernode coordinator --faucet`."
)


#: What to do where no node of the chain answers.
START_CHAIN: Final = "Is --rpc right? For a chain on this machine: `hypernode chain dev`."
#: Lines of a program's log that are shown, the last ones.
_LOG_LINES: Final = 12

#: Why an owner does not pay for a claim.
_NOT_SPONSORED: Final = frozenset(
    {"sponsor_off", "sponsor_empty", "payout_too_small", "token_account_paid", "not_as_built"}
    | {"sponsored_too_often", "sponsorship_too_dear", "sponsor_budget_spent"}
)
#: SQLite's words for a file that is damaged, and what to do then.
_DAMAGED: Final = ("malformed", "file is not a database")
RESTORE: Final = (
    "Put a backup in its place: `hypernode coordinator restore BACKUP`. It moves this file aside."
)


def leaf_of(error: BaseException) -> BaseException:
    """The single exception of nested groups: a nursery wraps what a plain call would raise."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def status_of(error: BaseException) -> Ending | None:
    """How an error ends a command that people may cause; nothing for one of ours."""
    return _ending_of_chain(error) or _ending_of(error)


def _ending_of(error: BaseException) -> Ending | None:
    from agent.config import ConfigError as AgentConfigError
    from agent.control import NotRunning
    from agent.welcome import Unwelcome
    from coordinator.config import ConfigError
    from coordinator.protocol.errors import HypernodeError
    from coordinator.protocol.signing import KeyFileError
    from coordinator.store.interface import StoreError
    from hypernode.children import ChildFailed

    match error:
        case Interrupted():
            ending = Ending(error.status, str(error), str(error), error.job)
        case Usage() | ConfigError() | AgentConfigError():
            ending = Ending(Exit.USAGE, str(error), "usage")
        case NotRunning():
            ending = Ending(Exit.UNREACHABLE, str(error), "not_running")
        case Unwelcome():
            sentence = f"{error.sentence} Fix: {error.fix}."
            ending = Ending(Exit.REFUSED, sentence, error.code)
        case HypernodeError():
            ending = _ending_of_refusal(error)
        case KeyFileError():
            ending = Ending(Exit.FAILED, f"{error.args[1]} ({error.args[0]})", "key_file")
        case StoreError():
            hint = RESTORE if any(word in str(error) for word in _DAMAGED) else ""
            ending = Ending(Exit.FAILED, str(error), "store", hint=hint)
        case ChildFailed():
            ending = Ending(Exit.FAILED, str(error), "child_failed")
        case OSError():
            where = f" ({error.filename})" if error.filename else ""
            ending = Ending(Exit.FAILED, f"{error.strerror or error}{where}", "system")
        case _:
            return None
    return ending


def _ending_of_refusal(error: HypernodeError) -> Ending:
    from coordinator.protocol.errors import CODES
    from hypernode.errors import JobFailed, Timeout, Unreachable

    if isinstance(error, JobFailed):
        return Ending(Exit.JOB_FAILED, error.sentence, error.code, error.job, error.log.rstrip())
    if isinstance(error, Unreachable | Timeout):
        is_there = error.job or "certificate is not trusted" in error.sentence
        hint = START_ONE if isinstance(error, Unreachable) and not is_there else ""
        return Ending(Exit.UNREACHABLE, error.sentence, error.code, error.job, hint=hint)
    # The faucet is off for everybody: nobody is refused.
    is_about_who_asks = CODES[error.code][1] in {401, 403} and error.code != "faucet_off"
    status = Exit.REFUSED if is_about_who_asks else Exit.FAILED
    hint = ""
    if error.code == "faucet_off":
        hint = "The coordinator's owner switches it on: `hypernode coordinator --faucet`."
    elif error.code in _NOT_SPONSORED:
        hint = "The wallet can pay fee and rents itself: `hypernode claim` without --sponsored."
    elif error.code == "insufficient_credit":
        hint = "What there is: `hypernode earnings`. A smaller budget holds less."
    return Ending(status, error.sentence, error.code, hint=hint)


def _ending_of_chain(error: BaseException) -> Ending | None:
    """How the chain, or the way to it, ends a command."""
    from hypernode.cli.moments import again
    from onchain.chain_errors import ChainError, ChainUnreachable, Shortage, TransactionRefused
    from onchain.errors import OnchainError
    from onchain.program_refusals import ProgramRefused

    match error:
        case ProgramRefused():
            when = "" if error.again_at is None else f"; {again(error.again_at, error.now_s)}"
            ending = Ending(Exit.FAILED, f"{error.sentence}{when}", error.name)
        case Shortage():
            ending = _ending_of_shortage(error)
        case TransactionRefused():
            log = "\n".join(error.logs[-_LOG_LINES:])
            ending = Ending(Exit.FAILED, str(error), "transaction_refused", log=log)
        case ChainUnreachable():
            ending = Ending(Exit.UNREACHABLE, str(error), "chain_unreachable", hint=START_CHAIN)
        case ChainError():
            ending = Ending(Exit.FAILED, str(error), "chain")
        case OnchainError():
            ending = Ending(Exit.FAILED, str(error), "onchain", hint=_hint_for(error))
        case _:
            return None
    return ending


def _hint_for(error: OnchainError) -> str:
    return "`--yes` does it all the same." if type(error).__name__ == "PaysNothing" else ""


def _ending_of_shortage(error: Shortage) -> Ending:
    from onchain.address import encode_address
    from onchain.chain_errors import NotEnoughSol

    is_sol = isinstance(error, NotEnoughSol)
    gift = f"{'airdrop' if is_sol else 'mint'} {encode_address(error.address)} 1"
    hint = f"On a development chain: `hypernode chain dev {gift}`."
    code = "not_enough_sol" if is_sol else "not_enough_tokens"
    return Ending(Exit.FAILED, str(error), code, hint=hint)
