"""A second signature under bytes that we built ourselves, and under no others.

In:   the unsigned transaction that was given to a wallet, what came back, our key.
Out:  the transaction with all its signatures.
Rules:
  1. What is signed is our own message; from what comes back nothing is taken but signatures, and
     these hold for that message only.
  2. Ours leaves this module only if everybody else has signed; each signature is checked.
Why: whoever signs as the fee payer of bytes that others chose pays for what others want.
Not covered: wallets that add instructions of their own; theirs is then another message, and the
wallet pays its own fee.
"""

from __future__ import annotations

from solders.message import to_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from coordinator.limits import TRANSACTION_BYTES_MAX
from onchain.chain_errors import BadDraft
from onchain.drafts import Signed, Signer


class NotAsBuilt(BadDraft):
    """This is not the transaction that was given out, or somebody has not signed it."""


def countersign(built: bytes, returned: bytes, signer: Signer) -> Signed:
    """Put our signature under a transaction that everybody else has signed.

    Args:
        built: The bytes that we gave out, signatures zero.
        returned: The same with the others' signatures.
        signer: Whose signature is missing.

    Raises:
        NotAsBuilt: other bytes, a missing or wrong signature, or nothing for us to sign.
    """
    ours, theirs = _parsed(built), _parsed(returned)
    message = to_bytes_versioned(ours.message)
    wanted = ours.message.header.num_required_signatures
    signers = [bytes(key) for key in ours.message.account_keys[:wanted]]
    if signer.address not in signers or len(theirs.signatures) != wanted:
        raise NotAsBuilt(NotAsBuilt.__doc__)
    signatures = list(theirs.signatures)
    place = signers.index(signer.address)
    # With ours in place the whole is checked at once, and leaves this function only if all hold.
    signatures[place] = Signature.from_bytes(signer.sign(message))
    whole = VersionedTransaction.populate(ours.message, signatures)
    if not all(whole.verify_with_results()):
        raise NotAsBuilt(NotAsBuilt.__doc__)
    return Signed(bytes(signatures[0]), bytes(whole))


def _parsed(raw: bytes) -> VersionedTransaction:
    if len(raw) > TRANSACTION_BYTES_MAX:
        raise NotAsBuilt(NotAsBuilt.__doc__)
    try:
        return VersionedTransaction.from_bytes(raw)
    except ValueError as error:
        raise NotAsBuilt(NotAsBuilt.__doc__) from error
