"""Three kinds of failure, never mixed.

A `ProtocolError` means the peer broke the wire: the connection is closed. A `Refusal` is a lawful
"no" with a stable code: the peer may go on. An assertion means that we are wrong: nothing of the
batch is kept, and it is logged with its traceback.
"""

from __future__ import annotations

from typing import Final

import msgspec

#: Every code that may cross the wire: the sentence for people, and the HTTP status.
CODES: Final[dict[str, tuple[str, int]]] = {
    # the wire
    "malformed": ("The message is not valid.", 400),
    "too_large": ("The message is larger than the limit.", 413),
    "too_deep": ("The message nests deeper than the limit.", 400),
    "out_of_order": ("This message is not allowed now.", 400),
    "unknown_type": ("There is no message of this type.", 400),
    "deadline": ("The peer took too long.", 408),
    "slow_reader": ("The peer reads too slowly: come back and ask again.", 408),
    "unreachable": ("The coordinator cannot be reached.", 503),
    "tls_required": ("This port speaks TLS: use https:// or wss://.", 400),
    "superseded": ("A newer connection of the same node took over.", 409),
    # who asks
    "challenge_required": ("A signature of the wallet over a challenge is required.", 401),
    "unauthenticated": ("This needs a session: sign a challenge first.", 401),
    "forbidden": ("This session may not do that.", 403),
    "bad_origin": ("This origin is not allowed.", 403),
    "bad_host": ("This host name is not served here.", 421),
    "bad_address": ("An address is 32 bytes in base58.", 400),
    "bad_signature": ("The signature does not belong to this wallet and text.", 401),
    "bad_transaction": ("This is not a memo transaction of ours.", 401),
    "weak_key": ("This public key is not a valid Ed25519 point of full order.", 401),
    "challenge_unknown": ("This challenge is unknown, spent or expired.", 401),
    "challenge_expired": ("The time to sign this challenge is over.", 401),
    "token_malformed": ("This is not a token of ours.", 401),
    "token_expired": ("This token has expired: ask for a new one.", 401),
    "token_spent": ("This token has registered already: ask for a new one.", 401),
    "token_revoked": ("This token was revoked by its wallet.", 401),
    "token_wrong_coordinator": ("This token was signed for another coordinator.", 401),
    "token_wrong_node": ("This token was signed for another node key.", 401),
    "node_key_taken": ("This node key belongs to another wallet.", 403),
    "session_expired": ("This session has expired: sign in again.", 401),
    "session_revoked": ("This session was closed or revoked by its wallet.", 401),
    "too_many_sessions": ("This wallet has too many sessions.", 429),
    "rate_limited": ("Too many requests: wait a little.", 429),
    "busy": ("The coordinator has more work than it can take now.", 503),
    "unavailable": ("The coordinator's disk takes no writes now: nothing was accepted.", 507),
    "read_only": ("The coordinator has stopped itself: an invariant of its books broke.", 503),
    "draining": ("The coordinator is about to stop.", 503),
    "method_not_allowed": ("This path does not take this method.", 405),
    "bad_range": ("This range of bytes does not exist.", 416),
    "not_found": ("There is no such thing.", 404),
    # jobs
    "key_conflict": ("This key was used before for another job.", 409),
    "unknown_kind": ("There is no such kind of job.", 400),
    "bad_spec": ("The job's specification is not valid.", 400),
    "bad_amount": ("This is not an amount of HYPER.", 400),
    "over_budget": ("The quote exceeds the budget.", 402),
    "insufficient_credit": ("The wallet's credit does not cover the budget.", 402),
    "input_missing": ("An input of the job was not uploaded by its wallet.", 409),
    "too_many_open_jobs": ("This wallet has too many open jobs.", 429),
    "too_late": ("The job has ended, or its result is being verified.", 409),
    "not_finished": ("The job has not finished.", 409),
    "faucet_off": ("The development faucet is off.", 403),
    # settlement
    "no_chain": ("This coordinator settles on no chain.", 404),
    "no_actions": ("This coordinator offers no claim as an Action.", 404),
    "claim_refused": ("The settlement program would not pay this claim now.", 409),
    "insufficient_sol": ("The account has not enough SOL for fee and rent.", 402),
    "sponsor_off": ("This coordinator pays nobody's fee: claim without a sponsor.", 404),
    "sponsor_empty": ("The sponsor's account is empty: claim without a sponsor.", 503),
    "payout_too_small": ("The payout is below what a fee is paid for: wait, or pay it.", 409),
    "token_account_paid": (
        "This wallet's token account was paid for once already: claim without a sponsor.",
        409,
    ),
    "sponsored_too_often": (
        "This wallet's claims were paid for as often as it goes in a day: wait, or pay the fee.",
        429,
    ),
    "sponsorship_too_dear": ("Fee and rents are more than a sponsor pays: pay them yourself.", 409),
    "sponsor_budget_spent": (
        "All that is paid for claims in a day is spent: wait, or pay the fee yourself.",
        429,
    ),
    "claim_out": ("A claim of this wallet is on its way: wait until it has ended.", 409),
    "claim_unknown": ("There is no such claim here, or its time is over: ask for a new one.", 404),
    "claim_expired": ("The time to sign this claim is over: ask for a new one.", 409),
    "not_as_built": (
        "This is not what was given out, signed by the wallet; one that adds guards pays its fee.",
        409,
    ),
    "chain_unreachable": ("The chain cannot be asked now: try again a little later.", 503),
    "exit_pending": ("This wallet has asked to leave on the chain: its credit is frozen.", 409),
    "settlement_late": ("No root has become active for too long: no credit is spent now.", 503),
    "settlement_unread": ("The chain has not been looked at yet: no credit is spent now.", 503),
    "reserve_exceeded": ("Hosts have earned more than the reserve backs: no credit is spent.", 503),
    "withdrawal_expired": ("The time of this withdrawal's text is not now: sign it anew.", 401),
    "too_many_withdrawals": ("Too many withdrawals wait for the next root.", 429),
    "chain_went_back": ("The chain shows less than it did before.", 500),
    "insolvent": ("More would be promised than was deposited.", 500),
    "faucet_money": ("The faucet's money is in these books: it can reach no root.", 500),
    "leaf_below": ("A leaf would be below the last published one.", 500),
    "leaves_differ": ("The leaves do not add up to what was closed.", 500),
    "root_mismatch": ("The chain has another root than these books.", 500),
    "epoch_unknown": ("The chain has a root that these books do not know.", 500),
    "epoch_pending": ("An earlier epoch is not decided yet.", 409),
    "epoch_state": ("An epoch does not move like this.", 409),
    "epoch_empty": ("There is nothing to settle.", 409),
    # results
    "stale": ("This result's lease is over: the job is elsewhere or done.", 409),
    "rejected": ("The result did not pass verification.", 422),
    # blobs
    "blob_mismatch": ("The bytes do not have this hash.", 422),
    "upload_offset": ("The upload is at another byte: ask where it is.", 409),
    "quota": ("The quota is used up.", 413),
    # why a job or an attempt failed
    "queue_timeout": ("No agent took the job in time.", 422),
    "execution_timeout": ("The attempt ran longer than the limit.", 422),
    "total_timeout": ("The job did not end within its total time.", 422),
    "lease_lost": ("The agent fell silent, or came back without the job.", 422),
    "agent_error": ("The agent could not run the job.", 422),
    "exit_nonzero": ("The command ended with an exit status other than 0.", 422),
    "kernel_failed": ("The kernel failed while it ran.", 422),
    "worker_crashed": ("The agent's worker ended in the middle of the job.", 422),
    "quarantined": ("The job ended too many of its hosts: it is given up.", 422),
    "drained": ("The node gets no jobs for a while.", 409),
    "sandbox_unavailable": ("The agent has no sandbox for this job.", 422),
    "out_of_memory": ("The job used more memory than its limit.", 422),
    "output_too_large": ("The job's output exceeds its limit.", 422),
    "cancelled": ("The job was cancelled.", 409),
    "abandoned": ("The agent gave the job back.", 422),
    "input_unavailable": ("The agent could not get an input of the job.", 422),
    "outputs_lost": ("The coordinator lost the files of the result.", 500),
    "internal": ("The coordinator failed; nothing was lost.", 500),
}


class HypernodeError(Exception):
    """Base of what the house raises on purpose; `code` is stable, the text is for people."""

    def __init__(self, code: str, detail: str = "") -> None:
        assert code in CODES, code
        self.code = code
        self.sentence = detail or CODES[code][0]
        super().__init__(f"{code}: {self.sentence}")


class ProtocolError(HypernodeError):
    """The peer broke the wire; the connection ends."""


def said_in(status: int, body: bytes) -> str:
    """What an HTTP answer that is a refusal says: our sentence, or a proxy's status."""
    try:
        said = msgspec.json.decode(body, type=_Answer).error
    except msgspec.DecodeError:
        said = ""
    return said or f"HTTP {status}"


class _Answer(msgspec.Struct):
    error: str = ""


class Refusal(HypernodeError):
    """A lawful request, answered no."""

    @property
    def status(self) -> int:
        """HTTP status of this code."""
        return CODES[self.code][1]
